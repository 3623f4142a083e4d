//! The variables that make the runtimes of a command use the proxy, and trust the CA that vouches there.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::java;
use super::no_proxy;
use super::{CommandProxy, ExecError, TrustFolder, Variable};
use crate::base::file;
use crate::net::tls::{pem, roots};

/// What a variable holds from which the proxy reads a secret: the command has no use for the secret itself, and may insist
/// that there is one.
pub const PLACEHOLDER: &str = "held-by-ninjaone-proxy";

/// The variables of those that name a proxy, in each spelling that a runtime reads.
const PROXY: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// Those that name the file of all that is trusted.
const ALL_ROOTS: [&str; 8] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "HTTPLIB2_CA_CERTS",
];
/// Those that would win over one of these, and are read where they are set only.
const ALL_ROOTS_IF_SET: [&str; 1] = ["NIX_SSL_CERT_FILE"];
/// Those that name the file of what is trusted in addition.
const MORE_ROOTS: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];
/// More than a bundle of certificates, or a file of settings, has.
const MAX_FILE: u64 = 16 << 20;
/// What is in settings of wget that hold a secret: passwords, fields of requests, proxies, cookies, private keys.
const SECRET_WORDS: [&str; 5] = ["passw", "header", "proxy", "cookies", "private"];

/// What the command finds in its environment in the place of what is there. `variable` reads what is there; `home` is the
/// folder of the user's own settings.
pub fn variables(
    proxy: &CommandProxy,
    folder: &TrustFolder,
    variable: impl Fn(&str) -> Option<OsString>,
    home: Option<&Path>,
) -> Result<Vec<Variable>, ExecError> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let certificates = pem::certificates(&proxy.certificate).map_err(ExecError::Certificate)?;
    let authority: String = certificates.iter().map(pem::block).collect();
    let mut system = roots::certificates(variable)?;
    system.extend(certificates);
    let bundle: String = system.iter().map(pem::block).collect();
    let bundle = folder.keep("roots", "pem", bundle.as_bytes())?;
    let url = OsString::from(proxy.url());
    let mut all: Vec<Variable> = PROXY.iter().map(|&name| (name, url.clone())).collect();

    let lists = NO_PROXY.map(|name| variable(name).map(|list| list.to_string_lossy().into_owned()));
    let direct = no_proxy::list(lists.iter().flatten().map(String::as_str), &proxy.names);
    all.extend(NO_PROXY.map(|name| (name, direct.join(",").into())));

    let with_authority = |name, default: Option<&Path>| {
        let path = match (variable(name).map(PathBuf::from), default) {
            (Some(path), _) => folder.keep("roots", "pem", &extended(name, &path, &authority)?)?,
            (None, Some(default)) => default.to_owned(),
            (None, None) => folder.keep("local-ca", "pem", authority.as_bytes())?,
        };
        Ok::<Variable, ExecError>((name, path.into()))
    };
    for name in ALL_ROOTS.into_iter().chain(ALL_ROOTS_IF_SET.into_iter().filter(|name| variable(name).is_some())) {
        all.push(with_authority(name, Some(&bundle))?);
    }
    for name in MORE_ROOTS {
        all.push(with_authority(name, None)?);
    }
    // From 22.21 and 24 on, Node.js uses the proxy by this.
    all.push(("NODE_USE_ENV_PROXY", "1".into()));

    let store = folder.keep("roots", "jks", &java::trust_store(system.iter()))?;
    let there = variable("JAVA_TOOL_OPTIONS");
    all.push(("JAVA_TOOL_OPTIONS", java::options(there.as_deref(), proxy.address, &direct, &store)));

    let shown = bundle.display();
    let settings = format!("curl.cainfo = '{shown}'\nopenssl.cafile = '{shown}'\n");
    let php = folder.keep_php(settings.as_bytes())?;
    all.push(("PHP_INI_SCAN_DIR", scanned(variable("PHP_INI_SCAN_DIR").as_deref(), &php)));

    let own = variable("WGETRC").map(PathBuf::from).or_else(|| home.map(|home| home.join(".wgetrc")));
    if let Some(settings) = wget_settings(own.as_deref(), &bundle) {
        all.push(("WGETRC", folder.keep("wgetrc", "txt", settings.as_bytes())?.into()));
    }
    Ok(all)
}

