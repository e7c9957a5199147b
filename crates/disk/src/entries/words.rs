//! The words of a command line that name an image (`docs/boot.md`).

use libcomposefs_image::Digest;
use libcomposefs_image::kernel_words::{DIGEST_FORMATS, kernel_words, optional_digest, word_digest};

/// An image that a command line names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedDigest {
    /// fs-verity digest of the image.
    pub digest: Digest,
    /// Set by `?`: the word asks for no fs-verity.
    pub is_verity_optional: bool,
}

const KEYS: [&str; 2] = ["composefs", "composefs.digest"];
/// Returns the images that a command line names, in its order. Words with a wrong digest or an unknown format are left
/// out: `composefs-setup-root` refuses the former and passes over the latter.
#[must_use]
pub fn named_digests(line: &str) -> Vec<NamedDigest> {
    kernel_words(line).filter_map(named).collect()
}

fn named(word: &str) -> Option<NamedDigest> {
    let (key, value) = word.split_once('=')?;
    let (value, is_verity_optional) = optional_digest(value);
    let (hex, len) = match key {
        "composefs" => (value, None),
        "composefs.digest" => {
            let (format, hex) = value.split_once(':')?;
            (hex, Some(DIGEST_FORMATS.iter().find(|(known, _)| *known == format)?.1))
        }
        _ => return None,
    };
    let digest = word_digest(hex, len)?;
    Some(NamedDigest { digest, is_verity_optional })
}

/// Returns a command line that names an image and no other one. `added` are words whose keys the line may lack: each is
/// added unless the line has a word with its key. `rw` is added unless the line has `ro`.
#[must_use]
pub fn options_with_image(line: &str, image_word: &str, added: &[&str]) -> String {
    let is_kept = |word: &&str| !KEYS.contains(&key(word));
    let mut words: Vec<&str> = kernel_words(line).filter(is_kept).collect();
    if !words.iter().any(|word| matches!(*word, "rw" | "ro")) {
        words.push("rw");
    }
    for word in added {
        if !words.iter().any(|found| key(found) == key(word)) {
            words.push(word);
        }
    }
    words.push(image_word);
    words.join(" ")
}

fn key(word: &str) -> &str {
    word.split('=').next().unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_in_the_order_of_the_line() {
        let (a, b) = ("aa".repeat(32), "bb".repeat(64));
        let line = format!("rw composefs.digest=?v1-sha256-12:{a}\tx=\"y composefs={a}\" composefs={b}\n");
        let found: Vec<_> =
            named_digests(&line).into_iter().map(|one| (one.digest.to_hex(), one.is_verity_optional)).collect();
        assert_eq!(found, [(a.clone(), true), (b.clone(), false)]);
        for other in [
            format!("composefs={}", &a[1..]),
            format!("composefs={}", a.to_uppercase()),
            format!("composefs.digest={a}"),
            format!("composefs.digest=v3-sha256-12:{a}"),
            format!("composefs.digest=v1-sha512-12:{a}"),
            format!("xcomposefs={a}"),
            "composefs".to_owned(),
        ] {
            assert!(named_digests(&other).is_empty(), "{other}");
        }
    }

    #[test]
    fn a_line_names_one_image_afterwards() {
        let old =
            format!("quiet composefs={} composefs.digest=v1-sha256-12:x composefs.etc=none panic=3", "a".repeat(64));
        assert_eq!(
            options_with_image(&old, "composefs=HEX", &["panic=10", "composefs.refused=reboot"]),
            "quiet composefs.etc=none panic=3 rw composefs.refused=reboot composefs=HEX"
        );
        assert_eq!(options_with_image("ro", "composefs=HEX", &[]), "ro composefs=HEX");
        assert_eq!(options_with_image("", "composefs=HEX", &[]), "rw composefs=HEX");
    }
}
