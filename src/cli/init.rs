//! `init`: asks what the configuration of a tenant needs, writes it and the file of the secret, and ends with `doctor`.

mod ask;
mod write;

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use zeroize::Zeroizing;

use super::doctor::{DoctorOptions, doctor};
use super::{CommandError, OS, SOFTWARE, USAGE, failure, print};
use crate::base::secret::source::SecretSource;
use crate::config::host::InstanceHost;
use crate::config::sections::ListenerSection;
use crate::config::{Config, nearest};
use crate::proxy::policy::catalog::Scope;
use ask::Prompt;
use write::{SECRET_MODE, write};

/// The hosts that have a short name.
const REGIONS: [&str; 6] = ["us", "us2", "eu", "oc", "ca", "fed"];
/// The places that a secret can be in.
const PLACES: [&str; 4] = ["file", "env", "credential", "command"];

/// What is known beforehand; the rest is asked on standard input.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// Where the tenant is: us, us2, eu, oc, ca, fed, or its own host, such as that of a branded tenant
    #[arg(long, value_name = "REGION", visible_alias = "host", value_parser = region)]
    region: Option<String>,
    /// The id of the API client app
    #[arg(long, value_name = "ID", value_parser = client_id)]
    client_id: Option<String>,
    /// The file of the client secret; if it does not exist, it is created with mode 0600 from standard input
    #[arg(long, value_name = "FILE", group = "secret")]
    secret_file: Option<PathBuf>,
    /// The environment variable that holds the client secret
    #[arg(long, value_name = "VARIABLE", group = "secret", value_parser = word)]
    secret_env: Option<String>,
    /// The systemd credential that holds the client secret
    #[arg(long, value_name = "NAME", group = "secret", value_parser = word)]
    secret_credential: Option<String>,
    /// The program that prints the client secret, and its arguments; must be the last option
    #[arg(long, value_name = "WORD", group = "secret", num_args = 1.., allow_hyphen_values = true)]
    secret_command: Vec<String>,
    /// The scopes of the listener, separated by commas: monitoring (reads), management (writes), control
    #[arg(long, value_name = "SCOPES", value_parser = scopes)]
    scopes: Option<Scopes>,
    /// The configuration file to write
    #[arg(long, value_name = "FILE", default_value = "config.toml")]
    output: PathBuf,
    /// Replace an existing configuration file
    #[arg(long)]
    force: bool,
    /// Do not test the new configuration with doctor
    #[arg(long)]
    no_doctor: bool,
}

/// Scopes of a listener.
#[derive(Debug, Clone, PartialEq)]
struct Scopes(Vec<Scope>);

/// Where the secret is.
enum SecretPlace {
    /// In a file, which has this text if it is new.
    File(PathBuf, Option<Zeroizing<String>>),
    Env(String),
    Credential(String),
    Command(Vec<String>),
}

/// Writes the files, and examines what they say.
pub(super) fn init(given: &Init) -> Result<(), CommandError> {
    if !given.force && given.output.symlink_metadata().is_ok() {
        let file = given.output.display();
        let error = anyhow!("{file} exists already: give another --output, or --force to replace it");
        return Err(failure(USAGE)(error));
    }
    let (text, secret) = answers(given, &mut Prompt).map_err(failure(USAGE))?;
    // What is written must be read again.
    Config::parse(&given.output, text.clone()).map_err(|mistake| failure(SOFTWARE)(mistake.into()))?;
    let mut said = String::new();
    match &secret {
        SecretPlace::File(path, Some(new)) => {
            write(path, new.as_bytes(), SECRET_MODE, false).map_err(|error| unwritten(path, error))?;
            said += &format!("wrote the client secret to {}, readable for you alone\n", path.display());
        }
        SecretPlace::File(path, None) => said += &format!("the client secret is in {}\n", path.display()),
        SecretPlace::Env(name) => {
            said += &format!("the client secret is in the environment variable {name}: set it for the proxy\n")
        }
        SecretPlace::Credential(name) => {
            said += &format!(
                "the client secret is the systemd credential {name}: LoadCredential={name}:/PATH in the unit\n"
            );
        }
        SecretPlace::Command(words) => said += &format!("the client secret is what {:?} prints\n", words.join(" ")),
    }
    let replaced = given.output.symlink_metadata().is_ok();
    write(&given.output, text.as_bytes(), write::CONFIG_MODE, given.force)
        .map_err(|error| unwritten(&given.output, error))?;
    let (verb, output) = (if replaced { "replaced" } else { "wrote" }, given.output.display());
    said += &format!("{verb} {output}; start with: ninjaone-proxy --config {output}\n");
    print(&said)?;
    if given.no_doctor {
        return Ok(());
    }
    print("\n")?;
    let config = Config::load(Some(&given.output)).map_err(|error| failure(SOFTWARE)(error.into()));
    doctor(config, &DoctorOptions::default())
}

