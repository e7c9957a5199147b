//! `cargo xtask map`: the code map of ARCHITECTURE.md, made of the first sentence of each crate and its modules.
//!
//! The map is between two marks; tidy compares it with the code.

use std::fs;

use anyhow::{Context as _, Result};

use super::modules::{self, Modules};
use super::{Source, prose};
use crate::paths;

const PAGE: &str = "ARCHITECTURE.md";
const BEGIN: &str = "<!-- map:begin -->\n";
const END: &str = "<!-- map:end -->";
/// Crates of which only the crate itself is listed: they are for development.
const WITHOUT_MODULES: &[&str] = &["bench", "crates/testkit", "crates/vmtest", "fuzz", "xtask"];
/// A line of the map is no longer.
const COLUMNS: usize = 120;
/// Words of the page beside the map, without diagrams and tables: what module docs say already does not belong there.
const WORDS: usize = 1650;

/// Runs the task: writes the map into the page.
pub(crate) fn run() -> Result<()> {
    let sources = super::sources()?;
    let page = sources.iter().find(|source| source.path.as_os_str() == PAGE).context("no ARCHITECTURE.md")?;
    let text = with_map(&page.text, &map(&sources)).context("ARCHITECTURE.md has no marks for the map")?;
    Ok(fs::write(paths::checkout().join(PAGE), text)?)
}

/// Reports a map that is not that of the code, and a page that is too long beside it.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let Some(page) = sources.iter().find(|source| source.path.as_os_str() == PAGE) else { return Vec::new() };
    let mut problems = match with_map(&page.text, &map(sources)) {
        Some(text) if text == page.text => Vec::new(),
        Some(_) => vec![format!("{PAGE}: the code map is not that of the code: cargo xtask map writes it")],
        None => vec![format!("{PAGE}: the marks of the code map are missing")],
    };
    let words = with_map(&page.text, "").map_or(0, |text| count_words(&text));
    if words > WORDS {
        problems.push(format!("{PAGE}: {words} words beside the code map: at most {WORDS}"));
    }
    problems
}

/// Returns the number of words of a page, without its code blocks and tables.
fn count_words(page: &str) -> usize {
    let prose = prose::page_text(page).filter(|(_, line)| !line.starts_with('|'));
    prose.map(|(_, line)| line.split_whitespace().count()).sum()
}

/// The page with this map between the marks.
fn with_map(page: &str, map: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{map}{END}{after}"))
}

/// The map: a paragraph for each crate, a list of its modules at depth one.
fn map(sources: &[Source]) -> String {
    let mut text = String::new();
    for (dir, modules) in modules::crates(sources) {
        let Some(root) = modules.files.get(&Vec::new()) else { continue };
        text.push_str(&wrapped(&format!("**`{dir}`**: {}", first_sentence(&root.text)), ""));
        if !WITHOUT_MODULES.contains(&dir.as_str()) {
            list(&modules, &mut text);
        }
        text.push('\n');
    }
    text
}

/// Appends the list of the modules at depth one.
fn list(modules: &Modules<'_>, text: &mut String) {
    for (number, (path, source)) in modules.files.iter().filter(|(path, _)| path.len() == 1).enumerate() {
        if number == 0 {
            text.push('\n');
        }
        text.push_str(&wrapped(&format!("- `{}`: {}", path[0], first_sentence(&source.text)), "  "));
    }
}

/// The first sentence of a file's documentation, without links.
fn first_sentence(text: &str) -> String {
    let blocks = prose::doc_blocks(text);
    let is_first = |block: &&prose::DocBlock| text.lines().nth(block.line).is_some_and(|line| line.starts_with("//!"));
    let block = blocks.first().filter(is_first).map_or("", |block| block.text.as_str());
    // Lines of a block are joined by one blank, paragraphs by two.
    let paragraph = block.split("  ").next().unwrap_or_default();
    let sentence = paragraph.split_once(". ").map_or(paragraph, |(sentence, _)| sentence);
    let sentence = sentence.trim_end_matches(['.', ':']).replace("[`", "`").replace("`]", "`");
    format!("{sentence}.")
}

/// Breaks a text into lines; all but the first begin with `indent`.
fn wrapped(text: &str, indent: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for word in text.split_whitespace() {
        if !line.trim().is_empty() && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            lines.push_str(&line);
            lines.push('\n');
            indent.clone_into(&mut line);
        } else if !line.trim().is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    format!("{lines}{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(page: &str) -> Vec<Source> {
        let files = [
            ("crates/one/src/lib.rs", "//! Reads images,\n//! see [`Image`]. More.\n"),
            ("crates/one/src/tree/mod.rs", "//! The tree:\n//!\n//! much more\n"),
            ("crates/one/src/tree/part.rs", "//! A part.\n"),
            ("xtask/src/main.rs", "//! Tasks.\n"),
            ("xtask/src/vm.rs", "//! Machines.\n"),
            (PAGE, page),
        ];
        files.map(|(path, text)| Source { path: path.into(), text: text.into() }).into()
    }

    #[test]
    fn the_map_is_that_of_the_code() {
        let map = "**`crates/one`**: Reads images, see `Image`.\n\n- `tree`: The tree.\n\n**`xtask`**: Tasks.\n\n";
        let page = format!("a\n{BEGIN}{map}{END}\nb\n");
        assert_eq!(super::map(&sources("")), map);
        assert_eq!(check(&sources(&page)), [""; 0]);
        assert_eq!(check(&sources(&page.replace("The tree", "The old tree"))).len(), 1);
        assert_eq!(check(&sources("no marks")).len(), 1);
    }

    #[test]
    fn the_page_has_few_words_beside_the_map() {
        let page = |words: usize| {
            let prose = "word ".repeat(words);
            format!("{prose}\n```text\n{prose}\n```\n| {prose}|\n{BEGIN}{}{END}\n", map(&sources("")))
        };
        // The marks count as six words.
        assert_eq!(check(&sources(&page(WORDS - 6))), [""; 0]);
        let problem = format!("{PAGE}: {} words beside the code map: at most {WORDS}", WORDS + 1);
        assert_eq!(check(&sources(&page(WORDS - 5))), [problem]);
    }

    #[test]
    fn long_lines_are_broken() {
        let text = wrapped(&format!("- {}", "word ".repeat(30)), "  ");
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS));
        assert!(text.lines().nth(1).unwrap().starts_with("  word"));
    }
}
