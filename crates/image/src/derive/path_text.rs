//! Bytes as printable ASCII: paths and labels in recipes.

/// Returns bytes in which every byte other than a letter, digit or one of `/._-+:,=@~` is written as `%` and two hex
/// digits in upper case.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if is_plain(byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Returns the bytes that a text is for; `None` if [`encode`] does not write it.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(Some(*first).filter(|byte| is_plain(*byte))?);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        rest = after;
        let byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if is_plain(byte) || digits != format!("{byte:02X}").as_bytes() {
            return None;
        }
        bytes.push(byte);
    }
    Some(bytes)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._-+:,=@~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_text() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)).as_deref(), Some(&all[..]));
        assert_eq!(encode(b"/a b%\xff"), "/a%20b%25%FF");
        for wrong in ["%", "%2", "%+1", "%2f", "%41", "%ff", "a b", "\u{e9}", "%\u{e9}1"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
