//! Links between the pages, and paths of the checkout that pages and comments name: each leads to a file.

use std::path::Path;

use super::{Source, prose};
use crate::paths;

/// Directories of the checkout that paths begin with.
const ROOTS: &[&str] = &["crates/", "docs/", "xtask/", "bench/", "fuzz/", ".ci/"];
/// A page that names paths as they were.
const HISTORY: &str = "CHANGELOG.md";

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources.iter().filter(|source| source.is("md")) {
        let dir = source.path.parent().unwrap_or(Path::new(""));
        for (number, line) in source.text.lines().enumerate() {
            for link in links(line) {
                let file = link.split('#').next().unwrap_or_default();
                if !file.is_empty() && !paths::checkout().join(dir).join(file).exists() {
                    problems.push(source.problem(number, format_args!("{link} leads nowhere")));
                }
            }
        }
    }
    problems.extend(missing(sources));
    problems
}

/// Returns a problem for each path named in a page or a comment that does not exist.
fn missing(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources.iter().filter(|source| source.path.as_os_str() != HISTORY) {
        for (number, line) in source.text.lines().enumerate() {
            let text = match () {
                () if source.is("md") => Some(line),
                () if source.is("rs") => prose::comment(line),
                () => None,
            };
            for path in text.into_iter().flat_map(named_paths) {
                if !paths::checkout().join(path).exists() {
                    problems.push(source.problem(number, format_args!("there is no {path}")));
                }
            }
        }
    }
    problems
}

/// The targets of `[text](target)`, without those of other sites.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
}

/// The paths of the checkout that a line names; patterns and paths with a placeholder are passed over.
fn named_paths(line: &str) -> impl Iterator<Item = &str> {
    let part_of_path = |c: char| c.is_alphanumeric() || "_-./".contains(c);
    let starts = ROOTS.iter().flat_map(move |root| line.match_indices(root).map(|(at, _)| at));
    starts.filter_map(move |at| {
        let (before, rest) = line.split_at(at);
        let end = rest.find(|c| !part_of_path(c)).unwrap_or(rest.len());
        let (path, after) = rest.split_at(end);
        let path = path.trim_end_matches(['.', '/']);
        let is_placeholder = |part: &str| part.len() > 1 && part.chars().all(|c| c.is_uppercase() || c == '_');
        let is_path = !before.ends_with(part_of_path) && !after.starts_with(['*', '{', '<', '$', '[']);
        (is_path && !path.contains("..") && !path.split('/').any(is_placeholder)).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_a_line() {
        let line = "see [a](docs/a.md#x), [b](https://b.example/)";
        assert_eq!(links(line).collect::<Vec<_>>(), ["docs/a.md#x"]);
    }

    #[test]
    fn paths_in_prose_and_code_spans() {
        let line = "crates/image/src/lib.rs. See `xtask/src/e2e/` and docs/a.md, \
                    `docs/*.md`, xtask/src/e2e/ENGINE/check.sh, /usr/share/docs/x, my-crates/y";
        assert_eq!(named_paths(line).collect::<Vec<_>>(), ["crates/image/src/lib.rs", "docs/a.md", "xtask/src/e2e"]);
    }

    #[test]
    fn a_path_without_a_file_is_a_problem() {
        let found = |path: &str, text: &str| missing(&[Source { path: path.into(), text: text.into() }]).len();
        let none = "xtask/src/no_such_file.rs";
        assert_eq!(found("docs/a.md", &format!("see `{none}`\n")), 1);
        assert_eq!(found("a.rs", &format!("// see {none}\n")), 1);
        assert_eq!(found("a.rs", &format!("// see xtask/src/main.rs\nlet path = \"{none}\";\n")), 0);
        assert_eq!(found(HISTORY, &format!("{none}\n")), 0);
    }
}
