//! `trust`: how callers come to trust the local CA; adds it to the store of the system, and removes it there.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use super::{CommandError, DATA, OS, REFUSED, failure, print};
use crate::base::clock::utc;
use crate::net::tls::local::LocalCa;
use crate::tools::trust::authority::AuthorityCertificate;
use crate::tools::trust::guide::{self, Shell, Way};
use crate::tools::trust::store::{Installed, StoreError, SystemStore};

/// An address of a listener with TLS, as the documents have it.
const URL: &str = "https://localhost:8443/v2/organizations";
/// Where a service of systemd keeps its state.
const SERVICE: &str = "/var/lib/ninjaone-proxy";

#[derive(Debug, Args)]
pub(super) struct Trust {
    /// Add the local CA to the certificates that this system trusts; needs an administrator
    #[arg(long)]
    install: bool,
    /// Remove what --install added, even if the local CA is gone; needs an administrator
    #[arg(long, conflicts_with = "install")]
    uninstall: bool,
    /// Print JSON
    #[arg(long, conflicts_with_all = ["install", "uninstall"])]
    json: bool,
}

/// Says what to do, or does it.
pub(super) fn trust(options: &Trust) -> Result<(), CommandError> {
    if options.uninstall {
        return uninstall();
    }
    let folder = LocalCa::find(Vec::new()).map_err(|error| failure(OS)(error.into()))?;
    let path = folder.certificate();
    let authority = AuthorityCertificate::read(&path).map_err(|error| {
        let advice = "Remove ca.pem and ca-key.pem there, start the proxy again, and have callers trust the new ca.pem";
        failure(DATA)(anyhow!("{error}. {advice}"))
    })?;
    let authority = authority.ok_or_else(|| failure(REFUSED)(missing(&path)))?;
    match options.install {
        true => install(&path, &authority),
        false => print(&if options.json { document(&path, &authority) } else { text(&path, &authority) }),
    }
}

/// There is no CA yet, or it is elsewhere.
fn missing(path: &Path) -> anyhow::Error {
    let folder = path.parent().unwrap_or(path);
    let elsewhere = match folder == Path::new(SERVICE) || cfg!(windows) {
        true => "if the proxy keeps its state elsewhere, set STATE_DIRECTORY to that folder".to_owned(),
        false => format!("for a proxy that runs as a service, type: {}", command(Path::new(SERVICE), "trust")),
    };
    anyhow!(
        "there is no local CA in {} yet. The proxy makes one when it starts with tls = \"local-ca\" or intercept in a listener; {elsewhere}",
        folder.display()
    )
}

fn install(path: &Path, authority: &AuthorityCertificate) -> Result<(), CommandError> {
    let store = store()?;
    allow_all_to_read();
    let installed = store.install(authority).map_err(|error| not_done(error, &install_command(path)))?;
    let file = store.file().display();
    let mut said = match installed {
        Installed::Added => format!("This system now trusts the local CA: {file}\n"),
        Installed::Again => format!("This system trusted the local CA already: {file}\n"),
        Installed::Replaced(old) => format!(
            "This system now trusts the local CA: {file}\nIt no longer trusts the one before, with SHA-256 {}\n",
            old.sha256()
        ),
    };
    said.push_str(&described(authority));
    let _ = write!(
        said,
        "Python requests and httpx, Node.js, Java, and browsers may have certificates of their own: see {} trust\n\
         To undo it: {}\n",
        executable(),
        uninstall_command()
    );
    print(&said)
}

fn uninstall() -> Result<(), CommandError> {
    let store = store()?;
    allow_all_to_read();
    let removed = store.uninstall().map_err(|error| not_done(error, &uninstall_command()))?;
    print(&match removed {
        Some(old) => format!(
            "This system no longer trusts the local CA with SHA-256 {}\nRemoved: {}\n",
            old.sha256(),
            store.file().display()
        ),
        None => format!("Nothing to remove: there is no {}\n", store.file().display()),
    })
}

fn store() -> Result<SystemStore, CommandError> {
    SystemStore::find().ok_or_else(|| {
        failure(REFUSED)(anyhow!(
            "this system has no store of certificates that ninjaone-proxy knows. On Debian, Ubuntu, Alpine and Fedora, install the package ca-certificates and try again; elsewhere, see {} trust for what each runtime reads",
            executable()
        ))
    })
}

/// What went wrong, and where it helps, how to do it as an administrator.
fn not_done(error: StoreError, command: &str) -> CommandError {
    let is_administrator = is_root();
    let advice = match &error {
        StoreError::NoRights { .. } | StoreError::NotAdded(_) | StoreError::NotRemoved { .. } if !is_administrator => {
            match Shell::of_this_system() {
                Shell::Posix => format!(". Type: {command}"),
                Shell::PowerShell => format!(". Open PowerShell as administrator, and type: {command}"),
            }
        }
        StoreError::NoRights { .. }
        | StoreError::NotAdded(_)
        | StoreError::NotRemoved { .. }
        | StoreError::Foreign(_)
        | StoreError::NotAFile(_)
        | StoreError::File { .. } => String::new(),
    };
    failure(REFUSED)(anyhow!("{error}{advice}"))
}

#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Nothing tells it without code that is unsafe.
#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

