//! The length of lines: 120 columns, as rustfmt has it for code.

use super::{Source, prose};

const COLUMNS: usize = 120;
/// Longer lines that are left. It only sinks.
const LEFT: usize = 60;

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    super::beyond(LEFT, "lines of more than 120 columns", find(sources))
}

/// Returns a problem for each line that is too long. Tables and lines with a URL may be, and so may code in pages.
pub(super) fn find(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources {
        let lines: Vec<_> = match () {
            () if source.is("rs") => source.text.lines().enumerate().collect(),
            () if source.is("md") => prose::page_text(&source.text).collect(),
            () => continue,
        };
        for (number, line) in lines {
            let columns = line.chars().count();
            if columns > COLUMNS && !line.trim_start().starts_with('|') && !line.contains("://") {
                problems.push(source.problem(number, format_args!("{columns} columns: at most {COLUMNS}")));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, line: &str) -> usize {
        find(&[Source { path: path.into(), text: format!("{line}\n") }]).len()
    }

    #[test]
    fn long_lines_of_prose_and_comments() {
        let long = "word ".repeat(25);
        assert_eq!((found("a.rs", &format!("// {long}")), found("a.md", &long)), (1, 1));
        assert_eq!(found("a.rs", &"é".repeat(COLUMNS)), 0);
        assert_eq!(found("a.md", &format!("| {long} |")), 0);
        assert_eq!(found("a.md", &format!("<https://a.example/> {long}")), 0);
        assert_eq!(found("a.md", &format!("```\n{long}\n```")), 0);
        assert_eq!(found("a.sh", &long), 0);
    }
}
