//! Contents that need not be fetched.

use std::io::{self, Read};

use crate::BlobDigest;
use crate::tar_split::ContentOrigin;

/// Contents that are here already, found by their SHA-256.
pub trait LocalContents {
    /// Returns true if the content is here. Its bytes were read and have this digest.
    fn contains(&mut self, digest: &BlobDigest, size: u64) -> bool;

    /// Opens a content for which [`contains`](Self::contains) has returned true.
    ///
    /// # Errors
    ///
    /// If the content cannot be opened.
    fn open(&mut self, digest: &BlobDigest, size: u64) -> io::Result<(Box<dyn Read>, ContentOrigin)>;
}

/// No content is here.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoContents;

impl LocalContents for NoContents {
    fn contains(&mut self, _: &BlobDigest, _: u64) -> bool {
        false
    }

    fn open(&mut self, _: &BlobDigest, _: u64) -> io::Result<(Box<dyn Read>, ContentOrigin)> {
        Err(io::ErrorKind::NotFound.into())
    }
}
