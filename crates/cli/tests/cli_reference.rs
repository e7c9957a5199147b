//! `docs/cli.md` has the help text of every command, as the program prints it.
//!
//! `COMPOSEFS_UPDATE=1 cargo test -p composefs-cli --test cli_reference` writes the page.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

const INTRODUCTION: &str = "\
# Commands

The help text of every command, in the groups that `composefs --help` shows. This page is made from the program:
`COMPOSEFS_UPDATE=1 cargo test -p composefs-cli --test cli_reference` writes it, and a test compares it.
";

fn help(words: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_composefs")).args(words).arg("--help").env("COLUMNS", "100").output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the headings of a help text that list commands, each with the names of its commands.
fn groups(help: &str) -> Vec<(&str, Vec<&str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in help.lines() {
        if let Some(heading) = line.strip_suffix(':').filter(|heading| !heading.starts_with(' ')) {
            groups.push((heading, Vec::new()));
        } else if let (Some((_, names)), Some(entry)) = (groups.last_mut(), line.strip_prefix("  ")) {
            let name = entry.split(' ').next().unwrap_or_default();
            if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
                names.push(name);
            }
        }
    }
    groups.retain(|(heading, names)| !names.is_empty() && !matches!(*heading, "Options" | "Examples"));
    groups
}

/// Returns the commands below a command, which clap lists under one heading.
fn subcommands(help: &str) -> Vec<&str> {
    groups(help).into_iter().filter(|(heading, _)| *heading == "Commands").flat_map(|(_, names)| names).collect()
}

fn add(page: &mut String, level: &str, words: &[&str]) {
    let text = help(words);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    writeln!(page, "\n{level} composefs {}\n\n```text\n{}\n```", words.join(" "), lines.join("\n").trim_end()).unwrap();
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let all = help(&[]);
    let groups = groups(&all);
    for (heading, names) in groups {
        writeln!(page, "\n## {heading}").unwrap();
        for name in names.iter().filter(|name| **name != "help") {
            add(&mut page, "###", &[name]);
            for part in subcommands(&help(&[name])).into_iter().filter(|part| *part != "help") {
                add(&mut page, "####", &[name, part]);
            }
        }
    }
    page
}

#[test]
fn the_page_of_commands_is_what_the_program_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let page = page();
    if std::env::var_os("COMPOSEFS_UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap();
    let different = page.lines().zip(recorded.lines()).position(|(new, old)| new != old);
    assert!(
        page == recorded,
        "docs/cli.md differs from the help texts at line {:?}: run with COMPOSEFS_UPDATE=1 to write it anew",
        different.map(|line| line + 1)
    );
}
