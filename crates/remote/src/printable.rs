//! Makes text from the network safe to print: bounded, and without control characters.

/// Returns at most `limit` characters of a text, with control characters escaped.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let mut short = String::new();
    for (index, c) in text.trim().chars().enumerate() {
        if index == limit {
            short.push_str("...");
            break;
        }
        // Direction marks and the like are escaped as well, so that a message cannot be made to look like another one.
        let is_plain = !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if is_plain { short.push(c) } else { short.extend(c.escape_unicode()) }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn text_is_short_and_plain() {
        assert_eq!(printable(" plain \u{e4} \n", 10), "plain \u{e4}");
        assert_eq!(printable("a\u{1b}[2Jb\u{202e}", 10), "a\\u{1b}[2Jb\\u{202e}");
        assert_eq!(printable("abcdef", 3), "abc...");
    }
}
