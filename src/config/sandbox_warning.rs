//! Whether somebody takes the sandbox's invented data for their own: it is served where a tenant of theirs was meant.

use std::fmt;
use std::path::Path;

use super::Config;
use super::host::InstanceHost;
use super::replacement::is_written;
use super::sections::InstanceSection;

/// The variables that hold credentials by default.
const CREDENTIALS: [&str; 2] = ["NINJAONE_CLIENT_ID", "NINJAONE_CLIENT_SECRET"];
/// Where systemd puts the credentials of a service.
const SERVICE: &str = "CREDENTIALS_DIRECTORY";

/// An instance that is the sandbox although it looks as if a tenant was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxWarning {
    /// Its name.
    pub instance: String,
    /// What is served, and what it looks like.
    pub what: String,
    /// What to do if a tenant was meant.
    pub fix: String,
}

impl fmt::Display for SandboxWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.fix)
    }
}

/// Whether the environment has a variable that is not empty.
pub(crate) fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

impl Config {
    /// What to tell of instances that are the sandbox although it looks as if a tenant was meant; `is_set` asks the
    /// environment for a variable.
    pub fn doubts(&self, is_set: impl Fn(&str) -> bool) -> Vec<SandboxWarning> {
        let sandboxes = self.file.instances.iter().filter(|(_, file)| *file.host.get_ref() == InstanceHost::Sandbox);
        sandboxes.filter_map(|(name, file)| Some(self.doubt(name, &self.sign(file, &is_set)?))).collect()
    }

    fn sign(&self, file: &InstanceSection, is_set: &impl Fn(&str) -> bool) -> Option<String> {
        if is_set(SERVICE) {
            return Some("this is a service with credentials".to_owned());
        }
        if let Some(path) = self.path().filter(|path| path.starts_with("/etc")) {
            return Some(format!("{} is the configuration of an installed service", path.display()));
        }
        if is_written(&file.host) {
            return None;
        }
        let keys = [("client-id", is_written(&file.client_id)), ("client-secret", is_written(&file.client_secret))];
        let key = keys.into_iter().find_map(|(key, written)| written.then(|| format!("{key} is written")));
        key.or_else(|| CREDENTIALS.into_iter().find(|name| is_set(name)).map(|name| format!("{name} is set")))
    }

    fn doubt(&self, name: &str, sign: &str) -> SandboxWarning {
        let fix = match self.path() {
            Some(path) => written_in(path, name),
            None => "no configuration file was read: start with --config FILE; \"ninjaone-proxy init\" writes one"
                .to_owned(),
        };
        let what = format!(
            "instances.{name} is the SANDBOX, although {sign}: all data is invented, and nothing reaches NinjaOne"
        );
        SandboxWarning { instance: name.to_owned(), what, fix }
    }
}

fn written_in(path: &Path, name: &str) -> String {
    format!("write the host of your tenant, such as host = \"eu\", in [instances.{name}] of {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubts(path: &str, text: &str, set: &[&str]) -> Vec<String> {
        let config = Config::parse(Path::new(path), text.to_owned()).expect("a configuration");
        config.doubts(|name| set.contains(&name)).iter().map(SandboxWarning::to_string).collect()
    }

    #[test]
    fn credentials_or_an_installed_service_raise_a_doubt_about_the_sandbox() {
        for (path, text, set, sign) in [
            ("c.toml", "", &["NINJAONE_CLIENT_ID"][..], "NINJAONE_CLIENT_ID is set"),
            ("c.toml", "", &["NINJAONE_CLIENT_SECRET"], "NINJAONE_CLIENT_SECRET is set"),
            ("c.toml", "[instances.main]\nclient-id = \"x\"", &[], "client-id is written"),
            ("c.toml", "[instances.main]\nclient-secret = { file = \"x\" }", &[], "client-secret is written"),
            ("c.toml", "[instances.main]\nhost = \"sandbox\"", &["CREDENTIALS_DIRECTORY"], "this is a service"),
            ("/etc/ninjaone-proxy/config.toml", "", &[], "the configuration of an installed service"),
            ("built-in defaults", "", &["NINJAONE_CLIENT_ID"], "start with --config FILE"),
        ] {
            let said = doubts(path, text, set);
            assert_eq!(said.len(), 1, "{text}");
            assert!(said[0].contains("is the SANDBOX, although") && said[0].contains(sign), "{said:?}");
        }
    }

    #[test]
    fn a_sandbox_that_is_meant_and_a_tenant_raise_none() {
        let set = ["NINJAONE_CLIENT_ID", "NINJAONE_CLIENT_SECRET"];
        assert!(doubts("c.toml", "", &[]).is_empty());
        assert!(doubts("c.toml", "[instances.main]\nhost = \"sandbox\"\nclient-id = \"x\"", &set).is_empty());
        assert!(doubts("/etc/c.toml", "[instances.main]\nhost = \"eu\"", &["CREDENTIALS_DIRECTORY"]).is_empty());
        let one =
            doubts("c.toml", "[instances.a]\nhost = \"eu\"\n[instances.b]\n[listeners.local]\ninstance = \"a\"", &set);
        assert!(one.len() == 1 && one[0].starts_with("instances.b is the SANDBOX"), "{one:?}");
    }
}
