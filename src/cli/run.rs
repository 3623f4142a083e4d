//! `run`: serves until a signal, and takes another configuration when the file changes or SIGHUP asks for it.

use std::collections::BTreeSet;

use anyhow::Context;

use super::{CONFIG, CommandError, OS, SOFTWARE, catalog, failure, log_filter, runtime, settings};
use crate::app::reload::{LOOK, Loaded, Loader};
use crate::app::{Addresses, App, StartError};
use crate::base::secret::command;
use crate::base::supervisor::ServiceManager;
use crate::config::sections::LogFormat;
use crate::config::{Config, EndpointError, ListenerConfig, Settings, SiteError};
use crate::net::listener::{Bound, Inheritance};
use crate::net::shutdown::{self, ShutdownSignal, Signals};
use crate::net::tls::local::LocalCa;
use crate::net::tls::server::IdentitySource;
use crate::observe::logging::{self, ErrorChain};

/// What the line about a sandbox ends with where no configuration was read.
const INIT: &str = "; for your own tenant, run \"ninjaone-proxy init\"";

/// Runs the proxy to its end.
pub(super) fn run(config: Config) -> Result<(), CommandError> {
    // First of all: settings may run commands, which are given none of it.
    let inheritance = Inheritance::from_env();
    let settings = settings(&config)?;
    let _log = logging::start(log_filter(&config)?, config.file.log.format == LogFormat::Json)
        .map_err(|error| failure(SOFTWARE)(error.into()))?;
    crate::base::panic_guard::install();
    if let Some(listener) = settings.listeners.first() {
        catalog::log(listener.policy.catalog());
    }
    let runtime = runtime()?;
    let served = runtime.block_on(serve(Loaded { config, settings }, inheritance));
    // Dropping it would wait for the workers, and a second signal means not to.
    runtime.shutdown_background();
    served
}

async fn serve(loaded: Loaded, inheritance: Inheritance) -> Result<(), CommandError> {
    let mut signals = Signals::catch().map_err(|error| failure(OS)(error.into()))?;
    let supervisor = ServiceManager::from_env();
    let mut loader = Loader::new(&loaded.config, LOOK);
    let (mut notes, source) = (Notes::new(loaded.config.path().is_none()), loaded.config.source().to_string());
    let news = SettingsNotice::of(&loaded.settings);
    if std::process::id() == 1 {
        tokio::task::spawn_local(shutdown::whenever_a_child_ends(command::reap_orphans));
    }
    let mut app = App::start_with(loaded, inheritance).await.map_err(|error| failure(code(&error))(error.into()))?;
    notes.log_notices(news, &app);
    tracing::info!(configuration = %source, version = env!("CARGO_PKG_VERSION"), "started");
    supervisor.ready("serving");
    let (watched, pulse) = (supervisor.clone(), app.pulse());
    tokio::task::spawn_local(watched.watched(async move || pulse.felt().await));
    loop {
        let cause = tokio::select! {
            asked = signals.next() => match asked {
                ShutdownSignal::Reload => "SIGHUP",
                ShutdownSignal::End(signal) => break draining(signal),
            },
            () = app.broken() => break tracing::error!("a worker ended, so the proxy ends too"),
            () = loader.changed() => "file",
        };
        tokio::select! {
            () = reload(&mut app, &mut loader, cause, &mut notes, &supervisor) => {}
            signal = signals.end() => break draining(signal),
        }
    }
    supervisor.stopping();
    tokio::select! {
        finished = app.finish() => finished.context("drain").map_err(failure(SOFTWARE))?,
        signal = signals.end() => tracing::warn!(signal, "ended without draining"),
    }
    tracing::info!("ended");
    Ok(())
}

fn draining(signal: &str) {
    tracing::info!(signal, "draining; a second signal ends the process at once");
}

async fn reload(app: &mut App, loader: &mut Loader, cause: &str, notes: &mut Notes, supervisor: &ServiceManager) {
    supervisor.reloading();
    tracing::info!(cause, "reloading the configuration");
    let mut news = None;
    match app.reload(loader, |settings| news = Some(SettingsNotice::of(settings))).await {
        Ok(()) => {
            if let Some(news) = news {
                notes.log_notices(news, app);
            }
            supervisor.ready("serving; the configuration was reloaded");
        }
        Err(error) => {
            let why = ErrorChain(&error);
            supervisor
                .ready(&format!("serving; the new configuration was refused, the previous one is in force: {why}"));
        }
    }
}

/// The exit code of a proxy that does not start.
pub(super) fn code(error: &StartError) -> u8 {
    match error {
        StartError::Bind { .. } | StartError::Audit(_) | StartError::System(_) => OS,
        StartError::Uses(_) | StartError::State(_) => OS,
        StartError::SelfCall(_) | StartError::Way(_, SiteError::Host(_)) | StartError::Identity(..) => CONFIG,
        StartError::Endpoint(_, EndpointError::Path(_) | EndpointError::Way(SiteError::Host(_))) => CONFIG,
        StartError::Way(_, SiteError::Tls(_)) | StartError::Endpoint(_, EndpointError::Way(SiteError::Tls(_))) => {
            SOFTWARE
        }
        StartError::Tls(_)
        | StartError::Traces(_)
        | StartError::Notices(_)
        | StartError::Sandbox(_)
        | StartError::Metrics(_) => SOFTWARE,
    }
}

