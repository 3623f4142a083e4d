//! Reloads: the configuration read and checked as at the start, and a watch over the files that it is made of.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{App, StartError};
use crate::base::file::Stamp;
use crate::base::secret::source::SecretSource;
use crate::config::mistake::ConfigMistake;
use crate::config::replacement::{InForce, ReloadCause};
use crate::config::sections::ConfigFile;
use crate::config::{Config, DEFAULT_FILE, Settings};
use crate::observe::logging::ErrorChain;
use crate::tools::admin::Reload;

/// How often the files are looked at. Not by events of the file system: those of a mounted Kubernetes ConfigMap are
/// those of links in another folder, and network file systems have none.
pub const LOOK: Duration = Duration::from_secs(2);

/// Why another configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It has a mistake.
    #[error(transparent)]
    Mistake(#[from] ConfigMistake),
    /// Something that it wants is not to be had.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The process ends.
    #[error("the configuration was not read to its end")]
    Cut(#[from] tokio::task::JoinError),
}

/// A configuration that was read and checked.
#[derive(Debug)]
pub struct Loaded {
    /// As written.
    pub config: Config,
    /// What the stages are made of.
    pub settings: Settings,
}

/// Reads the configuration again, and watches over its files.
#[derive(Debug)]
pub struct Loader {
    /// The file of the configuration in force; `None` for the built-in defaults.
    path: Option<PathBuf>,
    look: Duration,
    /// What another configuration would take the place of.
    in_force: InForce,
    /// A file has changed since the configuration was read, and nobody has asked for it.
    changed: bool,
    /// What is watched, as it was when it was last read.
    seen: Vec<(PathBuf, Option<Stamp>)>,
    /// As it was at the last look: a file is not read while it is written.
    last: Vec<Option<Stamp>>,
}

impl App {
    /// Reads the configuration again and takes it as a whole, between two requests, or nothing of it. The log, the
    /// metrics and the admin listener tell which; `look` is shown what would be taken. To be dropped only before
    /// [`App::finish`]: it may have been taken then, or not.
    pub async fn reload(&mut self, loader: &mut Loader, look: impl FnOnce(&Settings)) -> Result<(), ReloadError> {
        let taken = self.take(loader, look).await;
        let (at, mut configuration) = (SystemTime::now(), self.admin_state.configuration.borrow_mut());
        let refused = taken.as_ref().err().map(|error| ErrorChain(error).to_string());
        match (&taken, &refused) {
            (Ok((source, digest, restart)), _) => {
                tracing::info!(configuration = %source, "configuration reloaded");
                for key in restart {
                    tracing::warn!(
                        key,
                        "this key applies only after a restart; the rest of the configuration is in force"
                    );
                }
                self.reloads.loaded(false, at, *digest);
                (configuration.since, configuration.restart) = (at, restart.clone());
                configuration.source.clone_from(source);
            }
            (Err(_), why) => {
                let error = why.as_deref().unwrap_or_default();
                tracing::error!(
                    error,
                    "configuration NOT reloaded, the previous one stays in force: correct it and save again"
                );
                self.reloads.refused();
            }
        }
        configuration.reload = Some(Reload { at, refused });
        taken.map(drop)
    }

    /// The source, the digest, and the keys that need a restart.
    async fn take(
        &mut self,
        loader: &mut Loader,
        look: impl FnOnce(&Settings),
    ) -> Result<(String, u64, Vec<&'static str>), ReloadError> {
        let Loaded { config, settings } = loader.load().await?;
        look(&settings);
        let next = self.prepare(settings, &config).await?;
        self.replace(next, &config.file).await?;
        loader.taken(&config);
        Ok((config.source().to_string(), config.digest(), restart_keys(&self.started, &config.file)))
    }
}

impl Loader {
    /// For the configuration in force; its files are looked at so often.
    pub fn new(config: &Config, look: Duration) -> Self {
        let (path, in_force) = (config.path().map(Path::to_owned), InForce::of(config));
        let mut loader = Self { path, look, in_force, changed: false, seen: Vec::new(), last: Vec::new() };
        loader.watch(config.parts());
        loader
    }

    /// Ends when a file has changed, and has not changed since for a while. May be dropped at any time.
    pub async fn changed(&mut self) {
        loop {
            tokio::time::sleep(self.look).await;
            let now: Vec<_> = self.seen.iter().map(|(path, _)| stamp(path)).collect();
            let changed = self.seen.iter().zip(&now).any(|((_, seen), now)| seen != now);
            if changed && self.last == now {
                self.changed = true;
                return;
            }
            self.last = now;
        }
    }

    /// Reads and checks everything. Once a file was read, there is no way back to the built-in defaults: they would
    /// take the place of the rules of a file that somebody has moved away, or emptied, or is writing.
    pub(super) async fn load(&mut self) -> Result<Loaded, ReloadError> {
        // Before it is read: what changes meanwhile is a change.
        self.watch(self.seen.iter().map(|(path, _)| path.clone()).collect());
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || {
            let config = Config::load(path.as_deref())?;
            let settings = config.settings();
            Ok::<_, ConfigMistake>((config, settings))
        });
        let (config, settings) = read.await??;
        self.watch_more(config.parts());
        let cause = if std::mem::take(&mut self.changed) { ReloadCause::FileChanged } else { ReloadCause::Asked };
        self.in_force.check(&config, cause)?;
        Ok(Loaded { config, settings: settings? })
    }

    /// This configuration is in force: files that it does not name are not watched any more.
    pub(super) fn taken(&mut self, config: &Config) {
        let parts = config.parts();
        self.path = config.path().map(Path::to_owned);
        self.in_force = InForce::of(config);
        self.seen.retain(|(path, _)| parts.contains(path) || (parts.is_empty() && path == Path::new(DEFAULT_FILE)));
    }

    fn watch(&mut self, files: Vec<PathBuf>) {
        let files = if self.path.is_none() && files.is_empty() { vec![DEFAULT_FILE.into()] } else { files };
        self.seen = files.into_iter().map(|path| (stamp(&path), path)).map(|(stamp, path)| (path, stamp)).collect();
    }

    /// A mistake may be corrected in a file that the configuration in force does not name.
    fn watch_more(&mut self, files: Vec<PathBuf>) {
        for path in files {
            if !self.seen.iter().any(|(seen, _)| *seen == path) {
                let stamp = stamp(&path);
                self.seen.push((path, stamp));
            }
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    SecretSource::File(path.to_owned()).stamp()
}

/// The keys whose values differ, and count at the start of a process only.
pub(super) fn restart_keys(running: &ConfigFile, wanted: &ConfigFile) -> Vec<&'static str> {
    [
        ("audit", running.audit != wanted.audit),
        ("log.level", running.log.level != wanted.log.level),
        ("log.format", running.log.format != wanted.log.format),
        ("process.core-dumps", running.process != wanted.process),
        ("shared", running.shared != wanted.shared),
        ("traces", running.traces != wanted.traces),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}
