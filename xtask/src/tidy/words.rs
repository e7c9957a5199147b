//! Phrases that name nothing: the text that has one must name the process, the object or the moment instead.

use super::{Source, prose};

/// Phrases in lower case. CONTRIBUTING.md has the rule; `docs/glossary.md` has the nouns to use.
const PHRASES: &[&str] = &[
    "those who",
    "those at",
    "who has",
    "who had",
    "who wants",
    "who asks",
    "who comes",
    "who goes",
    "whoever",
    "somebody",
    "nobody",
    "for whom",
    "what is there",
    "is none",
    "goes on",
    "going on",
    "to be had",
    "so many",
    "stands in",
    "stands beside",
    "stands there",
    "behind it",
    "let be",
    "lets be",
    "sees to it",
    "no way round",
    "lies in wait",
    "is to be",
    "are to be",
    "has to go",
];
/// Real uses: a part of the path, and a part of the line.
const REAL_USES: &[(&str, &str)] = &[
    // The list itself and its tests.
    ("xtask/src/tidy/words.rs", ""),
    // The user of that name.
    ("crates/testkit/src/privilege.rs", "user nobody"),
    ("crates/store/tests/extract/limits.rs", "\"nobody\""),
];

/// Returns a problem for each phrase.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources {
        let path = source.path.to_string_lossy();
        let lines: Vec<_> = source.text.lines().collect();
        for (number, text) in prose::read_by_people(source) {
            let is_real = |(part, line): &(&str, &str)| path.contains(part) && lines[number].contains(line);
            if REAL_USES.iter().any(is_real) {
                continue;
            }
            if let Some(phrase) = phrase(&text) {
                problems.push(source.problem(number, format_args!("\"{phrase}\" names nothing: say what it is")));
            }
        }
    }
    problems
}

/// The first phrase of the list that a text has, as whole words.
fn phrase(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    let is_whole = |at: usize, phrase: &str| {
        let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
        !text[..at].ends_with(part_of_word) && !text[at + phrase.len()..].starts_with(part_of_word)
    };
    PHRASES.iter().copied().find(|phrase| text.match_indices(phrase).any(|(at, _)| is_whole(at, phrase)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&[Source { path: path.into(), text: text.into() }]).len()
    }

    #[test]
    fn phrases_are_found_in_comments_messages_and_pages() {
        assert_eq!(found("a.rs", "/// Somebody removed the object.\n"), 1);
        assert_eq!(found("a.rs", "    bail!(\"a name that is none\")\n"), 1);
        assert_eq!(found("a.md", "The gc goes on with the next.\n"), 1);
    }

    #[test]
    fn plain_english_code_and_parts_of_words_pass() {
        assert_eq!(found("a.rs", "/// Another process removed the object.\nlet nobody = is_none();\n"), 0);
        assert_eq!(found("a.rs", "// is_none, in timestamps\n"), 0);
        assert_eq!(found("a.md", "the user `nobody`\n```\nsomebody\n```\n"), 0);
    }
}
