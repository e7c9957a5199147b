//! A sink that collects small contents and digests, and stores no objects.

use std::sync::{Mutex, MutexGuard};

use libcomposefs_content::mutex::{into_inner, lock};
use libcomposefs_image::digest::{Algorithm, Digest};
use libcomposefs_image::policy::FileContents;
use libcomposefs_image::verity::{self, Hasher};
use libcomposefs_sys::copy::read_all;

use libcomposefs_content::{ContentSink, SinkError, SourceFile};

/// A sink that keeps small contents, and hashes all contents with one or both algorithms, in one read.
///
/// It receives small contents if the scan's [`inline_max`](crate::Options::inline_max) is 0.
#[derive(Debug)]
pub struct CollectAll {
    algorithm: Algorithm,
    other: Option<Algorithm>,
    keep_max: usize,
    contents: Mutex<FileContents>,
}

impl CollectAll {
    /// Creates a sink for a scan with digests of `algorithm`. It keeps contents of up to `keep_max` bytes; with
    /// `both` it also records the digests of the other algorithm.
    #[must_use]
    pub fn new(algorithm: Algorithm, both: bool, keep_max: usize) -> Self {
        let other = Algorithm::ALL.into_iter().find(|other| both && *other != algorithm);
        Self { algorithm, other, keep_max, contents: Mutex::default() }
    }

    /// Returns the collected contents and digests.
    #[must_use]
    pub fn into_contents(self) -> FileContents {
        into_inner(self.contents)
    }

    fn contents(&self) -> MutexGuard<'_, FileContents> {
        lock(&self.contents)
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

    /// Returns 0: pieces are hashed while they are still in the core's own cache.
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
