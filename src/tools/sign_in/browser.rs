//! Opening a browser. If none opens, nothing fails: the address is always shown too.

use std::process::{Command, Stdio};

/// Starts a browser with this address, if there is a way to; it is not waited for.
pub fn open(address: &str) {
    let variable = std::env::var("BROWSER").ok();
    let wsl = std::fs::read_to_string("/proc/version").is_ok_and(|version| version.contains("microsoft"));
    for words in commands(address, variable.as_deref(), wsl) {
        let Some((program, arguments)) = words.split_first() else { continue };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if command.spawn().is_ok() {
            return;
        }
    }
}

/// The command lines to try, in order.
fn commands(address: &str, variable: Option<&str>, wsl: bool) -> Vec<Vec<String>> {
    let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    // BROWSER is a list with colons between; %s stands for the address, which comes last without it.
    let named = variable.unwrap_or_default().split(':').filter_map(|entry| {
        let mut words: Vec<_> = entry.split_ascii_whitespace().map(|word| word.replace("%s", address)).collect();
        if !words.is_empty() && !entry.contains("%s") {
            words.push(address.to_owned());
        }
        (!words.is_empty()).then_some(words)
    });
    let system: Vec<_> = if cfg!(windows) {
        // Not through cmd, which reads & in an address.
        vec![own(&["rundll32.exe", "url.dll,FileProtocolHandler", address])]
    } else if cfg!(target_os = "macos") {
        vec![own(&["open", address])]
    } else if wsl {
        vec![own(&["wslview", address]), own(&["rundll32.exe", "url.dll,FileProtocolHandler", address])]
    } else {
        vec![own(&["xdg-open", address])]
    };
    named.chain(system).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browser_is_the_one_of_the_environment_then_that_of_the_system() {
        let address = "http://127.0.0.1/?a=1&b=$(x)";
        let first = |variable| commands(address, variable, false).into_iter().next().expect("one");
        assert_eq!(first(Some("firefox")), ["firefox", address]);
        assert_eq!(first(Some("firefox --new-window %s:w3m")), ["firefox", "--new-window", address]);
        assert_eq!(commands(address, Some("a:b"), false).len(), 3);
        for none in [None, Some(""), Some(":")] {
            assert_eq!(first(none).last().map(String::as_str), Some(address));
        }
        #[cfg(target_os = "linux")]
        assert_eq!(commands(address, None, true)[0], ["wslview", address]);
    }
}
