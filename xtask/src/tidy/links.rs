//! Links between the pages: each leads to a file that is there.

use std::path::{Path, PathBuf};

use super::Source;
use crate::paths;

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
            // Pages are also named in code spans, from the root of the checkout.
            for page in pages(line) {
                if !paths::checkout().join(&page).exists() {
                    problems.push(source.problem(number, format_args!("there is no {}", page.display())));
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

/// The pages that stand between backticks.
fn pages(line: &str) -> impl Iterator<Item = PathBuf> {
    let spans = line.split('`').skip(1).step_by(2);
    spans
        .filter(|span| span.starts_with("docs/") && span.ends_with(".md"))
        .filter(|span| !span.contains(['*', '{']))
        .map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_pages_of_a_line() {
        let line = "see [a](docs/a.md#x), [b](https://b.example/) and `docs/c.md`, `docs/*.md`";
        assert_eq!(links(line).collect::<Vec<_>>(), ["docs/a.md#x"]);
        assert_eq!(pages(line).collect::<Vec<_>>(), [PathBuf::from("docs/c.md")]);
    }
}