/// Administrators often have a umask that keeps new files from others, who must read the store.
#[cfg(unix)]
fn allow_all_to_read() {
    use rustix::fs::Mode;
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
}

#[cfg(not(unix))]
fn allow_all_to_read() {}

/// This program, as a shell takes it.
fn executable() -> String {
    let path = std::env::current_exe().ok();
    let path = path.as_deref().and_then(Path::to_str).unwrap_or("ninjaone-proxy");
    let shell = Shell::of_this_system();
    match shell.quote(path) {
        quoted if shell == Shell::PowerShell && quoted.starts_with('\'') => format!("& {quoted}"),
        quoted => quoted,
    }
}

/// A command about this folder for state, as an administrator types it: `sudo` would look in the folder of root.
fn command(folder: &Path, words: &str) -> String {
    let shell = Shell::of_this_system();
    let folder = shell.quote(&folder.to_string_lossy());
    match (shell, is_root()) {
        (Shell::PowerShell, _) => {
            format!("$env:STATE_DIRECTORY = '{}'; {} {words}", folder.trim_matches('\''), executable())
        }
        (Shell::Posix, true) => format!("STATE_DIRECTORY={folder} {} {words}", executable()),
        (Shell::Posix, false) => format!("sudo env STATE_DIRECTORY={folder} {} {words}", executable()),
    }
}

/// Shows how to trust the CA of this file. Where the environment names the folder for state, that of whoever reads it
/// need not.
pub(super) fn show_command(path: &Path) -> String {
    match std::env::var_os("STATE_DIRECTORY") {
        Some(_) => command(path.parent().unwrap_or(path), "trust"),
        None => format!("{} trust", executable()),
    }
}

fn install_command(path: &Path) -> String {
    command(path.parent().unwrap_or(path), "trust --install")
}

fn uninstall_command() -> String {
    let sudo = if cfg!(windows) || is_root() { "" } else { "sudo " };
    format!("{sudo}{} trust --uninstall", executable())
}

fn described(authority: &AuthorityCertificate) -> String {
    format!(
        "  can vouch for  {}, and names below these; for nothing else\n  valid          {} to {}\n  SHA-256        {}\n",
        authority.names().join(", "),
        utc::moment(authority.not_before()),
        utc::moment(authority.not_after()),
        authority.sha256()
    )
}

/// What the system trusts: a word for programs, and a sentence.
fn state(store: Option<&SystemStore>, authority: &AuthorityCertificate) -> (&'static str, String) {
    let Some(store) = store else { return ("unknown", "has no store that ninjaone-proxy knows".to_owned()) };
    let file = store.file().display();
    match store.installed() {
        Ok(None) => ("no", format!("does not trust it by trust --install: there is no {file}")),
        Ok(Some(own)) if own == *authority => ("yes", format!("trusts it: {file}")),
        Ok(Some(other)) => (
            "another",
            format!("trusts another local CA: {file}, SHA-256 {}; trust --install replaces it", other.sha256()),
        ),
        Err(error) => ("unknown", error.to_string()),
    }
}

/// The ways for systems, and those for runtimes.
fn ways(path: &Path, store: Option<&SystemStore>) -> [Vec<Way>; 2] {
    let shell = Shell::of_this_system();
    let here = store.map(|_| [install_command(path), uninstall_command()]);
    [guide::systems(path, shell, here), guide::runtimes(path, shell, URL)]
}

fn text(path: &Path, authority: &AuthorityCertificate) -> String {
    let store = SystemStore::find();
    let (_, state) = state(store.as_ref(), authority);
    let [systems, runtimes] = ways(path, store.as_ref());
    let mut said = format!("The local CA: {}\n{}  this system    {state}\n", path.display(), described(authority));
    said.push_str("\nFor all programs that read the store of their system:\n\n");
    systems.iter().for_each(|way| show(way, &mut said));
    said.push_str("\nFor one tool:\n\n");
    runtimes.iter().for_each(|way| show(way, &mut said));
    said
}

fn show(way: &Way, said: &mut String) {
    // Memory takes everything.
    let _ = writeln!(said, "  {}", way.tool);
    for step in &way.steps {
        let _ = writeln!(said, "      {step}");
    }
    for step in &way.undo {
        let _ = writeln!(said, "    undo:\n      {step}");
    }
    if !way.note.is_empty() {
        let _ = writeln!(said, "    {}", way.note);
    }
}

fn document(path: &Path, authority: &AuthorityCertificate) -> String {
    let store = SystemStore::find();
    let (trusted, _) = state(store.as_ref(), authority);
    let [systems, runtimes] = ways(path, store.as_ref());
    let system =
        store.as_ref().map(|store| json!({ "kind": store.systems(), "file": store.file(), "trusts": trusted }));
    let document = json!({
        "certificate": {
            "file": path,
            "names": authority.names(),
            "notBefore": utc::seconds(authority.not_before()),
            "notAfter": utc::seconds(authority.not_after()),
            "sha256": authority.sha256(),
        },
        "system": system,
        "systems": systems,
        "runtimes": runtimes,
    });
    let text = serde_json::to_string_pretty(&document).unwrap_or_else(|_| document.to_string());
    text + "\n"
}
