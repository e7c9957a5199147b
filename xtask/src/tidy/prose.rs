//! The parts of a source file that people read: its comments, its strings and its documentation blocks.

use super::Source;

/// A documentation block: lines of `///` or `//!` without a gap.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DocBlock {
    /// Number of the first line, counted from 0.
    pub(super) line: usize,
    /// The text of its lines, joined by spaces.
    pub(super) text: String,
}

/// Returns the documentation blocks of a Rust file.
pub(super) fn doc_blocks(text: &str) -> Vec<DocBlock> {
    let mut blocks: Vec<DocBlock> = Vec::new();
    let mut before = None;
    for (number, line) in text.lines().enumerate() {
        let doc = doc_line(line);
        if let Some((kind, words)) = doc {
            match blocks.last_mut().filter(|_| before == Some(kind)) {
                Some(block) => {
                    block.text.push(' ');
                    block.text.push_str(words);
                }
                None => blocks.push(DocBlock { line: number, text: words.to_owned() }),
            }
        }
        before = doc.map(|(kind, _)| kind);
    }
    for block in &mut blocks {
        block.text = block.text.trim().to_owned();
    }
    blocks
}

/// The kind of a documentation line, `/` or `!`, and its text.
fn doc_line(line: &str) -> Option<(char, &str)> {
    let rest = line.trim_start().strip_prefix("//")?;
    let kind = rest.chars().next().filter(|kind| ['/', '!'].contains(kind))?;
    let text = &rest[1..];
    (!text.starts_with('/')).then(|| (kind, text.strip_prefix(' ').unwrap_or(text)))
}

/// Returns the comment of a line of Rust, without the slashes.
pub(super) fn comment(line: &str) -> Option<&str> {
    let (before, comment) = line.split_once("//")?;
    // A scheme such as `https://`, most likely in a string, begins no comment.
    (!before.ends_with(':')).then_some(comment)
}

/// Returns the numbered pieces of a file that people read: comments and strings of Rust, the text of pages without
/// code blocks and code spans.
pub(super) fn read_by_people(source: &Source) -> Vec<(usize, String)> {
    if source.is("md") {
        return page_text(&source.text).map(|(number, line)| (number, without_spans(line))).collect();
    }
    if !source.is("rs") {
        return Vec::new();
    }
    let piece = |line: &str| match comment(line) {
        Some(comment) => Some(comment.to_owned()),
        None => string(line).map(str::to_owned),
    };
    source.text.lines().enumerate().filter_map(|(number, line)| Some((number, piece(line)?))).collect()
}

/// The numbered lines of a page outside its code blocks.
pub(super) fn page_text(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_block = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_block ^= is_fence;
        !in_block && !is_fence && !line.starts_with("    ")
    })
}

/// The text between the first and the last quotation mark of a line.
fn string(line: &str) -> Option<&str> {
    let (first, last) = (line.find('"')?, line.rfind('"')?);
    (first < last).then(|| &line[first + 1..last])
}

/// A line without what stands between backticks.
fn without_spans(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_end_at_other_lines() {
        let text = "//! One\n//! two.\n/// Three.\nfn a() {}\n    /// Four.\n//// no\n/// Five.\n";
        let blocks = doc_blocks(text);
        let found: Vec<_> = blocks.iter().map(|block| (block.line, block.text.as_str())).collect();
        assert_eq!(found, [(0, "One two."), (2, "Three."), (4, "Four."), (6, "Five.")]);
    }

    #[test]
    fn comments_strings_and_pages() {
        let rust = Source { path: "a.rs".into(), text: "let a = 1; // one\nout!(\"two\");\nlet b = c;\n".into() };
        assert_eq!(read_by_people(&rust), [(0, " one".to_owned()), (1, "two".to_owned())]);
        let page = Source { path: "a.md".into(), text: "one `two` three\n```sh\nfour\n```\nfive\n".into() };
        assert_eq!(read_by_people(&page), [(0, "one ` three".to_owned()), (4, "five".to_owned())]);
        assert_eq!(comment("let a = \"https://b\";"), None);
    }
}
