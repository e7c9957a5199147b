//! Paths without their versions: what is left of a name when its digits are taken out.

/// Returns `name` with each run of digits, and of dots and dashes between digits, replaced by one `0`.
pub(crate) fn without_digits(name: &[u8]) -> Vec<u8> {
    let mut pattern: Vec<u8> = Vec::with_capacity(name.len());
    for (index, &byte) in name.iter().enumerate() {
        let next_is_digit = name.get(index + 1).is_some_and(u8::is_ascii_digit);
        let joins = matches!(byte, b'.' | b'-' | b'_' | b'+' | b'~') && next_is_digit && pattern.last() == Some(&b'0');
        match byte {
            b'0'..=b'9' if pattern.last() == Some(&b'0') => {}
            b'0'..=b'9' => pattern.push(b'0'),
            _ if joins => {}
            _ => pattern.push(byte),
        }
    }
    pattern
}

/// Returns the last part of a path.
pub(crate) fn name_of(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_become_one_digit() {
        for (name, pattern) in [
            ("/usr/lib/libssl.so.1.1.1n", "/usr/lib/libssl.so.0n"),
            ("/lib/modules/6.1.0-31-amd64/a.ko", "/lib/modules/0-amd0/a.ko"),
            ("python3.11", "python0"),
            ("no-digits.txt", "no-digits.txt"),
            ("", ""),
        ] {
            assert_eq!(without_digits(name.as_bytes()), pattern.as_bytes());
        }
        assert_eq!(name_of(b"/a/b"), b"b");
        assert_eq!(name_of(b"b"), b"b");
    }
}
