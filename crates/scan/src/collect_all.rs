//! A sink for those who want to know all that there is to know of contents, and store none.

use std::sync::{Mutex, MutexGuard, PoisonError};

use libcomposefs_image::digest::{Algorithm, Digest};
use libcomposefs_image::policy::Contents;
use libcomposefs_image::verity::{self, Hasher};
use libcomposefs_sys::copy::read_all;

use libcomposefs_content::{ContentSink, SinkError, SourceFile};

/// Keeps small contents, and hashes all of them by one algorithm or by both, in one read.
///
/// Small contents come to it if the scan's [`inline_max`](crate::Options::inline_max) is 0.
#[derive(Debug)]
pub struct CollectAll {
    algorithm: Algorithm,
    other: Option<Algorithm>,
    keep_max: usize,
    contents: Mutex<Contents>,
}

impl CollectAll {
    /// For a scan with digests of `algorithm`. Contents of up to `keep_max` bytes are kept; with `both` the digests of the
    /// other algorithm are noted too.
    #[must_use]
    pub fn new(algorithm: Algorithm, both: bool, keep_max: usize) -> Self {
        let other = Algorithm::ALL.into_iter().find(|other| both && *other != algorithm);
        Self { algorithm, other, keep_max, contents: Mutex::default() }
    }

    /// What was learnt.
    #[must_use]
    pub fn into_contents(self) -> Contents {
        self.contents.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ContentSink for CollectAll {
    fn take_small(&self, content: &[u8], digest: &Digest) -> Result<(), SinkError> {
        let keep = content.len() <= self.keep_max;
        if !keep && self.other.is_none() || self.contents().knows(digest) {
            return Ok(());
        }
        let other = self.other.map(|other| verity::digest(other, content));
        let mut contents = self.contents();
        if keep {
            contents.keep(*digest, content);
        }
        if let Some(other) = other {
            contents.note(*digest, other);
        }
        Ok(())
    }

    /// Pieces are still in the core's own cache when they are hashed.
    fn whole_max(&self) -> usize {
        0
    }

    fn take_bytes(&self, content: &[u8], _source: &SourceFile<'_>) -> Result<Digest, SinkError> {
        let digest = verity::digest(self.algorithm, content);
        self.take_small(content, &digest)?;
        Ok(digest)
    }

    fn take_file(&self, source: &SourceFile<'_>, buffer: &mut [u8]) -> Result<Digest, SinkError> {
        let mut hasher = Hasher::new(self.algorithm);
        let mut other = self.other.map(Hasher::new);
        read_all(source.file, buffer, |_, piece| {
            hasher.update(piece);
            other.iter_mut().for_each(|other| other.update(piece));
            Ok::<_, std::io::Error>(())
        })?;
        let digest = hasher.finish();
        if let Some(other) = other {
            self.contents().note(digest, other.finish());
        }
        Ok(digest)
    }
}
