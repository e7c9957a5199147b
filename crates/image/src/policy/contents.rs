//! Contents that are known beside the digests in a tree.

use std::collections::HashMap;

use crate::digest::{Algorithm, Digest};
use crate::tree::{Data, Tree};
use crate::verity;

/// Small contents as they are, and digests by another algorithm, found by the digest that a tree has.
#[derive(Clone, Debug, Default)]
pub struct FileContents {
    small: HashMap<Digest, Box<[u8]>>,
    other: HashMap<Digest, Digest>,
}

impl FileContents {
    /// Returns `true` if the content with this digest was recorded already.
    #[must_use]
    pub fn knows(&self, digest: &Digest) -> bool {
        self.small.contains_key(digest) || self.other.contains_key(digest)
    }

    /// Keeps a content, which may be needed in an image.
    pub fn keep(&mut self, digest: Digest, content: &[u8]) {
        self.small.entry(digest).or_insert_with(|| content.into());
    }

    /// Notes the digest of a content by the other algorithm.
    pub fn note(&mut self, digest: Digest, other: Digest) {
        self.other.insert(digest, other);
    }

    /// A content that was kept.
    #[must_use]
    pub fn content(&self, digest: &Digest) -> Option<&[u8]> {
        self.small.get(digest).map(|content| &**content)
    }

    /// The digest by an algorithm of the content with this digest.
    #[must_use]
    pub fn digest(&self, digest: &Digest, algorithm: Algorithm) -> Option<Digest> {
        if digest.algorithm() == algorithm {
            return Some(*digest);
        }
        let noted = self.other.get(digest).filter(|other| other.algorithm() == algorithm).copied();
        noted.or_else(|| Some(verity::digest(algorithm, self.content(digest)?)))
    }

    /// Returns `true` if the digests of all contents that policies leave outside the image are known by an algorithm.
    #[must_use]
    pub fn has_all(&self, tree: &Tree, algorithm: Algorithm) -> bool {
        tree.inodes().all(|inode| match inode.data() {
            Data::Regular { content: None, digest: Some(digest), .. } => self.digest(&digest, algorithm).is_some(),
            _ => true,
        })
    }
}
