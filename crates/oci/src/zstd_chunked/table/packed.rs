//! A place in few bytes, as the table keeps it in memory and on disk.

use libcomposefs_image::{Algorithm, Digest};

use super::ContentPlace;

/// The offset of a content that is in the table itself.
const INLINE: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PackedPlace {
    pub(super) size: u64,
    pub(super) offset: u64,
    /// The digest of the object, or the content.
    pub(super) value: [u8; 64],
}

impl PackedPlace {
    /// Packs a place. `None` if the content or the digest has more than 64 bytes.
    pub(super) fn new(place: &ContentPlace) -> Option<Self> {
        let (offset, size, bytes) = match place {
            ContentPlace::Inline(bytes) => (INLINE, bytes.len() as u64, bytes.as_slice()),
            ContentPlace::Object { object, offset, size } => (*offset, *size, object.as_bytes()),
        };
        let mut value = [0; 64];
        value.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { size, offset, value })
    }

    /// Returns the object, if the place is in one.
    pub(super) fn object(&self, algorithm: Algorithm) -> Option<Digest> {
        if self.offset == INLINE {
            return None;
        }
        Digest::new(algorithm, self.value.get(..algorithm.digest_len())?)
    }

    /// Returns the place. `None` if the numbers contradict each other.
    pub(super) fn unpack(&self, algorithm: Algorithm) -> Option<ContentPlace> {
        if self.offset == INLINE {
            return Some(ContentPlace::Inline(self.value.get(..usize::try_from(self.size).ok()?)?.to_vec()));
        }
        self.offset.checked_add(self.size)?;
        let (offset, size) = (self.offset, self.size);
        Some(ContentPlace::Object { object: self.object(algorithm)?, offset, size })
    }
}
