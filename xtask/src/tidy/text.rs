//! Checks for paths and hosts of one machine, and for files that are too long.

use anyhow::Result;

use super::Source;
use crate::{apt, paths};

const LONGEST: usize = 500;
/// Longer files, each with the reason why it is one idea nevertheless.
const MAY_BE_LONGER: &[(&str, &str)] =
    &[("crates/cli/tests/cli_output/table.rs", "one table, with the rows of every command")];

/// Directories in which a checkout may lie and which say nothing about one machine.
const COMMON_PLACES: &[&str] = &["/", "/tmp", "/var/tmp", "/root", "/home", "/srv", "/opt", "/mnt", "/usr/src"];

pub(super) fn check(sources: &[Source]) -> Result<Vec<String>> {
    let (paths, hosts) = (machine_paths(), apt::mirror_hosts()?);
    let mut problems = Vec::new();
    for source in sources {
        for (number, line) in source.text.lines().enumerate() {
            if let Some(path) = paths.iter().find(|path| has_path(line, path)) {
                problems.push(source.problem(number, format_args!("{path} is a path of this machine")));
            }
            if let Some(host) = hosts.iter().find(|host| line.contains(host.as_str())) {
                problems.push(source.problem(number, format_args!("{host} is this machine's mirror")));
            }
        }
        let lines = source.text.lines().count();
        let named = MAY_BE_LONGER.iter().any(|(path, _)| source.path.as_os_str() == *path);
        if source.is("rs") && lines > LONGEST && !named {
            problems.push(source.problem(LONGEST, format_args!("{lines} lines: one idea a file, or name it in tidy")));
        }
    }
    Ok(problems)
}

/// The checkout, and the directory it lies in unless that is one of those every machine has.
fn machine_paths() -> Vec<String> {
    let checkout = paths::checkout();
    let parent = checkout.parent().map(|dir| dir.display().to_string());
    let telling = parent.filter(|dir| !COMMON_PLACES.contains(&dir.as_str()));
    [checkout.display().to_string()].into_iter().chain(telling).collect()
}

/// Reports whether a line has the path or one below it; `/mnt/work` does not have `/work`.
fn has_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + path.len()..].chars().next();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/~}".contains(c)) && after == Some('/')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_whole() {
        assert!(has_path("see /place/notes", "/place"));
        for line in ["/mnt/place/x", "/places/x", "https://host/place/x", "/place", "$DIR}/place/x"] {
            assert!(!has_path(line, "/place"), "{line}");
        }
    }
}
