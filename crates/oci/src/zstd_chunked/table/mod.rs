//! The table of contents that are here: from the SHA-256 that other programs use to the object that has the bytes
//! (`docs/format/zstd-chunked.md`, section 6).
//!
//! It is a cache: nothing is lost without it, and nothing in it is trusted. An object that it names is read and hashed
//! before it counts.

mod bytes;
mod file;
mod stored;

use std::collections::HashMap;

use libcomposefs_image::{Algorithm, Digest};

pub use bytes::RECORDS_MAX;
pub use file::{TABLE_NAME, load, save};
pub use stored::StoredContents;

use super::{ChunkData, ChunkedImport};
use crate::BlobDigest;
use crate::layer::INLINE_MAX;
use crate::tar_split::NumberedObject;

/// A place that has a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentPlace {
    /// The table itself, for contents of at most 64 bytes, which become no objects.
    Inline(Vec<u8>),
    /// A part of an object.
    Object {
        /// The object.
        object: Digest,
        /// Offset of the content in the object, in bytes.
        offset: u64,
        /// Number of bytes.
        size: u64,
    },
}

impl ContentPlace {
    /// Returns the number of bytes of the content.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Object { size, .. } => *size,
        }
    }
}

/// The table: places by the SHA-256 of contents and chunks. It holds at most [`RECORDS_MAX`] of them, and forgets the
/// oldest.
#[derive(Clone, Debug)]
pub struct ContentTable {
    algorithm: Algorithm,
    places: HashMap<BlobDigest, ContentPlace>,
    /// The keys, the oldest first.
    order: Vec<BlobDigest>,
}

impl ContentTable {
    /// Returns an empty table for a repository of this algorithm.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, places: HashMap::new(), order: Vec::new() }
    }

    /// Returns the number of places.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns true if there are no places.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns the place of a content.
    #[must_use]
    pub fn get(&self, digest: &BlobDigest) -> Option<&ContentPlace> {
        self.places.get(digest)
    }

    /// Adds the place of a content, or replaces it. Inline contents of more than 64 bytes, and objects of another
    /// algorithm, are ignored.
    pub fn insert(&mut self, digest: BlobDigest, place: ContentPlace) {
        let fits = match &place {
            ContentPlace::Inline(bytes) => bytes.len() as u64 <= INLINE_MAX,
            ContentPlace::Object { object, .. } => object.algorithm() == self.algorithm,
        };
        if fits && self.places.insert(digest, place).is_none() {
            self.order.push(digest);
        }
        if self.order.len() > 2 * RECORDS_MAX {
            self.forget();
        }
    }

    /// Adds the contents and chunks of a layer that was pulled in parts. `stored` has the objects that they became.
    pub fn add_layer(&mut self, import: &ChunkedImport, stored: &[NumberedObject]) {
        let toc = import.layer.toc();
        for NumberedObject { number, digest: object } in stored {
            let Some(file) = usize::try_from(*number).ok().and_then(|index| toc.files().get(index)) else { continue };
            let object = *object;
            let mut offset = 0;
            for chunk in toc.chunks_of(file) {
                let size = chunk.size;
                if let ChunkData::Bytes(digest) = chunk.data
                    && size < file.size
                {
                    self.insert(digest, ContentPlace::Object { object, offset, size });
                }
                offset += size;
            }
            self.insert(file.digest, ContentPlace::Object { object, offset: 0, size: file.size });
        }
        for (digest, bytes) in &import.short {
            self.insert(*digest, ContentPlace::Inline(bytes.clone()));
        }
    }

    /// Removes the places in objects that do not exist any more.
    pub fn retain(&mut self, exists: &mut dyn FnMut(&Digest) -> bool) {
        let mut known: HashMap<Digest, bool> = HashMap::new();
        self.places.retain(|_, place| match place {
            ContentPlace::Inline(_) => true,
            ContentPlace::Object { object, .. } => *known.entry(*object).or_insert_with(|| exists(object)),
        });
        self.order.retain(|digest| self.places.contains_key(digest));
    }

    /// Removes the oldest places beyond the limit.
    fn forget(&mut self) {
        for digest in self.order.drain(..self.order.len().saturating_sub(RECORDS_MAX)) {
            self.places.remove(&digest);
        }
    }
}
