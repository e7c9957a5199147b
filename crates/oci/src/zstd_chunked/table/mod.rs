//! The table of contents that are here: from the SHA-256 that other programs use to the object that has the bytes
//! (`docs/format/zstd-chunked.md`, section 6).
//!
//! It is a cache: nothing is lost without it, and nothing in it is trusted. An object that it names is read and hashed
//! before it counts.

mod bytes;
mod file;
mod packed;
mod prune;
mod stored;

use std::collections::HashMap;

use libcomposefs_image::{Algorithm, Digest};

pub use bytes::RECORDS_MAX;
pub use file::{TABLE_NAME, load, save, update};
pub use prune::prune;
pub use stored::StoredContents;

use packed::PackedPlace;

use super::{ChunkData, ChunkedImport, Toc, TocFile};
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

/// A content of a layer, as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredContent {
    /// A content that became an object.
    Object {
        /// The object.
        object: Digest,
        /// Number of bytes.
        size: u64,
    },
    /// A content that is too short for that.
    Short(Vec<u8>),
}

/// The table: places by the SHA-256 of contents and chunks. It holds at most [`RECORDS_MAX`] of them, and forgets the
/// oldest.
#[derive(Clone, Debug)]
pub struct ContentTable {
    algorithm: Algorithm,
    /// The oldest first.
    records: Vec<(BlobDigest, PackedPlace)>,
    /// The index of each content in `records`.
    index: HashMap<BlobDigest, u32>,
}

impl ContentTable {
    /// Returns an empty table for a repository of this algorithm.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, records: Vec::new(), index: HashMap::new() }
    }

    /// Returns the number of places.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns true if there are no places.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns the place of a content.
    #[must_use]
    pub fn get(&self, digest: &BlobDigest) -> Option<ContentPlace> {
        let index = usize::try_from(*self.index.get(digest)?).ok()?;
        self.records.get(index)?.1.unpack(self.algorithm)
    }

    /// Adds the place of a content, or replaces it. Inline contents of more than 64 bytes, and objects of another
    /// algorithm, are ignored.
    pub fn insert(&mut self, digest: BlobDigest, place: ContentPlace) {
        let fits = match &place {
            ContentPlace::Inline(bytes) => bytes.len() as u64 <= INLINE_MAX,
            ContentPlace::Object { object, .. } => object.algorithm() == self.algorithm,
        };
        if let Some(place) = PackedPlace::new(&place).filter(|_| fits) {
            self.put(digest, place);
        }
    }

    fn put(&mut self, digest: BlobDigest, place: PackedPlace) {
        let next = u32::try_from(self.records.len()).expect("there are few records");
        let at = *self.index.entry(digest).or_insert(next);
        match usize::try_from(at).ok().and_then(|at| self.records.get_mut(at)) {
            Some(record) => record.1 = place,
            None => self.records.push((digest, place)),
        }
        if self.records.len() > RECORDS_MAX + RECORDS_MAX / 4 {
            self.forget();
        }
    }

    /// Adds the contents and chunks of a layer that was pulled in parts. `stored` has the objects that they became.
    pub fn add_layer(&mut self, import: &ChunkedImport, stored: &[NumberedObject]) {
        let toc = import.layer.toc();
        for NumberedObject { number, digest: object } in stored {
            let Some(file) = usize::try_from(*number).ok().and_then(|index| toc.files().get(index)) else { continue };
            self.add_file(toc, file, *object);
        }
        for (digest, bytes) in &import.short {
            self.insert(*digest, ContentPlace::Inline(bytes.clone()));
        }
    }

    /// Adds the contents and chunks of a layer that was read whole. `contents` are in the order of the archive: they
    /// are paired with the files of its TOC, up to the first whose size differs.
    pub fn add_contents(&mut self, toc: &Toc, contents: &[StoredContent]) {
        for (file, content) in toc.files().iter().zip(contents) {
            match content {
                StoredContent::Short(bytes) if bytes.len() as u64 == file.size => {
                    self.insert(file.digest, ContentPlace::Inline(bytes.clone()));
                }
                StoredContent::Object { object, size } if *size == file.size => self.add_file(toc, file, *object),
                _ => return,
            }
        }
    }

    /// Adds the places of another table.
    pub fn merge(&mut self, other: &Self) {
        if self.algorithm == other.algorithm {
            other.records.iter().for_each(|(digest, place)| self.put(*digest, *place));
        }
    }

    fn add_file(&mut self, toc: &Toc, file: &TocFile, object: Digest) {
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

    /// Removes the places in objects that do not exist any more.
    pub fn retain(&mut self, exists: &mut dyn FnMut(&Digest) -> bool) {
        let mut known: HashMap<Digest, bool> = HashMap::new();
        self.records.retain(|(_, place)| match place.object(self.algorithm) {
            None => true,
            Some(object) => *known.entry(object).or_insert_with(|| exists(&object)),
        });
        self.rebuild_index();
    }

    /// Removes the oldest places beyond the limit.
    fn forget(&mut self) {
        self.records.drain(..self.records.len().saturating_sub(RECORDS_MAX));
        self.rebuild_index();
    }

    fn rebuild_index(&mut self) {
        self.index = self.records.iter().map(|(digest, _)| *digest).zip(0..).collect();
    }
}
