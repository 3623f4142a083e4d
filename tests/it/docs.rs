//! The README and the pages of `docs/`: every block of commands is run as it is written, or the list says why not; the
//! proxy checks every configuration; links lead somewhere; and the reference pages have what the program has.
//!
//! `cargo test --test it docs -- --nocapture` lists what is run and what not.

mod blocks;
mod reference;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use blocks::How::{Not, Python, Runs, Shows, ShowsThen};
use blocks::{BLOCKS, PERMITS, RULES, known};
use regex::Regex;

/// The page that has the sandbox for examples that write, its port, and how its configuration begins.
const TRIAL: (&str, &str, &str) = ("docs/sandbox.md", ":8089", "# trial.toml: ");
/// What a fence may be: commands, and all else that the documents show.
const COMMANDS: [&str; 4] = ["sh", "console", "powershell", "python"];
const OTHERS: [&str; 4] = ["toml", "yaml", "json", "text"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of all documents, from the root.
fn documents() -> Vec<String> {
    fn collect(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|end| end == "md") {
                let name = path.strip_prefix(root()).expect("below the root");
                found.push(name.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    let mut found = vec!["README.md".to_owned(), "deploy/README.md".to_owned()];
    collect(&root().join("docs"), &mut found);
    found.sort();
    assert!(found.len() >= 30, "{found:?}");
    found
}

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The blocks of a document that are between fences for TOML.
fn configurations(text: &str) -> Vec<String> {
    let fence = Regex::new(r"(?ms)^( *)```toml\n(.*?)^ *```").expect("a pattern");
    let block = |found: regex::Captures<'_>| {
        let lines = found[2].lines().map(|line| line.strip_prefix(&found[1]).unwrap_or(line));
        lines.map(|line| format!("{line}\n")).collect()
    };
    fence.captures_iter(text).map(block).collect()
}

/// The blocks of commands of a document. Commands in a fence of another kind, or without one, are a mistake.
fn blocks(name: &str) -> Vec<String> {
    let (mut found, mut open, mut fence) = (Vec::new(), Vec::<&str>::new(), None);
    let text = document(name);
    for line in text.lines() {
        match (fence, line.trim_start().strip_prefix("```")) {
            (None, Some(kind)) => {
                assert!(COMMANDS.contains(&kind) || OTHERS.contains(&kind), "{name}: a fence of the kind {kind:?}");
                fence = Some(COMMANDS.contains(&kind));
            }
            (Some(commands), Some(_)) => {
                if commands {
                    found.push(open.join("\n"));
                }
                (open, fence) = (Vec::new(), None);
            }
            (Some(_), None) => open.push(line),
            (None, None) => {}
        }
        let begins =
            ["$ ", "curl ", "cargo ", "ninjaone-proxy "].iter().any(|begin| line.trim_start().starts_with(begin));
        let elsewhere = fence == Some(false) || fence.is_none() && line.starts_with("    ");
        assert!(!(begins && elsewhere), "{name}: commands outside of a fence for commands: {line}");
    }
    assert!(fence.is_none(), "{name}: a fence is open at the end");
    found
}

/// The configuration of the sandbox for examples that write.
fn trial() -> String {
    configurations(&document(TRIAL.0)).into_iter().find(|text| text.starts_with(TRIAL.2)).expect("trial.toml")
}

/// Whether a line of commands or of a program asks for a write by HTTP.
fn is_write(line: &str) -> bool {
    let curl = Regex::new(
        "curl.*(-X *['\"]?(POST|PUT|PATCH|DELETE)|--request[ =]['\"]?(POST|PUT|PATCH|DELETE)| -d | --data| --json| -F | --form | -T | --upload-file)",
    );
    let program = Regex::new(
        "(requests|httpx|session|client)[.](post|put|patch|delete)[(]|-Method +['\"]?([Pp]ost|[Pp]ut|[Pp]atch|[Dd]elete|P[OUA]|DEL)|[Mm]ethod: *['\"](post|put|patch|delete|P[OUA]|DEL)",
    );
    curl.expect("a pattern").is_match(line) || program.expect("a pattern").is_match(line)
}

/// Whether a write stays on this machine: at the sandbox for trials, at the sandbox's own port, or at the local token
/// endpoint, which never passes anything on.
fn stays_here(text: &str) -> bool {
    [TRIAL.1, ":36079/", "/oauth/token"].iter().any(|place| text.contains(place))
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A running proxy, in a folder of its own; what the documents call ports of it.
struct Stage {
    child: Child,
    folder: tempfile::TempDir,
    /// As documented, and as it is.
    names: Vec<(String, String)>,
}

impl Stage {
    /// On `trial.toml` where the block is about that.
    fn start(listener: &str, more: &str, block: &str) -> Self {
        let (file, text) = if block.contains(TRIAL.1) || block.contains("trial.toml") {
            ("trial.toml", trial())
        } else {
            let local = format!("[listeners.local]\naddress = \"127.0.0.1:8080\"\n{listener}\n");
            ("ninjaone.toml", format!("{local}[admin]\naddress = \"127.0.0.1:9180\"\n{more}\n"))
        };
        // Somebody else may have taken a port that was free.
        (0..5).find_map(|_| Self::try_start(file, &text)).expect("a proxy that starts")
    }

    fn try_start(file: &str, text: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut names: Vec<_> = ["8080", "9180", "8443", "8089", "9189"]
            .into_iter()
            .map(|port| (format!(":{port}"), format!(":{}", free_port())))
            .collect();
        std::fs::write(folder.path().join(file), renamed(&names, text)).expect("a file");
        std::fs::write(folder.path().join("notes.txt"), "notes").expect("a file");
        std::fs::write(folder.path().join(".curlrc"), "silent\nshow-error\nfail-with-body\n").expect("a file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_ninjaone-proxy"))
            .args(["--config", file])
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .env_remove("XDG_STATE_HOME")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let errors = child.stderr.take().expect("standard error");
        names.push(("$(pidof ninjaone-proxy)".to_owned(), child.id().to_string()));
        // Stands for a cursor that the page before had.
        names.push(("&cursor=NAME".to_owned(), String::new()));
        names.push(("/run/ninjaone-proxy".to_owned(), folder.path().display().to_string()));
        let mut stage = Self { child, folder, names };
        let mut lines = BufReader::new(errors).lines().map_while(Result::ok);
        let (mut sandbox, mut granted) = (None, false);
        let started = lines.by_ref().any(|line| {
            granted |= line.contains("token granted");
            if let Some((_, rest)) = line.split_once("address=http://127.0.0.1:").filter(|_| line.contains("SANDBOX")) {
                sandbox = Some(rest.trim().to_owned());
            }
            line.contains("configuration=") && line.contains("started")
        });
        // What the documents show of it has a token already.
        if started && !granted && sandbox.is_some() {
            lines.by_ref().find(|line| line.contains("token granted"));
        }
        std::thread::spawn(move || lines.for_each(drop));
        stage.names.push((":36079".to_owned(), format!(":{}", sandbox.filter(|_| started)?)));
        Some(stage)
    }

    /// Runs a program with this text, and returns whether it ended well, and what it printed.
    fn run(&self, program: &str, text: &str) -> (bool, String) {
        let binary = Path::new(env!("CARGO_BIN_EXE_ninjaone-proxy")).parent().expect("a folder");
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
        let output = Command::new(program)
            .args(["-c", &renamed(&self.names, text)])
            .current_dir(self.folder.path())
            .env("PATH", path)
            .env("HOME", self.folder.path())
            .env("CURL_HOME", self.folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said.replace('\r', ""))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text with the second of each pair in place of the first. One name after the other would do it twice where a port that
/// was free is one that the documents name.
fn renamed(names: &[(String, String)], text: &str) -> String {
    let (mut renamed, mut rest) = (String::new(), text);
    while let Some(first) = rest.chars().next() {
        match names.iter().find_map(|(there, here)| Some((here, rest.strip_prefix(there.as_str())?))) {
            Some((here, after)) => {
                renamed += here;
                rest = after;
            }
            None => {
                renamed.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    renamed
}

/// A pattern for what a document shows: other numbers, hashes, days; `...` for anything.
fn pattern(shown: &str) -> Regex {
    let vague = Regex::new(r"[0-9a-f]{16,}|(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]+ [A-Z][a-z]{2}|[0-9]+|\.\.\.")
        .expect("a pattern");
    let (mut text, mut at) = (String::from("^"), 0);
    for found in vague.find_iter(shown) {
        text += &regex::escape(&shown[at..found.start()]);
        text += match found.as_str() {
            "..." => ".*",
            hash if hash.len() >= 16 && !hash.contains(' ') => "[0-9a-f]+",
            day if day.contains(',') => "[A-Z][a-z]{2}, [0-9]+ [A-Z][a-z]{2}",
            _ => "[0-9]+",
        };
        at = found.end();
    }
    Regex::new(&(text + &regex::escape(&shown[at..]) + "$")).expect("a pattern")
}

#[test]
fn a_free_port_that_the_documents_name_too_is_not_renamed_again() {
    let names = [(":8080", ":36079"), (":36079", ":40001")].map(|(there, here)| (there.to_owned(), here.to_owned()));
    assert_eq!(renamed(&names, "é :8080/x :36079:8080"), "é :36079/x :40001:36079");
}

/// Commands that follow `$`, and what they print.
fn shows(stage: &Stage, block: &str) {
    for part in block.strip_prefix("$ ").expect("a command").split("\n$ ") {
        let (command, shown) = part.split_once('\n').unwrap_or((part, ""));
        let (_, said) = stage.run("bash", command);
        let fits = pattern(shown.trim_end()).is_match(said.trim_end());
        assert!(fits, "{command} shows\n{shown}\n-- and prints\n{said}");
    }
}

#[test]
fn documents_show_commands_that_do_what_they_say() {
    if [("bash", "true"), ("curl", "--version")].iter().any(|(name, how)| {
        Command::new(name).args(["-c", how]).stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
    }) {
        return println!("NOT RUN: the commands of the documents: there is no bash or no curl");
    }
    let python = Command::new("python3").args(["-c", "import requests"]).stderr(Stdio::null()).status();
    let python = python.is_ok_and(|status| status.success());
    let (mut seen, mut stage) = (BTreeSet::new(), None);
    for name in documents() {
        for block in blocks(&name) {
            let first = block.lines().next().unwrap_or_default().trim();
            let known = known(first)
                .unwrap_or_else(|| panic!("{name}: say in tests/it/docs/blocks.rs what becomes of: {first}"));
            seen.insert(known);
            let (listener, more) = match BLOCKS[known].1 {
                Runs(listener, more) | Shows(listener, more) => (listener, more),
                Python if python => ("", ""),
                Python => {
                    println!("not run: {name}: {first}: there is no Python with requests");
                    continue;
                }
                ShowsThen => ("", ""),
                Not(why) => {
                    println!("not run: {name}: {first}: {why}");
                    continue;
                }
            };
            if !matches!(BLOCKS[known].1, ShowsThen) {
                stage = Some(Stage::start(listener, more, &block));
            }
            let stage = stage.as_ref().expect("a stage");
            println!("run: {name}: {first}");
            match BLOCKS[known].1 {
                Shows(..) | ShowsThen => shows(stage, &block),
                Python => assert!(stage.run("python3", &block).0, "{block}"),
                Runs(..) | Not(_) => assert!(stage.run("bash", &format!("set -e\n{block}")).0, "{block}"),
            }
        }
    }
    let unseen: Vec<_> =
        BLOCKS.iter().enumerate().filter(|(at, _)| !seen.contains(at)).map(|(_, (name, _))| name).collect();
    assert!(unseen.is_empty(), "tests/it/docs/blocks.rs knows blocks that are not there: {unseen:?}");
}

/// A reader may have given a tenant to the file or the port that an example names.
#[test]
fn no_example_writes_to_a_tenant() {
    let mut writes = 0;
    for name in documents() {
        for block in blocks(&name) {
            // A call of a program goes over several lines.
            let lines = block.lines().enumerate().filter(|(_, line)| is_write(line));
            for (at, line) in lines {
                let call: Vec<_> = block.lines().skip(at).take(2).collect();
                assert!(stays_here(&call.join("\n")), "{name}: {line}");
                writes += 1;
            }
        }
    }
    assert!(writes >= 5, "{writes} writes were found");
    for name in [
        "config.toml",
        "deploy/config.toml",
        "deploy/compose.toml",
        "deploy/compose.yaml",
        "deploy/compose-shared.yaml",
        "SECURITY.md",
    ] {
        let text = document(name);
        assert!(text.lines().all(|line| !is_write(line) || stays_here(line)), "{name}");
    }
    let trial: toml::Table = trial().parse().expect("TOML");
    let instances = trial["instances"].as_table().expect("a table");
    assert!(instances.values().all(|instance| instance["host"].as_str() == Some("sandbox")), "{instances:?}");
    assert_eq!(trial["listeners"]["local"]["address"].as_str(), Some(&*format!("localhost{}", TRIAL.1)));
    // Nobody has a tenant there.
    for name in documents() {
        let others = configurations(&document(&name)).into_iter().filter(|text| !text.starts_with(TRIAL.2));
        assert!(others.into_iter().all(|text| !text.contains(TRIAL.1)), "{name}");
    }
}

#[test]
fn a_write_is_known_by_how_it_is_asked_for() {
    for write in [
        "$ curl -X POST localhost:8080/v2/x",
        "curl --form 'a=@b' localhost",
        "curl -s --request DELETE localhost",
        "curl -d '{}' localhost",
        "requests.post(",
        "Invoke-RestMethod -Method Post -Uri x",
    ] {
        assert!(is_write(write), "{write}");
    }
    for read in
        ["curl -i localhost:8080/v2/users", "curl -s --fail-with-body localhost", "requests.get(", "explain POST /v2/x"]
    {
        assert!(!is_write(read), "{read}");
    }
}

#[test]
fn documents_show_configurations_that_the_proxy_takes() {
    /// What such a configuration names and this machine lacks.
    const LACKS: [&str; 3] = ["No such file or directory", "this system has no group", "cannot be run"];
    let mut count = 0;
    for name in documents() {
        for block in configurations(&document(&name)) {
            let folder = tempfile::tempdir().expect("a folder");
            // Each caller has a key of its own.
            let text: Vec<_> = block.split("sha256:...").collect();
            let text = (0..)
                .zip(text)
                .map(|(at, part)| if at == 0 { part.to_owned() } else { format!("sha256:{at:064}{part}") });
            let text: String = text.collect();
            std::fs::write(folder.path().join("ninjaone.toml"), text).expect("a file");
            let output = Command::new(env!("CARGO_BIN_EXE_ninjaone-proxy"))
                .args(["--config", "ninjaone.toml", "check"])
                .current_dir(folder.path())
                .envs([("NINJAONE_CLIENT_ID", "id"), ("NINJAONE_CLIENT_SECRET", "secret")])
                .output()
                .expect("the binary runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() || LACKS.iter().any(|lack| said.contains(lack)), "{name}: {block}{said}");
            count += 1;
        }
    }
    assert!(count >= 30, "{count} configurations were found");
    for (page, rules) in [("docs/rules.md", RULES), ("docs/permits.md", PERMITS)] {
        assert!(
            configurations(&document(page)).iter().any(|text| text.contains(rules)),
            "{page}: the example of explain"
        );
    }
}

#[test]
fn what_a_document_shows_fits_other_numbers_and_nothing_else() {
    let fits = |shown: &str, said: &str| pattern(shown).is_match(said);
    assert!(fits("took 3 ms at 0123456789abcdef, Sun, 22 Nov 2026", "took 12 ms at fedcba9876543210, Mon, 3 Dec 2027"));
    assert!(fits("key npk_... (x)", "key npk_AbC (x)"));
    assert!(!fits("took 3 ms", "took 3 s") && !fits("a", "a\nb") && !fits("403", "ok"));
}

#[test]
fn the_readme_is_short() {
    let lines = document("README.md").lines().count();
    assert!(lines <= 250, "{lines} lines: move what is for later to a page of docs/");
}

/// The names by which the headings of a page are linked to.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let headings = text.lines().filter(|line| {
        fenced ^= line.starts_with("```");
        !fenced && line.starts_with('#')
    });
    let name = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        text.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect()
    };
    headings.map(name).collect()
}

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").expect("a pattern");
    let (mut count, mut linked) = (0, BTreeSet::new());
    for name in documents().into_iter().chain(["SECURITY.md".to_owned()]) {
        let text = document(&name);
        for found in link.captures_iter(&text).map(|found| found[1].to_owned()) {
            if found.contains("://") {
                continue;
            }
            count += 1;
            let (file, anchor) = found.split_once('#').unwrap_or((&found, ""));
            let folder = root().join(&name).parent().expect("a folder").to_owned();
            let target = if file.is_empty() { root().join(&name) } else { folder.join(file) };
            // The picture is made from a running proxy.
            assert!(target.exists(), "{name}: {found}");
            if target.extension().is_some_and(|end| end == "md") {
                let page = std::fs::read_to_string(&target).expect("a page");
                assert!(anchor.is_empty() || anchors(&page).contains(anchor), "{name}: {found}");
                linked.insert(target.canonicalize().expect("a path"));
            }
        }
    }
    assert!(count >= 150, "{count} links were found");
    let lost: Vec<PathBuf> = documents()
        .iter()
        .filter(|name| name.starts_with("docs/"))
        .map(|name| root().join(name).canonicalize().expect("a path"))
        .filter(|path| !linked.contains(path))
        .collect();
    assert!(lost.is_empty(), "nothing links to {lost:?}");
}

#[test]
fn what_is_no_document_names_documents_and_headings_that_exist() {
    let pointer = r"(?m)(?:^|[^A-Za-z])((?:docs|deploy)/[A-Za-z0-9_./-]*[A-Za-z0-9][.][a-z]+|(?:README|SECURITY)[.]md)(#[a-z0-9-]+)?";
    let pointer = Regex::new(pointer).expect("a pattern");
    let (mut count, mut left) = (0, ["src", "deploy", "config.toml", ".ci"].map(|name| root().join(name)).to_vec());
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        assert!(!text.contains("the README"), "{}: name the page that has it", path.display());
        for found in pointer.captures_iter(&text) {
            count += 1;
            let page = std::fs::read_to_string(root().join(&found[1]));
            let page = page.unwrap_or_else(|error| panic!("{}: {}: {error}", path.display(), &found[0]));
            let heading = found.get(2).map(|heading| &heading.as_str()[1..]);
            assert!(heading.is_none_or(|name| anchors(&page).contains(name)), "{}: {}", path.display(), &found[0]);
        }
    }
    assert!(count >= 15, "{count} pointers were found");
}