/// What an administrator should know of settings.
pub(super) struct SettingsNotice {
    local_ca: Option<LocalCa>,
    exposures: Vec<String>,
    complaints: BTreeSet<String>,
    /// Of certificates that do not fit their listener.
    certificates: Vec<String>,
    doubts: Vec<String>,
    /// Of credentials that look damaged.
    suspicions: Vec<String>,
}

impl SettingsNotice {
    pub(super) fn of(settings: &Settings) -> Self {
        let doubts = settings.doubts.iter().map(ToString::to_string).collect();
        let certificates = settings.listeners.iter().flat_map(ListenerConfig::certificate_warnings).collect();
        let (exposures, complaints) = (settings.exposures(), settings.complaints());
        let suspicions = settings.suspicions();
        Self { local_ca: local_ca(settings), exposures, complaints, certificates, doubts, suspicions }
    }
}

/// What the log has said, which it says once.
#[derive(Default)]
pub(super) struct Notes {
    local_ca: Option<LocalCa>,
    admin: Option<Bound>,
    probes: Option<Bound>,
    sandboxes: Addresses,
    sandbox_hint: &'static str,
    exposures: BTreeSet<String>,
    complaints: BTreeSet<String>,
    certificates: Vec<String>,
    doubts: Vec<String>,
    suspicions: Vec<String>,
}

impl Notes {
    /// Nothing said yet. Who has written no configuration is told of `init`.
    pub(super) fn new(is_default: bool) -> Self {
        Self { sandbox_hint: if is_default { INIT } else { "" }, ..Self::default() }
    }

    pub(super) fn log_notices(
        &mut self,
        SettingsNotice { local_ca, exposures, complaints, certificates, doubts, suspicions }: SettingsNotice,
        app: &App,
    ) {
        if let Some(authority) = local_ca.as_ref().filter(|_| self.local_ca != local_ca) {
            tracing::info!("{}", trust(authority));
        }
        let (admin, probes) = (app.admin.clone(), app.probes().cloned());
        if let Some(bound) = admin.as_ref().filter(|_| self.admin != admin) {
            let also = bound.other_url(false).map(tracing::field::display);
            tracing::info!(address = %bound.url(false), also, "admin listening");
        }
        if let Some(bound) = probes.as_ref().filter(|_| self.probes != probes) {
            let also = bound.other_url(false).map(tracing::field::display);
            tracing::info!(address = %bound.url(false), also, "probes listening");
        }
        for (name, address) in app.sandboxes.iter().filter(|sandbox| !self.sandboxes.contains(sandbox)) {
            tracing::warn!(instance = %name, address = %format_args!("http://{address}"), "this is a SANDBOX: all data is invented, nothing reaches NinjaOne{}", self.sandbox_hint);
        }
        for warning in doubts.iter().filter(|doubt| !self.doubts.contains(doubt)) {
            tracing::warn!(warning, "INVENTED DATA is served, although a tenant seems to be meant");
        }
        for warning in suspicions.iter().filter(|suspicion| !self.suspicions.contains(suspicion)) {
            tracing::warn!(warning, "a credential looks damaged");
        }
        for exposure in exposures.iter().filter(|exposure| !self.exposures.contains(*exposure)) {
            tracing::warn!(exposure, "others can read or write a credential");
        }
        for complaint in complaints.difference(&self.complaints) {
            tracing::warn!(complaint, "not all root certificates of this system can be read; the others are trusted");
        }
        for warning in certificates.iter().filter(|warning| !self.certificates.contains(*warning)) {
            tracing::warn!(warning, "the certificate of a listener does not match its names");
        }
        let sandboxes = app.sandboxes.clone();
        let exposures = exposures.into_iter().collect();
        let sandbox_hint = self.sandbox_hint;
        *self = Self {
            local_ca,
            admin,
            probes,
            sandboxes,
            sandbox_hint,
            exposures,
            complaints,
            certificates,
            doubts,
            suspicions,
        };
    }
}

/// What the local CA vouches for, and how callers come to trust it: no way is right for all of them.
fn trust(authority: &LocalCa) -> String {
    let certificate = authority.certificate();
    format!(
        "callers must trust the local CA, {}, which vouches for {}, each runtime in its own way; to see how, run: {}",
        certificate.display(),
        authority.names().collect::<Vec<_>>().join(", "),
        super::trust::show_command(&certificate)
    )
}

/// What callers of listeners must trust whose certificates are of the local CA, for all of their names.
fn local_ca(settings: &Settings) -> Option<LocalCa> {
    let of_listener = |listener: &ListenerConfig| match (&listener.interception, &listener.tls) {
        (Some(authority), _) | (None, Some(IdentitySource::LocalCa(authority))) => Some(authority.clone()),
        (None, Some(IdentitySource::Files(_)) | None) => None,
    };
    settings.listeners.iter().filter_map(of_listener).reduce(LocalCa::with)
}
