//! The length of lines: 120 columns, as rustfmt has it for code.

use super::{Source, prose};

const COLUMNS: usize = 120;

/// Returns a problem for each line that is too long. Tables and lines with a URL may be, and so may code in pages.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources {
        let lines: Vec<_> = match () {
            () if source.is("rs") => source.text.lines().enumerate().collect(),
            () if source.is("md") => prose::page_text(&source.text).collect(),
            () => continue,
        };
        for (number, line) in lines {
            let columns = line.chars().count();
            if columns > COLUMNS && !is_table(line) && !line.contains("://") {
                problems.push(source.problem(number, format_args!("{columns} columns: at most {COLUMNS}")));
            }
        }
    }
    problems
}

/// Reports whether a line is a row of a table, of a page or in a documentation comment.
fn is_table(line: &str) -> bool {
    let line = line.trim_start();
    let text = line.strip_prefix("//!").or_else(|| line.strip_prefix("///")).unwrap_or(line);
    text.trim_start().starts_with('|')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, line: &str) -> usize {
        check(&[Source { path: path.into(), text: format!("{line}\n") }]).len()
    }

    #[test]
    fn long_lines_of_prose_and_comments() {
        let long = "word ".repeat(25);
        assert_eq!((found("a.rs", &format!("// {long}")), found("a.md", &long)), (1, 1));
        assert_eq!(found("a.rs", &"é".repeat(COLUMNS)), 0);
        assert_eq!(found("a.md", &format!("| {long} |")), 0);
        assert_eq!(found("a.rs", &format!("//! | {long} |")), 0);
        assert_eq!(found("a.md", &format!("<https://a.example/> {long}")), 0);
        assert_eq!(found("a.md", &format!("```\n{long}\n```")), 0);
        assert_eq!(found("a.sh", &long), 0);
    }
}
