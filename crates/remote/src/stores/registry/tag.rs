//! Tags for refs: names that are no tags are escaped, and very long ones hashed.

use libcomposefs_delivery::Sha256Digest;
use libcomposefs_repo::RefName;

/// Most characters of a tag.
const TAG_MAX: usize = 128;
/// Begins what stands for a character that a tag cannot have: two hexadecimal digits follow.
const ESCAPE: &str = "__";

/// Returns the tag of a ref. Different names have different tags; a name that is a tag without `__` is its own.
pub(super) fn tag(name: &RefName) -> String {
    let mut tag = String::new();
    for byte in name.as_str().bytes().rev() {
        // From the end: whether `_` must be escaped depends on what follows it.
        let is_plain = match byte {
            b'_' => !tag.starts_with('_'),
            b'.' | b'-' => true,
            _ => byte.is_ascii_alphanumeric(),
        };
        tag.insert_str(0, &if is_plain { char::from(byte).to_string() } else { escaped(byte) });
    }
    if let Some(first) = tag.bytes().next().filter(|first| matches!(first, b'.' | b'-')) {
        tag.replace_range(..1, &escaped(first));
    }
    if tag.len() <= TAG_MAX { tag } else { format!("{ESCAPE}sha256-{}", Sha256Digest::of(name.as_str().as_bytes())) }
}

fn escaped(byte: u8) -> String {
    format!("{ESCAPE}{byte:02X}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::is_tag;

    fn of(name: &str) -> String {
        tag(&RefName::new(name).expect("a name"))
    }

    /// The name of a tag that is not hashed.
    fn name(tag: &str) -> String {
        let (mut bytes, mut rest) = (Vec::new(), tag);
        while let Some((before, after)) = rest.split_once(ESCAPE) {
            bytes.extend(before.bytes());
            bytes.push(u8::from_str_radix(&after[..2], 16).expect("two digits"));
            rest = &after[2..];
        }
        bytes.extend(rest.bytes());
        String::from_utf8(bytes).expect("a name")
    }

    #[test]
    fn tags_can_be_read_back() {
        assert_eq!(of("debian-13.1_a"), "debian-13.1_a");
        assert_eq!(of("debian/13"), "debian__2F13");
        let names =
            ["a/b", "a_/b", "a__b", "a___2Fb", "_", "__", "___", "a__2Fb", "-x", ".x", "\u{e4}", "x:y", "_a", "a_"];
        for text in names {
            if let Ok(ref_name) = RefName::new(text) {
                let tag = tag(&ref_name);
                assert!(is_tag(&tag), "{text}: {tag}");
                assert_eq!(name(&tag), text, "{tag}");
            }
        }
    }

    #[test]
    fn long_names_are_hashed() {
        let long = "x".repeat(TAG_MAX);
        assert_eq!(of(&long), long);
        let hashed = of(&format!("{long}b"));
        assert!(is_tag(&hashed) && hashed.starts_with("__sha256-"), "{hashed}");
        assert_ne!(hashed, of(&format!("{long}c")));
    }
}
