//! Questions on standard error, answers from standard input, a terminal or not.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Context, bail};
use zeroize::Zeroizing;

/// The longest answer, in bytes.
const MAX_ANSWER: usize = 4096;

/// Asks until an answer is good.
#[derive(Debug)]
pub(super) struct Prompt;

impl Prompt {
    /// The answer, or `default` for an empty one; `flag` would give it without a question.
    pub(super) fn ask<T>(
        &mut self,
        question: &str,
        flag: &str,
        default: Option<&str>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> anyhow::Result<T> {
        let hint = default.map_or_else(String::new, |default| format!(" [{default}]"));
        loop {
            say(&format!("{question}{hint}: "))?;
            let line = line()?;
            let Some(line) = line else {
                say("\n")?;
                bail!("{question:?} was not answered: give {flag}, or type the answer");
            };
            let answer = match (line.trim(), default) {
                ("", Some(default)) => default,
                (answer, _) => answer,
            };
            let read = if answer.is_empty() { Err("an answer is needed".to_owned()) } else { read(answer) };
            match read {
                Ok(answer) => return Ok(answer),
                Err(error) => say(&format!("  {error}\n"))?,
            }
        }
    }

    /// A secret, which a terminal does not show; `instead` says where else it can come from.
    pub(super) fn ask_secret(&mut self, question: &str, instead: &str) -> anyhow::Result<Zeroizing<String>> {
        say(&format!("{question}: "))?;
        let typed = if io::stdin().is_terminal() { hidden()? } else { line()? };
        say("\n")?;
        let Some(typed) = typed else { bail!("the client secret was not typed: it goes to {instead}") };
        Ok(Zeroizing::new(typed.trim().to_owned()))
    }
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stderr().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The next line without its end; `None` at the end of the input.
fn line() -> anyhow::Result<Option<Zeroizing<String>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_ANSWER));
    let mut input = io::stdin().lock();
    let read = io::Read::take(&mut input, MAX_ANSWER as u64).read_until(b'\n', &mut bytes)?;
    let text = std::str::from_utf8(&bytes).context("the answer is not UTF-8")?;
    Ok((read > 0).then(|| Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())))
}

/// A line of a terminal that does not show it. Ctrl-C ends the wait, so that the terminal shows again what is typed.
#[cfg(unix)]
fn hidden() -> anyhow::Result<Option<Zeroizing<String>>> {
    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    /// Gives the terminal its settings back.
    struct Restore(Termios);

    impl Drop for Restore {
        fn drop(&mut self) {
            // A terminal that has gone needs none.
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
        }
    }

    let before = tcgetattr(io::stdin())?;
    let mut silent = before.clone();
    silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
    let _restore = Restore(before);
    tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
    let mut typed = Zeroizing::new(Vec::with_capacity(MAX_ANSWER));
    loop {
        let mut byte = [0];
        let end = rustix::io::read(io::stdin(), &mut byte)? == 0;
        match byte {
            _ if end => break,
            [b'\r' | b'\n'] => break,
            [0x03] => bail!("ended by Ctrl-C, nothing was written"),
            [0x04] if typed.is_empty() => return Ok(None),
            [0x04] => break,
            [0x08 | 0x7f] => drop(typed.pop()),
            [0x15] => typed.clear(),
            [byte] if typed.len() < MAX_ANSWER => typed.push(byte),
            [_] => bail!("the answer is too long"),
        }
    }
    let text = std::str::from_utf8(&typed).context("the answer is not UTF-8")?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// There is no safe way to hide it here.
#[cfg(not(unix))]
fn hidden() -> anyhow::Result<Option<Zeroizing<String>>> {
    say("(this terminal shows what you type: clear it afterwards) ")?;
    line()
}
