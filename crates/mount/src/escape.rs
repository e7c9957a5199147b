//! Backslashes and quotation marks: taking them out of what the user wrote, putting them into what the kernel reads.

/// Splits `text` at every `separator` that no backslash protects. The parts keep their backslashes.
pub(crate) fn split(text: &[u8], separator: u8) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let (mut start, mut protected) = (0, false);
    for (at, &byte) in text.iter().enumerate() {
        if protected {
            protected = false;
        } else if byte == b'\\' {
            protected = true;
        } else if byte == separator {
            parts.push(&text[start..at]);
            start = at + 1;
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Splits an option text into its words: at every comma that neither a backslash nor quotation marks around the value
/// protect. Quotation marks count where libmount, mount(8) and fstab have them: `key="value"`.
pub(crate) fn words(text: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, 0);
    let (mut has_value, mut quoted) = (false, false);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'\\' => at += 1,
            b'"' if quoted => quoted = false,
            b'=' if !has_value => {
                has_value = true;
                quoted = text.get(at + 1) == Some(&b'"');
                at += usize::from(quoted);
            }
            b',' if !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
                has_value = false;
            }
            _ => {}
        }
        at += 1;
    }
    parts.push(&text[start..]);
    parts
}

/// The value without the quotation marks around it, if it begins with one; `None` if no other one ends it.
pub(crate) fn unquote(value: &[u8]) -> Option<&[u8]> {
    let Some(inner) = value.strip_prefix(b"\"") else { return Some(value) };
    match split(inner, b'"')[..] {
        [inner, b""] => Some(inner),
        _ => None,
    }
}

/// Takes away the backslashes that protect a byte. A lone one at the end stays.
pub(crate) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(if byte == b'\\' { *bytes.next().unwrap_or(&byte) } else { byte });
    }
    plain
}

/// Protects what overlayfs gives a meaning in the option text of `mount(2)`: `\`, `,` and `:`
/// (`ovl_next_opt`, `ovl_split_lowerdirs` and `ovl_unescape` in `fs/overlayfs/`).
pub(crate) fn protect(path: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(path.len());
    for &byte in path {
        if matches!(byte, b'\\' | b',' | b':') {
            text.push(b'\\');
        }
        text.push(byte);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protected_separator_does_not_separate() {
        assert_eq!(split(b"a,b", b','), [b"a", b"b"]);
        assert_eq!(split(br"a\,b,c", b','), [&br"a\,b"[..], b"c"]);
        assert_eq!(split(br"a\\,b", b','), [&br"a\\"[..], b"b"]);
        assert_eq!(split(b"", b','), [b""]);
    }

    #[test]
    fn quotation_marks_around_a_value_protect_its_commas() {
        assert_eq!(words(br#"a,b="c,d",e"#), [&b"a"[..], br#"b="c,d""#, b"e"]);
        assert_eq!(words(br#"b="c\",d",e"#), [&br#"b="c\",d""#[..], b"e"]);
        assert_eq!(words(br#"b="c,d"#), [&br#"b="c,d"#[..]]);
        // Elsewhere a quotation mark is a byte as any other.
        assert_eq!(words(br#"b=x"c,d"e,"f,g""#), [&br#"b=x"c"#[..], br#"d"e"#, br#""f"#, br#"g""#]);
        assert_eq!(words(br#"a=b="c,d""#), [&br#"a=b="c"#[..], br#"d""#]);
        assert_eq!(words(br"a=b\,c,d\"), [&br"a=b\,c"[..], br"d\"]);
        assert_eq!(unquote(br#""c,d""#), Some(&b"c,d"[..]));
        assert_eq!(unquote(br#""""#), Some(&b""[..]));
        assert_eq!(unquote(br#"c"d"#), Some(&br#"c"d"#[..]));
        assert_eq!(unquote(br#"\"c"#), Some(&br#"\"c"#[..]));
        for open in [&br#"""#[..], br#""c"#, br#""c"d"#, br#""c\""#, br#""c"d""#] {
            assert_eq!(unquote(open), None);
        }
    }

    #[test]
    fn backslashes_go_and_come() {
        assert_eq!(unescape(br"a\,b\\c\:"), br"a,b\c:");
        assert_eq!(unescape(br"a\"), br"a\");
        assert_eq!(protect(br"a,b\c:d e"), br"a\,b\\c\:d e");
        assert_eq!(unescape(&protect(br"\\,,::")), br"\\,,::");
    }
}
