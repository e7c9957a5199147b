//! Targets of symlinks, in any spelling.
//!
//! This program writes links in one form only (`layout`). Other programs and people write others that lead to the same
//! target: absolute paths, `x/../HEX`, `../../images/HEX`, links to other names. gc must keep those targets, so only
//! the text of a link is judged here, and generously.

use libcomposefs_image::{Algorithm, Digest};

use crate::layout;

/// The target of an entry that is not in this program's form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leads {
    /// The image or object of this digest, according to the last part of the path. It may not exist.
    To(Digest),
    /// Another entry of the repository, which is judged by itself: its path below the repository.
    Entry(Vec<u8>),
    /// Unknown: the entry is no link, or its path has no digest.
    Unclear,
}

/// Returns the target of a link. `folder` is the path of its directory below the repository.
pub(crate) fn leads_to(folder: &[u8], text: &[u8], algorithm: Algorithm) -> Leads {
    let parts: Vec<&[u8]> = parts_of(text).collect();
    let by_hex = parts.last().and_then(|last| Digest::from_hex(last).ok());
    let by_path = parts.len().checked_sub(2).and_then(|at| Digest::from_object_path(&parts[at..].join(&b'/')));
    if let Some(digest) = by_hex.or(by_path).filter(|digest| digest.algorithm() == algorithm) {
        return Leads::To(digest);
    }
    match below(folder, text) {
        Some(path) => Leads::Entry(path),
        None => Leads::Unclear,
    }
}

fn parts_of(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."))
}

/// Returns the path below the repository that a relative link leads to, if that is among the images or streams.
pub(crate) fn below(folder: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    if text.first() == Some(&b'/') {
        return None;
    }
    let mut names: Vec<&[u8]> = Vec::new();
    for part in parts_of(folder).chain(parts_of(text)) {
        if part == b".." {
            names.pop()?;
        } else {
            names.push(part);
        }
    }
    let top = *names.first()?;
    let is_inside = names.len() > 1 && (top == layout::IMAGES.as_bytes() || top == layout::STREAMS.as_bytes());
    is_inside.then(|| names.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_understood_in_many_spellings() {
        let digest = Digest::from_hex("ab".repeat(32)).unwrap();
        let (hex, object) = (digest.to_hex(), digest.object_path());
        for text in [
            format!("../{hex}"),
            format!("../../images/{hex}"),
            format!("/srv/repo/images/{hex}"),
            format!("../x/../{hex}/"),
            format!("../{}", hex.to_uppercase()),
            format!("../../objects/{object}"),
            format!("/srv/repo/objects/{object}"),
            format!(".././{hex}/."),
        ] {
            assert_eq!(leads_to(b"images/refs", text.as_bytes(), Algorithm::Sha256), Leads::To(digest), "{text}");
            assert_ne!(leads_to(b"images/refs", text.as_bytes(), Algorithm::Sha512), Leads::To(digest), "{text}");
        }
        for (text, path) in [("other", "images/refs/a/other"), ("../b/./c", "images/refs/b/c"), ("..", "images/refs")] {
            let leads = leads_to(b"images/refs/a", text.as_bytes(), Algorithm::Sha256);
            assert_eq!(leads, Leads::Entry(path.into()), "{text}");
        }
        for text in ["/etc/passwd", "../../../../outside", "../../..", "../../../meta.json", "../../../objects/ab"] {
            let leads = leads_to(b"images/refs/a", text.as_bytes(), Algorithm::Sha256);
            assert_eq!(leads, Leads::Unclear, "{text}");
        }
    }
}
