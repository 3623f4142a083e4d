//! The reference pages, held against the program in both directions: what it has, they name, and the reverse.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use ninjaone_proxy::proxy::policy::catalog::{Catalog, FenceClass, OperationName};
use ninjaone_proxy::proxy::response::refusal_table;
use regex::Regex;
use serde_json::Value;

use super::document;

/// What the program prints, on standard output and standard error.
fn said(arguments: &[&str], configuration: &str) -> (String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("ninjaone.toml"), configuration).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_ninjaone-proxy"))
        .args(["--config", "ninjaone.toml"])
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr))
}

/// The rows of the tables of a page whose first cell is a name in code marks: the name, and all cells.
fn rows(page: &str) -> Vec<(String, Vec<String>)> {
    let row = |line: &str| {
        let line = line.strip_prefix("| `")?;
        let (name, _) = line.split_once('`')?;
        let cells = line.trim_end_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        Some((name.to_owned(), cells))
    };
    page.lines().filter_map(row).collect()
}

fn same(what: &str, program: &BTreeSet<String>, page: &BTreeSet<String>) {
    let (untold, invented): (Vec<_>, Vec<_>) = (program.difference(page).collect(), page.difference(program).collect());
    assert!(untold.is_empty(), "{what}: the page lacks {untold:?}");
    assert!(invented.is_empty(), "{what}: the program does not have {invented:?}");
}

#[test]
fn the_page_of_problem_codes_has_every_code_of_the_table_of_refusals_and_no_other() {
    let program: BTreeSet<String> = refusal_table::codes().into_iter().map(str::to_owned).collect();
    assert!(program.len() >= 42, "the codes are elsewhere: {program:?}");
    let page = document("docs/reference/problems.md");
    let table = rows(&page).into_iter().filter(|(_, cells)| cells[1].starts_with(|digit: char| digit.is_ascii_digit()));
    let listed: BTreeSet<String> = table.map(|(name, _)| name).collect();
    same("docs/reference/problems.md", &program, &listed);
    // Other pages name no code that does not exist.
    let named = Regex::new("(?:^|[^0-9])[45][0-9]{2} `([a-z]+(?:-[a-z]+)+)`").expect("a pattern");
    for name in super::documents() {
        for found in named.captures_iter(&document(&name)) {
            assert!(listed.contains(&found[1]), "{name}: {}", &found[1]);
        }
    }
}

/// The keys that the parser knows in a table, as it says of one that it does not know.
fn known(table: &str) -> BTreeSet<String> {
    let header = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
    let (_, errors) = said(&["check", "--offline"], &format!("{header}no-such-key = 1\n"));
    let valid = errors.split("valid are ").nth(1).unwrap_or_else(|| panic!("[{table}]: {errors}"));
    let valid = valid.trim().split(';').next().unwrap_or_default();
    valid.split(", ").map(str::to_owned).collect()
}

#[test]
fn the_page_of_the_configuration_has_every_key_that_the_parser_knows_and_no_other() {
    let page: BTreeSet<String> = rows(&document("docs/configuration.md"))
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with(|letter: char| letter.is_ascii_uppercase()))
        .collect();
    // Tables in tables, and what may have any name.
    let mut program = BTreeSet::new();
    let mut tables = vec![(String::new(), String::new())];
    while let Some((real, shown)) = tables.pop() {
        for key in known(&real) {
            let join =
                |table: &str, key: &str| if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
            let (inner, name) = (join(&real, &key), join(&shown, &key));
            match key.as_str() {
                "instances" | "listeners" => tables.push((format!("{inner}.local"), format!("{name}.NAME"))),
                "callers" => tables.push((format!("{inner}.one"), format!("{name}.CALLER"))),
                "users" => tables.push((format!("{inner}.one"), format!("{name}.USER"))),
                "approvers" => tables.push((format!("{inner}.one"), format!("{name}.APPROVER"))),
                // Also a text of its own.
                "tls" => {
                    program.insert(name.clone());
                    tables.push((inner, name));
                }
                "timeouts" | "limits" | "admin" | "probes" | "log" | "learn" | "audit" | "traces" | "process"
                | "rate" | "approvals" | "quota" | "shared" => tables.push((inner, name)),
                _ => {
                    program.insert(name);
                }
            }
        }
    }
    assert!(program.len() >= 60, "{program:?}");
    same("docs/configuration.md", &program, &page);
}

/// The commands of the program, of one or two words.
fn commands() -> BTreeSet<String> {
    let of = |words: &[&str]| -> Vec<String> {
        let (help, _) = said(&[words, &["--help"]].concat(), "");
        let list = help.split("\nCommands:\n").nth(1).unwrap_or_default();
        let lines = list.lines().take_while(|line| line.starts_with("  "));
        let names = lines.filter(|line| !line.starts_with("    ")).filter_map(|line| line.split_whitespace().next());
        names.filter(|name| *name != "help").map(str::to_owned).collect()
    };
    let mut found = BTreeSet::new();
    for first in of(&[]) {
        let inner = of(&[&first]);
        if inner.is_empty() {
            found.insert(first);
        } else {
            found.extend(inner.into_iter().map(|second| format!("{first} {second}")));
        }
    }
    found
}