fn unwritten(path: &Path, error: std::io::Error) -> CommandError {
    failure(OS)(anyhow::Error::new(error).context(format!("{} cannot be written", path.display())))
}

/// The text of the configuration, and where the secret is.
fn answers(given: &Init, asker: &mut Prompt) -> anyhow::Result<(String, SecretPlace)> {
    let host = match &given.region {
        Some(host) => host.clone(),
        None => {
            let question = "Region (us, us2, eu, oc, ca, fed) or host of your tenant";
            asker.ask(question, "--region", None, region)?
        }
    };
    let id = match &given.client_id {
        Some(id) => id.clone(),
        None => {
            asker.ask("Client id (Administration > Apps > API > Client App IDs)", "--client-id", None, client_id)?
        }
    };
    let secret = match given.secret() {
        Some(place) => place,
        None => ask_secret(&given.output, asker)?,
    };
    let secret = match secret {
        SecretPlace::File(path, None) => file_of_secret(path, asker)?,
        known
        @ (SecretPlace::File(..) | SecretPlace::Env(_) | SecretPlace::Credential(_) | SecretPlace::Command(_)) => known,
    };
    let scopes = match &given.scopes {
        Some(scopes) => scopes.clone(),
        None => asker.ask(
            "Scopes: monitoring (reads), management (writes), control",
            "--scopes",
            Some("monitoring"),
            scopes,
        )?,
    };
    let text = text(&host, &id, &secret.reference(&given.output), &scopes);
    Ok((text, secret))
}

impl Init {
    /// Where the arguments say that the secret is.
    fn secret(&self) -> Option<SecretPlace> {
        let file = self.secret_file.clone().map(|path| SecretPlace::File(path, None));
        let env = || self.secret_env.clone().map(SecretPlace::Env);
        let credential = || self.secret_credential.clone().map(SecretPlace::Credential);
        let command = || (!self.secret_command.is_empty()).then(|| SecretPlace::Command(self.secret_command.clone()));
        file.or_else(env).or_else(credential).or_else(command)
    }
}

fn ask_secret(output: &Path, asker: &mut Prompt) -> anyhow::Result<SecretPlace> {
    let question = "Where is the client secret kept: file, env (a variable), credential (of systemd), command";
    let place = asker.ask(question, "--secret-file", Some("file"), |text| {
        let known = PLACES.into_iter().find(|known| *known == text.to_ascii_lowercase());
        // What is typed here may be the secret: only what is nearly one of the answers is not.
        known.ok_or_else(|| format!("answer one of {}{}", PLACES.join(", "), nearest(text, PLACES)))
    })?;
    Ok(match place {
        "env" => {
            let name = asker.ask("Name of the variable", "--secret-env", Some("NINJAONE_CLIENT_SECRET"), word)?;
            SecretPlace::Env(name)
        }
        "credential" => SecretPlace::Credential(asker.ask(
            "Name of the credential",
            "--secret-credential",
            Some("client-secret"),
            word,
        )?),
        "command" => {
            let question = "Program and its arguments, with blanks between";
            let words = |text: &str| Ok(text.split_whitespace().map(str::to_owned).collect());
            SecretPlace::Command(asker.ask(question, "--secret-command", None, words)?)
        }
        _ => {
            let default = output.with_file_name("client-secret");
            let path =
                asker.ask("File of the secret", "--secret-file", Some(&default.display().to_string()), |text| {
                    Ok(PathBuf::from(text))
                })?;
            SecretPlace::File(path, None)
        }
    })
}

/// The secret that is in a file already, or is asked for.
fn file_of_secret(path: PathBuf, asker: &mut Prompt) -> anyhow::Result<SecretPlace> {
    if path.symlink_metadata().is_ok() {
        SecretSource::File(path.clone())
            .read()
            .with_context(|| "there is no client secret in the file that was given")?;
        return Ok(SecretPlace::File(path, None));
    }
    let secret =
        asker.ask_secret("Client secret (it is not shown)", &format!("{}, or put it there", path.display()))?;
    let blank = |c: char| c.is_whitespace() || matches!(c, '"' | '\'');
    if secret.is_empty() || secret.chars().any(|c| c.is_control() || c.is_whitespace()) || secret.starts_with(blank) {
        bail!("this is not a client secret: it is one word, without quotes, as NinjaOne showed it once");
    }
    Ok(SecretPlace::File(path, Some(secret)))
}

