//! The configuration: a file as written becomes the settings of the stages, or one clear mistake.

pub mod admin_address;
mod approvals;
mod caller_proofs;
mod caller_reach;
pub(crate) mod catalog_file;
mod command_proxy;
mod compiled_policies;
pub mod edit;
pub mod host;
mod instance_site;
mod instances;
mod intercept;
mod key_hash;
mod key_position;
mod limits;
mod listener_tls;
mod listeners;
pub mod mistake;
mod nearest;
mod observing;
mod offline;
mod organizations;
pub mod policy_target;
pub mod published_catalog;
mod quota;
pub mod redirect_uri;
pub mod replacement;
mod rules;
mod sandbox_warning;
pub mod sections;
pub mod self_call;
mod settings;
mod shared;
mod terms;
pub mod units;
pub(crate) mod users;
pub mod value;
pub(crate) mod warnings;
mod wording;
mod writes;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use tracing_subscriber::filter::Targets;

use crate::observe::logging::{self, ErrorChain};
use crate::proxy::policy::catalog::Catalog;
pub use instance_site::{EndpointError, InstanceSite, ServerConfig, SiteError};
use mistake::ConfigMistake;
pub(crate) use nearest::nearest;
pub use sandbox_warning::SandboxWarning;
pub(crate) use sandbox_warning::is_set;
use sections::{ConfigFile, InstanceSection};
pub use settings::{CallerConfig, CallerReach, InstanceConfig, ListenerConfig, Settings, UserConfig};
use value::{ProxyChoice, Reference};
pub use warnings::Warning;

/// Where a configuration is looked for if none is given.
pub const DEFAULT_FILE: &str = "config.toml";

/// The name of the built-in defaults in messages.
const BUILT_IN: &str = "built-in defaults";

/// The largest configuration file.
const MAX_FILE: u64 = 4 << 20;

/// A configuration file that was read, and where it came from.
#[derive(Debug)]
pub struct Config {
    path: PathBuf,
    text: String,
    /// Whether it is for another machine, and is checked without what is there only.
    offline: bool,
    /// Its content, with defaults where it says nothing.
    pub file: ConfigFile,
}