impl CommandProxy {
    /// What proves the caller to the proxy (RFC 7617), if anything does.
    pub fn authorization(&self) -> Option<Zeroizing<String>> {
        let (name, key) = self.caller.as_ref()?;
        let pair = Zeroizing::new(format!("{name}:{}", *key.expose()));
        Some(Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes()))))
    }

    /// What the variables of a proxy hold: with the key, so it goes nowhere else.
    fn url(&self) -> String {
        let caller = self
            .caller
            .as_ref()
            .map_or_else(String::new, |(name, key)| format!("{}:{}@", encoded(name), encoded(&key.expose())));
        format!("http://{caller}{}", self.address)
    }
}

/// Percent-encoded as a part of a URL's authority (RFC 3986 section 3.2.1), with nothing but unreserved characters left.
fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The certificates that a variable named so far, a file or a folder of them, and the CA.
fn extended(variable: &'static str, path: &Path, authority: &str) -> Result<Vec<u8>, ExecError> {
    let mut bytes = if path.is_dir() {
        roots::certificates_in(path).iter().map(pem::block).collect::<String>().into_bytes()
    } else {
        let unreadable = |cause| ExecError::Variable { variable, path: path.to_owned(), cause };
        file::read(path, MAX_FILE).map_err(unreadable)?
    };
    if !bytes.ends_with(b"\n") && !bytes.is_empty() {
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(authority.as_bytes());
    Ok(bytes)
}

/// The folders where PHP looks for settings: those that it knows by itself, or those that are named, and ours.
fn scanned(there: Option<&OsStr>, folder: &Path) -> OsString {
    let mut list = there.map(OsStr::to_owned).unwrap_or_default();
    list.push(if cfg!(windows) { ";" } else { ":" });
    list.push(folder);
    list
}

/// The user's own settings of wget, which has no variable for certificates, and ours; `None` where a copy of them would
/// hold a secret.
fn wget_settings(own: Option<&Path>, bundle: &Path) -> Option<String> {
    let own = own.and_then(|path| file::read_text(path, MAX_FILE).ok()).unwrap_or_default();
    let words = own.to_ascii_lowercase();
    let holds_secret = SECRET_WORDS.iter().any(|word| words.contains(word));
    (!holds_secret).then(|| format!("{}\nca_certificate = {}\n", own.trim_end(), bundle.display()))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::base::secret::Secret;
    use crate::base::state::StateFolder;

    /// A folder with a CA, and with files of certificates that variables name.
    struct Place {
        folder: tempfile::TempDir,
        authority: String,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let place = Self { authority: certificate(), folder };
            place.write("ca.pem", &place.authority);
            place
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        }

        /// The variables, with these there already.
        fn told(&self, there: &[(&str, &str)], caller: Option<(&str, &str)>) -> Result<Vec<Variable>, ExecError> {
            let proxy = CommandProxy {
                address: SocketAddr::from(([127, 0, 0, 1], 4000)),
                caller: caller.map(|(name, key)| (name.to_owned(), Secret::new(key.to_owned()))),
                names: vec!["eu.ninjarmm.com".to_owned()],
                certificate: self.folder.path().join("ca.pem"),
            };
            let state = StateFolder::at(self.folder.path().join("state"));
            let folder = TrustFolder::make(&state).expect("a folder");
            let find = |name: &str| there.iter().find(|(own, _)| *own == name).map(|(_, value)| OsString::from(value));
            variables(&proxy, &folder, find, Some(self.folder.path()))
        }
    }

    /// One that signs itself, in PEM form.
    fn certificate() -> String {
        let key = rcgen::KeyPair::generate().expect("a key");
        let parameters = rcgen::CertificateParams::new(vec!["x.example".to_owned()]).expect("parameters");
        parameters.self_signed(&key).expect("a certificate").pem().replace("\r\n", "\n")
    }

    fn value(told: &[Variable], name: &str) -> String {
        let found: Vec<_> = told.iter().filter(|(own, _)| *own == name).collect();
        assert_eq!(found.len(), 1, "{name} in {told:?}");
        found[0].1.to_str().expect("text").to_owned()
    }

    fn content(told: &[Variable], name: &str) -> String {
        std::fs::read_to_string(value(told, name)).expect("a file")
    }

    #[test]
    fn the_key_of_a_caller_is_in_the_url_alone_and_encoded() {
        let place = Place::new();
        let told = place.told(&[], Some(("re ports", "npk_a/b:c@d"))).expect("variables");
        for name in PROXY {
            assert_eq!(value(&told, name), "http://re%20ports:npk_a%2Fb%3Ac%40d@127.0.0.1:4000");
        }
        let others = told.iter().filter(|(name, _)| !PROXY.contains(name));
        assert!(
            others.clone().count() > 10 && others.clone().all(|(_, value)| !value.to_string_lossy().contains("npk_"))
        );
        assert_eq!(value(&place.told(&[], None).expect("variables"), "HTTPS_PROXY"), "http://127.0.0.1:4000");
    }

    #[test]
    fn bundles_hold_what_was_trusted_before_and_the_local_ca() {
        let place = Place::new();
        let theirs = certificate();
        let file = place.write("theirs.pem", theirs.trim_end()).display().to_string();
        std::fs::create_dir(place.folder.path().join("more")).expect("a folder");
        place.write("more/one.pem", &theirs);
        let folder = place.folder.path().join("more").display().to_string();
        let there = [
            ("SSL_CERT_FILE", &*file),
            ("REQUESTS_CA_BUNDLE", &folder),
            ("NODE_EXTRA_CA_CERTS", &file),
            ("NIX_SSL_CERT_FILE", &file),
        ];
        let told = place.told(&there, None).expect("variables");
        for (name, _) in there {
            assert_eq!(content(&told, name), format!("{theirs}{}", place.authority), "{name}");
        }
        // What is trusted where nothing else is said.
        assert_eq!(content(&told, "CURL_CA_BUNDLE"), format!("{theirs}{}", place.authority));
        assert_eq!(content(&told, "DENO_CERT"), place.authority);
        assert!(content(&told, "WGETRC").ends_with(&format!("ca_certificate = {}\n", value(&told, "PIP_CERT"))));
        let none = place.told(&[("SSL_CERT_FILE", &file)], None).expect("variables");
        assert!(none.iter().all(|(name, _)| *name != "NIX_SSL_CERT_FILE"));
        let php = PathBuf::from(value(&none, "PHP_INI_SCAN_DIR").trim_start_matches(':')).join("ninjaone-proxy.ini");
        assert!(std::fs::read_to_string(php).expect("a file").contains(&value(&none, "PIP_CERT")));
    }

    #[test]
    fn a_variable_that_leads_nowhere_is_an_error_that_names_it() {
        let place = Place::new();
        for name in ["REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"] {
            let error = place.told(&[(name, "/nowhere/roots.pem")], None).expect_err("an error").to_string();
            assert!(
                error.contains(name) && error.contains("/nowhere/roots.pem") && error.contains("unset it"),
                "{error}"
            );
        }
        std::fs::remove_file(place.folder.path().join("ca.pem")).expect("removed");
        assert!(matches!(place.told(&[], None), Err(ExecError::Certificate(_))));
    }

    #[test]
    fn settings_of_wget_are_kept_and_a_password_among_them_is_not_copied() {
        let place = Place::new();
        place.write(".wgetrc", "tries = 3\n\n");
        let told = content(&place.told(&[], None).expect("variables"), "WGETRC");
        assert!(told.starts_with("tries = 3\nca_certificate = "), "{told}");
        let other = place.write("other", "timeout = 5").display().to_string();
        let told = content(&place.told(&[("WGETRC", &other)], None).expect("variables"), "WGETRC");
        assert!(told.starts_with("timeout = 5\nca_certificate = "), "{told}");
        place.write(".wgetrc", "http_passwd = s3cret\n");
        let told = place.told(&[], None).expect("variables");
        assert!(told.iter().all(|(name, _)| *name != "WGETRC"));
    }

    #[test]
    fn folders_of_php_are_added_to_those_that_are_named() {
        let made =
            |there: Option<&str>| scanned(there.map(OsStr::new), Path::new("/s/php")).into_string().expect("text");
        let separator = if cfg!(windows) { ';' } else { ':' };
        assert_eq!(made(None), format!("{separator}/s/php"));
        assert_eq!(made(Some("/etc/php")), format!("/etc/php{separator}/s/php"));
    }
}