#[test]
fn the_page_of_commands_has_every_command_and_option_and_no_other() {
    let page = document("docs/reference/commands.md");
    let sections: BTreeMap<&str, &str> =
        page.split("\n## ").skip(1).filter_map(|section| section.split_once('\n')).collect();
    let titles = sections.keys().filter(|title| **title != "Exit codes").map(|title| (*title).to_owned()).collect();
    let commands = commands();
    assert!(commands.len() >= 15, "{commands:?}");
    same("docs/reference/commands.md", &commands, &titles);
    let option = Regex::new("--[a-z][a-z-]*").expect("a pattern");
    for command in &commands {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let (help, _) = said(&words, "");
        let own = help.split("\nOptions:\n").nth(1).unwrap_or_default();
        let lines = own.lines().filter(|line| line.trim_start().starts_with('-'));
        let names = lines.filter_map(|line| option.find(line)).map(|found| found.as_str().to_owned());
        let program: BTreeSet<String> = names.filter(|name| !["--config", "--help"].contains(&&**name)).collect();
        let rows = sections[&**command].lines().filter(|line| line.starts_with("| `-"));
        let page: BTreeSet<String> =
            rows.filter_map(|line| option.find(line)).map(|found| found.as_str().to_owned()).collect();
        same(&format!("docs/reference/commands.md: {command}"), &program, &page);
    }
    let (help, _) = said(&["--help"], "");
    let codes = help.split("Exit codes:").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("exit codes");
    let number = Regex::new("(?-u:\\b)[0-9]+(?-u:\\b)").expect("a pattern");
    let program: BTreeSet<String> = number.find_iter(codes).map(|found| found.as_str().to_owned()).collect();
    let rows = sections["Exit codes"].lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    let page = rows.filter(|code| number.is_match(code)).map(str::to_owned).collect();
    same("docs/reference/commands.md: exit codes", &program, &page);
}

#[test]
fn the_page_of_groups_has_every_group_with_its_numbers_and_no_other() {
    let (list, _) = said(&["groups", "--format", "json"], "");
    let list: Vec<Value> = serde_json::from_str(&list).expect("JSON");
    let program: BTreeSet<String> = list
        .iter()
        .map(|group| {
            let text = |key: &str| group[key].as_str().expect("text").to_owned();
            let scopes: Vec<_> = group["scopes"].as_array().expect("scopes").iter().filter_map(Value::as_str).collect();
            let guarded = if group["guarded"] == true { " (guarded)" } else { "" };
            let (name, count, risk) = (text("group"), &group["operations"], text("risk"));
            format!("{name}`{guarded}; {count}; {}; {risk}", scopes.join(" "))
        })
        .collect();
    assert!(program.len() >= 29, "{program:?}");
    let page =
        rows(&document("docs/reference/groups.md")).into_iter().map(|(_, cells)| cells[..4].join("; ")).collect();
    same("docs/reference/groups.md", &program, &page);
}

#[test]
fn the_page_of_log_fields_names_fields_that_the_access_log_has() {
    // tests/it/record.rs holds the other direction: each field that is written is named there.
    let fields: Vec<String> =
        rows(&document("docs/reference/log-fields.md")).into_iter().map(|(name, _)| name).collect();
    assert!(fields.len() >= 20, "{fields:?}");
    let source = document("src/observe/access_log/outcome.rs");
    let texts = source.split("#[cfg(test)]").next().unwrap_or_default();
    for field in fields {
        let word = |name: &str| Regex::new(&format!("(?-u:\\b){name}(?-u:\\b)")).expect("a pattern").is_match(texts);
        assert!(word(&field), "the access log has no {field}");
    }
}

/// The page of fencing as the catalog has it; what is before the first table is written by hand.
fn fencing_tables() -> String {
    let catalog = Catalog::built_in().expect("good");
    let of =
        |class: FenceClass| catalog.operations().iter().filter(move |known| known.fencing.class() == class).count();
    let mut text = "| class | operations | what says whose data it is |\n|---|---:|---|\n".to_owned();
    for class in FenceClass::ALL {
        text += &format!("| {} | {} | {} |\n", class.as_str(), of(class), class.meaning());
    }
    text += "\n## Operations\n\n| operation | checked in the request | passes of the answer | reason |\n|---|---|---|---|\n";
    for known in catalog.operations() {
        let (request, answer) = match &known.fencing.rules {
            None => ("closed".to_owned(), String::new()),
            Some(rules) => {
                let checks: Vec<_> = rules.request.iter().map(ToString::to_string).collect();
                (checks.join("; "), rules.answer.to_string())
            }
        };
        let cells = [format!("`{}`", OperationName(known)), request, answer, known.fencing.reason.clone()];
        text += &format!("| {} |\n", cells.join(" | "));
    }
    text
}

#[test]
fn the_page_of_fencing_has_what_the_catalog_has() {
    const PAGE: &str = "docs/reference/fencing.md";
    let (page, tables) = (document(PAGE), fencing_tables());
    let (text, _) = page.split_once("| class |").expect("a table of classes");
    let wanted = format!("{text}{tables}");
    if page != wanted {
        let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/fencing.md");
        std::fs::write(file, &wanted).expect("a file");
        let changed = wanted.lines().zip(page.lines()).find(|(wanted, page)| wanted != page);
        panic!("{PAGE} is not what the catalog has: cp {file} {PAGE}; the first other line: {changed:?}");
    }
}