impl Config {
    /// Reads the file at `path`; without one `config.toml` in the working directory, and without that the built-in
    /// defaults.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigMistake> {
        let asked = path.unwrap_or(Path::new(DEFAULT_FILE));
        match crate::base::file::read_text(asked, MAX_FILE) {
            Ok(text) => Self::parse(asked, text),
            Err(error) if path.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self { path: BUILT_IN.into(), text: String::new(), offline: false, file: ConfigFile::default() })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(ConfigMistake::of_file(
                asked,
                "the configuration cannot be read: there is no such file. Name another with --config FILE, or write one with \"ninjaone-proxy init --output FILE\"",
            )),
            Err(error) => Err(ConfigMistake::of_file(asked, format!("the configuration cannot be read: {error}"))),
        }
    }

    /// Reads a configuration's text; `path` is for messages and for relative paths in it.
    pub fn parse(path: &Path, text: String) -> Result<Self, ConfigMistake> {
        match toml::from_str(&text) {
            Ok(file) => match key_position::control_characters(&text) {
                None => Ok(Self { path: path.to_owned(), text, offline: false, file }),
                Some(span) => {
                    Err(ConfigMistake::at(path, &text, span.clone(), wording::control_characters(&text, &span)))
                }
            },
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                let message = wording::plain(error.message(), &text, &span);
                Err(ConfigMistake::at(path, &text, wording::place(error.message(), &text, span), message))
            }
        }
    }

    /// The file that it was read from; `None` for the built-in defaults.
    pub fn path(&self) -> Option<&Path> {
        (self.path != Path::new(BUILT_IN)).then_some(&self.path)
    }

    /// The files that it is made of, apart from those that are followed by themselves: credentials, and the certificates
    /// of listeners.
    pub fn parts(&self) -> Vec<PathBuf> {
        let of_instance = |file: &InstanceSection| {
            let given = [&file.ca_file, &file.certificate, &file.key].into_iter().flatten();
            let mut files: Vec<_> = given.map(|path| self.beside(path.get_ref())).collect();
            if let Some(ProxyChoice::Reference(Reference::File(path))) = file.proxy.as_ref().map(Spanned::get_ref) {
                files.push(self.beside(path));
            }
            files
        };
        let own = self.path().map(Path::to_owned);
        let catalog = self.file.catalog_file.iter().map(|path| self.beside(path.get_ref()));
        own.into_iter().chain(catalog).chain(self.file.instances.values().flat_map(of_instance)).collect()
    }

    /// A number that is the same for the same text, and another for another: the first 48 bits of its SHA-256, which a
    /// floating-point number holds exactly.
    pub fn digest(&self) -> u64 {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.text.as_bytes());
        digest.as_ref().iter().take(6).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Where it came from, for people.
    pub fn source(&self) -> impl std::fmt::Display + '_ {
        self.path.display()
    }

    /// The command line that has `words` done with this configuration, to be pasted from any folder.
    pub fn command(&self, words: &str) -> String {
        let Some(path) = self.path() else { return format!("ninjaone-proxy {words}") };
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
        let is_plain = path.chars().all(|c| c.is_alphanumeric() || "/\\:._-~".contains(c));
        if is_plain {
            format!("ninjaone-proxy --config {path} {words}")
        } else {
            format!("ninjaone-proxy --config {path:?} {words}")
        }
    }

    /// Checks what the keys say together, reads the credentials, and compiles the policies.
    pub fn settings(&self) -> Result<Settings, ConfigMistake> {
        let listeners = self.listeners()?;
        self.log_filter()?;
        self.check_certificates(&listeners)?;
        let instances = self.file.instances.iter().map(|(name, file)| self.instance(name, file));
        let record = listeners.iter().any(|listener| listener.policy.observes()).then(|| self.record()).transpose()?;
        let instances = instances.collect::<Result<_, _>>()?;
        let (approvals, notices, shared) = (self.approvals()?, self.notices()?, self.shared()?);
        let (audit, traces, doubts) = (self.audit()?, self.traces()?, self.doubts(is_set));
        self.check_folders(&listeners, record.as_deref())?;
        Ok(Settings { instances, listeners, record, audit, traces, approvals, shared, notices, doubts })
    }

    /// Checks what the keys say together, credentials apart, and compiles the policies.
    pub(crate) fn listeners(&self) -> Result<Vec<ListenerConfig>, ConfigMistake> {
        let catalog = self.catalog()?;
        for (table, empty, header) in [
            ("listeners", self.file.listeners.is_empty(), "[listeners.local]"),
            ("instances", self.file.instances.is_empty(), "[instances.main]"),
        ] {
            if empty {
                return Err(self.about(
                    &[table],
                    &[],
                    format!("there is none: write {header} in the place of this line"),
                ));
            }
        }
        self.check_limits()?;
        self.approvals()?;
        self.store_address()?;
        self.check_addresses()?;
        self.file.listeners.iter().map(|(name, file)| self.listener(name, file, &catalog)).collect()
    }

    /// The operations that are known.
    pub(crate) fn catalog(&self) -> Result<Arc<Catalog>, ConfigMistake> {
        let built_in =
            Catalog::built_in().map_err(|error| ConfigMistake::of_file(&self.path, ErrorChain(&error).to_string()))?;
        let Some(path) = &self.file.catalog_file else { return Ok(Arc::new(built_in)) };
        let document = catalog_file::read(&self.beside(path.get_ref()));
        let document = document.map_err(|error| self.mistake(path, error.to_string()))?;
        Ok(Arc::new(built_in.with(&document)))
    }

    fn mistake<T>(&self, place: &Spanned<T>, message: impl Into<String>) -> ConfigMistake {
        match place.span() {
            // A default.
            span if span.is_empty() => ConfigMistake::of_file(&self.path, message),
            span => ConfigMistake::at(&self.path, &self.text, span, message),
        }
    }

    /// About a key that need not be in the file: see [`ConfigMistake::about`].
    fn about(&self, key: &[&str], others: &[&[&str]], message: impl Into<String>) -> ConfigMistake {
        ConfigMistake::about(&self.path, &self.text, key, others, message)
    }

    /// Entries that a list has twice: no mistake, but hardly meant.
    pub(crate) fn repeated(&self) -> Vec<ConfigMistake> {
        let told = |span: std::ops::Range<usize>| {
            let entry = self.text.get(span.clone()).unwrap_or_default();
            let message = format!("{entry} is in the list twice: was another one meant?");
            ConfigMistake::at(&self.path, &self.text, span, message)
        };
        key_position::repeated(&self.text).into_iter().map(told).collect()
    }

    /// What the log lets through.
    pub fn log_filter(&self) -> Result<Targets, ConfigMistake> {
        let level = &self.file.log.level;
        logging::filter(level.get_ref()).map_err(|error| self.mistake(level, error.to_string()))
    }

    /// A path in the file is meant relative to the file.
    fn beside(&self, path: &Path) -> PathBuf {
        self.path.parent().map_or_else(|| path.to_owned(), |folder| folder.join(path))
    }
}
