//! Whether a configuration may take the place of the one in force: an empty, cut or half-written file is often valid, since
//! every key has a default, and would serve something else than anybody wrote.

use toml::Spanned;
use zeroize::Zeroizing;

use super::Config;
use super::host::InstanceHost;
use super::mistake::ConfigMistake;
use super::sections::InstanceSection;

/// The tables without which the built-in sandbox, or a listener without rules, would be served.
const TABLES: [&str; 2] = ["instances", "listeners"];

/// What is kept of the configuration in force.
#[derive(Debug)]
pub struct InForce {
    /// It may hold the password of an HTTP proxy.
    text: Zeroizing<String>,
    /// Of [`TABLES`].
    tables: Vec<&'static str>,
    /// It serves a real instance.
    real: bool,
}

/// What had a configuration read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadCause {
    /// Somebody said so, by a signal.
    Asked,
    /// A file has changed, perhaps by half.
    FileChanged,
}

impl InForce {
    /// For what comes after `config`.
    pub fn of(config: &Config) -> Self {
        let real = config.file.instances.values().any(|instance| !is_sandbox(instance));
        Self { text: Zeroizing::new(config.text.clone()), tables: tables(&config.text), real }
    }

    /// Refuses a configuration that was most likely not meant to be in force.
    pub fn check(&self, next: &Config, cause: ReloadCause) -> Result<(), ConfigMistake> {
        let refuse = |message: String| Err(ConfigMistake::of_file(&next.path, message));
        let written = tables(&next.text);
        if let Some(lost) = self.tables.iter().find(|table| !written.contains(table)) {
            let what =
                if next.text.trim().is_empty() { "the file is empty" } else { "the file looks cut or half written" };
            return refuse(format!(
                "{what}: it has no [{lost}.NAME], and the configuration in force has; the defaults do not take its place. To start with them, restart the proxy"
            ));
        }
        if self.real
            && let Some((name, _)) =
                next.file.instances.iter().find(|(_, file)| is_sandbox(file) && !is_written(&file.host))
        {
            return refuse(format!(
                "instances.{name} has no host, which would be the sandbox, and the configuration in force serves NinjaOne: write its host, or host = \"sandbox\" if invented data is meant"
            ));
        }
        if cause == ReloadCause::FileChanged
            && let Some(sign) = self.looks_cut(&next.text)
        {
            return refuse(format!(
                "the file looks cut or half written: {sign}. If it is meant to be so, end it with a line such as \"# end\", or send SIGHUP"
            ));
        }
        Ok(())
    }

    /// A sign that the file was not written to its end.
    fn looks_cut(&self, next: &str) -> Option<&'static str> {
        if next.len() < self.text.len() && self.text.starts_with(next) {
            return Some("it is the beginning of the configuration in force, and the rest is missing");
        }
        let ends = |text: &str| text.ends_with('\n');
        (ends(&self.text) && !ends(next))
            .then_some("its last line has no end, which that of the configuration in force has")
    }
}

fn is_sandbox(instance: &InstanceSection) -> bool {
    *instance.host.get_ref() == InstanceHost::Sandbox
}

/// A default is nowhere in the file.
pub(super) fn is_written<T>(value: &Spanned<T>) -> bool {
    !value.span().is_empty()
}

