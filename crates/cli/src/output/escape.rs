//! Escapes characters that control a terminal or make text look like other text.

/// Returns true for characters that are printed as an escape: control characters (also those of C1, and DEL), and
/// characters that have no width or change the direction of text, with which a name can imitate another.
pub(crate) fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Escapes such characters as `\n`, `\r`, `\t` and `\xHH`. A backslash is kept, so that escaping twice is the same as
/// once.
pub(crate) fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if is_obeyed(c) => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_hex(byte, &mut line)),
            c => line.push(c),
        }
    }
    line
}

/// Appends lines with such characters escaped, except newlines and tabs, and with `\xHH` for bytes that are not UTF-8.
pub(super) fn push_escaped_bytes(bytes: &[u8], lines: &mut String) {
    for chunk in bytes.utf8_chunks() {
        for piece in chunk.valid().split_inclusive(['\n', '\t']) {
            let text = piece.trim_end_matches(['\n', '\t']);
            lines.push_str(&escaped(text));
            lines.push_str(&piece[text.len()..]);
        }
        chunk.invalid().iter().for_each(|byte| push_hex(*byte, lines));
    }
}

/// Appends JSON text with such characters as `\uXXXX`. They only occur in strings, whose value does not change.
pub(super) fn push_json(text: &str, out: &mut Vec<u8>) {
    for c in text.chars() {
        // Newlines only occur between tokens; the serializer has escaped those in strings.
        if c != '\n' && is_obeyed(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

fn push_hex(byte: u8, line: &mut String) {
    line.push_str(&format!("\\x{byte:02x}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        for (text, expected) in [
            ("plain größe \\ x", "plain größe \\ x"),
            ("a\x1b[2J\u{9b}31m\u{7f}\0", "a\\x1b[2J\\xc2\\x9b31m\\x7f\\x00"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            (
                "gpj.\u{202e}exe\u{2066}\u{200f}\u{61c}\u{2028}",
                "gpj.\\xe2\\x80\\xaeexe\\xe2\\x81\\xa6\\xe2\\x80\\x8f\\xd8\\x9c\\xe2\\x80\\xa8",
            ),
        ] {
            assert_eq!(escaped(text), expected);
            assert_eq!(escaped(&escaped(text)), expected, "escaping twice is escaping once");
        }
    }

    #[test]
    fn newlines_and_tabs_are_kept_in_lines() {
        let mut lines = String::new();
        push_escaped_bytes(b"a\x1b\tb\n\xff\xc3\nc", &mut lines);
        assert_eq!(lines, "a\\x1b\tb\n\\xff\\xc3\nc");
    }

    #[test]
    fn escaped_json_has_the_same_value() {
        let value = serde_json::json!({"a\u{7f}": "\u{9b}\u{202e}\u{2028}\u{e0041}\n\x1b", "b": ["ä", "\u{61c}"]});
        let mut text = Vec::new();
        push_json(&serde_json::to_string_pretty(&value).unwrap(), &mut text);
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&text).unwrap(), value);
        assert!(std::str::from_utf8(&text).unwrap().chars().all(|c| c == '\n' || !is_obeyed(c)));
    }
}
