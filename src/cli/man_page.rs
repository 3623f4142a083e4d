//! `man` and `completions`: manual pages and shell completions, made from the command line's own definition.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::arguments::Arguments;

/// Writes a page for the program and for each of its commands to `folder`.
pub(super) fn man(folder: &Path) -> anyhow::Result<()> {
    let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Arguments::command(), folder));
    written.with_context(|| format!("the manual pages cannot be written to {}", folder.display()))
}

/// The completions of a shell, as that shell reads them.
pub(super) fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "ninjaone-proxy", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