fn tables(text: &str) -> Vec<&'static str> {
    let whole = text.parse::<toml::Table>().unwrap_or_default();
    TABLES.into_iter().filter(|table| whole.contains_key(*table)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const REAL: &str = "[instances.main]\nhost = \"eu\"\n\n[listeners.local]\naddress = \"127.0.0.1:8080\"\n\
        scopes = [\"monitoring\"]\ndeny = [\"GET /v2/users\"]\n";

    fn config(text: &str) -> Result<Config, ConfigMistake> {
        Config::parse(Path::new("c.toml"), text.to_owned())
    }

    fn refused(before: &str, next: &str, cause: ReloadCause) -> Option<String> {
        let before = InForce::of(&config(before).expect("a configuration"));
        before.check(&config(next).expect("a configuration"), cause).err().map(|mistake| mistake.to_string())
    }

    #[test]
    fn defaults_never_take_the_place_of_what_was_written() {
        for cause in [ReloadCause::Asked, ReloadCause::FileChanged] {
            for (next, part) in [
                ("", "the file is empty: it has no [instances.NAME]"),
                ("\n \n", "the file is empty"),
                ("# [instances.main]\n# host = \"eu\"\n", "looks cut or half written: it has no [instances.NAME]"),
                ("[instances.main]\nhost = \"eu\"\n", "it has no [listeners.NAME]"),
                ("[listeners.local]\naddress = \"127.0.0.1:8080\"\n", "it has no [instances.NAME]"),
                ("[instances.main]\n[listeners.local]\n", "instances.main has no host, which would be the sandbox"),
                ("[instances.other]\ntoken-path = \"/x\"\n[listeners.local]\n", "instances.other has no host"),
                (
                    "[instances.a]\nhost = \"us\"\n[instances.b]\n[listeners.local]\ninstance = \"a\"\n",
                    "instances.b has no host",
                ),
            ] {
                let said = refused(REAL, next, cause).unwrap_or_else(|| panic!("taken: {next}"));
                assert!(said.contains(part), "{part} is not in {said}");
            }
        }
    }

    #[test]
    fn what_is_written_out_is_taken() {
        for next in [
            REAL,
            "[instances.main]\nhost = \"sandbox\"\n[listeners.local]\n",
            "[instances.main]\nhost = \"us\"\n[listeners.local]\n",
            "[instances.new]\nhost = \"us\"\n[listeners.new]\naddress = \"127.0.0.1:1\"\n",
        ] {
            assert_eq!(refused(REAL, next, ReloadCause::FileChanged), None, "{next}");
        }
        for (before, next) in [
            ("", "[listeners.local]\n"),
            ("", ""),
            ("[listeners.local]\n", "[listeners.local]\ndeny = [\"GET /v2/users\"]\n"),
            ("[instances.main]\n[listeners.local]\n", "[instances.other]\n[listeners.local]\n"),
        ] {
            assert_eq!(refused(before, next, ReloadCause::FileChanged), None, "{next}");
        }
    }

    #[test]
    fn a_file_that_stops_early_is_taken_only_when_somebody_says_so() {
        let shorter = REAL.strip_suffix("deny = [\"GET /v2/users\"]\n").expect("its end");
        let said = refused(REAL, shorter, ReloadCause::FileChanged).expect("a refusal");
        assert!(
            said.contains("it is the beginning of the configuration in force") && said.contains("SIGHUP"),
            "{said}"
        );
        let open = "[instances.main]\nhost = \"us\"\n[listeners.local]\naddress = \"127.0.0.1:8080\"";
        let said = refused(REAL, open, ReloadCause::FileChanged).expect("a refusal");
        assert!(said.contains("its last line has no end"), "{said}");
        for next in [shorter, open] {
            assert_eq!(refused(REAL, next, ReloadCause::Asked), None);
            assert_eq!(
                refused(REAL, &format!("{next}\n# end\n"), ReloadCause::FileChanged),
                None,
                "what the refusal says"
            );
        }
    }

    /// Every beginning of a file: a mistake, or refused. Nothing less than the whole comes into force by itself.
    #[test]
    fn no_beginning_of_a_file_comes_into_force_by_itself() {
        let before = InForce::of(&config(REAL).expect("a configuration"));
        let mut valid = 0;
        for end in 0..REAL.len() {
            if let Ok(cut) = config(&REAL[..end]) {
                valid += 1;
                assert!(before.check(&cut, ReloadCause::FileChanged).is_err(), "{}", &REAL[..end]);
            }
        }
        assert!(valid > 10, "{valid}");
    }

    /// The same of another file, which is written over the one in force: where the cut one lacks what closes.
    #[test]
    fn another_file_that_is_cut_within_a_line_does_not_come_into_force_by_itself() {
        let before = InForce::of(&config(REAL).expect("a configuration"));
        let next = REAL.replace("eu", "us");
        for end in 0..next.len() {
            let Ok(cut) = config(&next[..end]) else { continue };
            let whole_lines = next[..end].ends_with('\n') && next[..end].contains("[listeners.local]");
            assert!(whole_lines || before.check(&cut, ReloadCause::FileChanged).is_err(), "{}", &next[..end]);
        }
    }
}
