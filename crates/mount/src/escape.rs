//! Backslashes: taking them out of what the user wrote, putting them into what the kernel reads.

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
    fn backslashes_go_and_come() {
        assert_eq!(unescape(br"a\,b\\c\:"), br"a,b\c:");
        assert_eq!(unescape(br"a\"), br"a\");
        assert_eq!(protect(br"a,b\c:d e"), br"a\,b\\c\:d e");
        assert_eq!(unescape(&protect(br"\\,,::")), br"\\,,::");
    }
}