impl SecretPlace {
    /// As the configuration says it. Paths in it are relative to itself.
    fn reference(&self, output: &Path) -> String {
        match self {
            Self::File(path, _) => {
                let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
                let (path, output) = (absolute(path), absolute(output));
                let inside = output.parent().and_then(|folder| path.strip_prefix(folder).ok());
                format!("{{ file = {} }}", quoted(&inside.unwrap_or(&path).to_string_lossy()))
            }
            Self::Env(name) => format!("{{ env = {} }}", quoted(name)),
            Self::Credential(name) => format!("{{ credential = {} }}", quoted(name)),
            Self::Command(words) => {
                let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
                format!("{{ command = [{}] }}", words.join(", "))
            }
        }
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn text(host: &str, id: &str, secret: &str, Scopes(scopes): &Scopes) -> String {
    let scopes: Vec<_> = scopes.iter().map(|scope| quoted(scope.as_str())).collect();
    format!(
        "# Written by \"ninjaone-proxy init\". Keys and defaults: docs/configuration.md.\n\n\
         [instances.main]\nhost = {}\nclient-id = {}\nclient-secret = {secret}\n\n\
         [listeners.local]\naddress = {}\nscopes = [{}]\n",
        quoted(host),
        quoted(id),
        quoted(&ListenerSection::default().address.get_ref().to_string()),
        scopes.join(", ")
    )
}

/// A region or a host, as it goes into the configuration.
fn region(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/').to_ascii_lowercase();
    let name = text.strip_prefix("https://").unwrap_or(&text);
    if REGIONS.contains(&name) {
        return Ok(name.to_owned());
    }
    match text.parse()? {
        InstanceHost::Sandbox => Err("the sandbox needs no configuration: start ninjaone-proxy without one".to_owned()),
        InstanceHost::Https(_) | InstanceHost::Http(_) => Ok(text),
    }
}

fn client_id(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'')) {
        return Err("a client id is one word, without blanks and quotes: copy it from Administration > Apps > API > Client App IDs".to_owned());
    }
    Ok(text.to_owned())
}

/// The name of a variable or of a credential. What is refused may be the secret, and is not repeated.
fn word(text: &str) -> Result<String, String> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    good.then(|| text.to_owned()).ok_or_else(|| "this is not a name: use letters, digits, _, - and .".to_owned())
}

fn scopes(text: &str) -> Result<Scopes, String> {
    let names = text.split([',', ' ']).map(str::trim).filter(|name| !name.is_empty());
    let valid = Scope::ALL.map(Scope::as_str);
    let scope = |name: &str| {
        let unknown =
            || format!("this is not a list of scopes: valid are {}{}", valid.join(", "), nearest(name, valid));
        Scope::parse(&name.to_ascii_lowercase()).ok_or_else(unknown)
    };
    let scopes: Vec<Scope> = names.map(scope).collect::<Result<_, _>>()?;
    if scopes.is_empty() { Err(format!("give at least one of {}", valid.join(", "))) } else { Ok(Scopes(scopes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_or_a_whole_host_is_taken_and_everything_else_is_questioned() {
        for (text, host) in [
            ("eu", "eu"),
            (" EU ", "eu"),
            ("https://us2", "us2"),
            ("Branded.rmmservice.eu", "branded.rmmservice.eu"),
            ("https://eu.ninjarmm.com/", "https://eu.ninjarmm.com"),
            ("http://127.0.0.1:8081", "http://127.0.0.1:8081"),
        ] {
            assert_eq!(region(text).as_deref(), Ok(host), "{text}");
        }
        for (text, part) in [
            ("", "is not a"),
            ("mars", "is not a region, and not a whole host name either"),
            ("us3", "did you mean \"us"),
            ("sandbox", "needs no configuration"),
            ("eu.ninjarmm.com/ws", "leave out \"/ws\""),
            ("http://eu.ninjarmm.com", "in clear text"),
        ] {
            let said = region(text).expect_err("a mistake");
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn what_is_written_is_what_was_answered() {
        let place = SecretPlace::File("/etc/n/s/secret \"1\"".into(), None);
        let scopes = scopes("Monitoring, management").expect("scopes");
        let text = text("eu", "id", &place.reference(Path::new("/etc/n/config.toml")), &scopes);
        let config = Config::parse(Path::new("/etc/n/config.toml"), text.clone()).expect("a configuration");
        assert_eq!(config.file.instances["main"].host.get_ref().to_string(), "https://eu.ninjarmm.com");
        assert!(text.contains("scopes = [\"monitoring\", \"management\"]"), "{text}");
        assert!(text.contains("secret = { file = 's/secret \"1\"' }") || text.contains("s/secret \\\"1\\\""), "{text}");
        let elsewhere = SecretPlace::File("/run/secret".into(), None).reference(Path::new("/etc/n/config.toml"));
        assert_eq!(elsewhere, "{ file = \"/run/secret\" }");
        let command = SecretPlace::Command(vec!["op".into(), "read".into()]).reference(Path::new("c.toml"));
        assert_eq!(command, "{ command = [\"op\", \"read\"] }");
    }

    #[test]
    fn ids_names_and_scopes_that_cannot_be_are_told() {
        assert!(client_id("two words").is_err() && client_id("").is_err() && client_id("\"x\"").is_err());
        assert!(word("A B").is_err() && word("").is_err() && word("client-secret").is_ok());
        assert!(super::scopes("").is_err());
        let said = super::scopes("monitorin").expect_err("a mistake");
        assert!(said.contains("did you mean \"monitoring\"?"), "{said}");
    }
}
