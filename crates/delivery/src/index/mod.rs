//! The index of an image: its objects, and the frames of packs that give them (`docs/format/remote.md`, section 3).

mod read;
mod write;

use libcomposefs_delta::{Coder, FrameInfo, FrameRule};
use libcomposefs_image::Digest;

use crate::{FileEntry, RefImage};

/// First bytes of an index.
const MAGIC: &[u8; 16] = b"composefs-index\n";
/// Version of the index.
const VERSION: u32 = 1;
/// The bit of a type that has readers refuse a record they do not know.
const CRITICAL: u16 = 0x8000;
/// The types of records.
const PACKS: u16 = CRITICAL | 1;
const OBJECTS: u16 = CRITICAL | 2;
const OTHERS: u16 = CRITICAL | 3;
const FRAMES: u16 = CRITICAL | 4;
const END: u16 = CRITICAL | 5;
/// Most bytes of an index, uncompressed.
const CONTENT_MAX: u64 = 1 << 30;
/// An index has at most this number of bytes for each compressed byte, and [`EXPANSION_FREE`] in addition.
const EXPANSION_MAX: u64 = 16;
const EXPANSION_FREE: u64 = 1 << 20;
/// Most bytes of all objects of a frame that has several.
const GROUP_SIZE_MAX: u64 = 1 << 20;

/// The index of an image. Objects are numbered: 0 is the image, then come its objects in the order of their paths, then
/// the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageIndex {
    /// The image.
    pub image: RefImage,
    /// Packs that frames are in.
    pub packs: Vec<FileEntry>,
    /// Digests and sizes of the objects of the image, each once.
    pub objects: Vec<(Digest, u64)>,
    /// Digests and sizes of other objects that frames need or give.
    pub others: Vec<(Digest, u64)>,
    /// The frames.
    pub frames: Vec<IndexFrame>,
    /// Records of unknown types: kept and passed on.
    pub records: Vec<(u16, Vec<u8>)>,
}

/// A frame in a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexFrame {
    /// Number of the pack.
    pub pack: u32,
    /// Offset of the first byte in the pack.
    pub offset: u64,
    /// Number of compressed bytes.
    pub length: u64,
    /// The way in which the frame is compressed.
    pub coder: Coder,
    /// Numbers of the objects that the frame gives.
    pub objects: Vec<u32>,
    /// Numbers of the bases.
    pub bases: Vec<u32>,
}

/// Reason why an index cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The file cannot be decompressed.
    #[error("it is damaged: {0}")]
    Compressed(#[source] std::io::Error),
    /// The index has another version.
    #[error("it has version {0}, and this program knows version {VERSION}: a newer version is needed")]
    Version(u32),
    /// The index has a critical record of an unknown type.
    #[error("it has a critical record of type {0:#x}, which this program does not know: a newer version is needed")]
    Critical(u16),
    /// The index breaks a rule.
    #[error("it is damaged at byte {offset}: {rule}")]
    Rule {
        /// Offset in the uncompressed index.
        offset: u64,
        /// The rule.
        rule: &'static str,
    },
    /// A frame breaks a rule.
    #[error("it is damaged: frame {number}: {rule}")]
    Frame {
        /// Number of the frame.
        number: usize,
        /// The rule.
        rule: FrameRule,
    },
}

impl ImageIndex {
    /// Returns digest and size of an object by its number.
    #[must_use]
    pub fn entry(&self, number: u32) -> Option<(Digest, u64)> {
        let number = usize::try_from(number).ok()?;
        let Some(number) = number.checked_sub(1) else { return Some((self.image.digest, self.image.size)) };
        let others = || self.others.get(number.checked_sub(self.objects.len())?);
        self.objects.get(number).or_else(others).copied()
    }

    /// Returns all objects in the order of their numbers: the image, its objects, the others.
    pub fn entries(&self) -> impl Iterator<Item = (Digest, u64)> + '_ {
        let image = (self.image.digest, self.image.size);
        std::iter::once(image).chain(self.objects.iter().copied()).chain(self.others.iter().copied())
    }

    /// Returns the description of a frame for its decoder; `None` if the frame has a number without an object.
    #[must_use]
    pub fn frame_info(&self, frame: &IndexFrame) -> Option<FrameInfo> {
        let entries = |numbers: &[u32]| numbers.iter().map(|number| self.entry(*number)).collect::<Option<Vec<_>>>();
        let (objects, bases) = (entries(&frame.objects)?, entries(&frame.bases)?);
        Some(FrameInfo { coder: frame.coder, length: frame.length, objects, bases })
    }

    /// Returns the first frame that breaks a rule.
    fn broken_frame(&self) -> Option<IndexError> {
        self.frames.iter().enumerate().find_map(|(number, frame)| {
            let rule = self.frame_rule(frame).err()?;
            Some(IndexError::Frame { number, rule })
        })
    }

    fn frame_rule(&self, frame: &IndexFrame) -> Result<(), FrameRule> {
        let no_object = FrameRule::Sizes("it has a number without an object");
        let (size, _) = self.frame_info(frame).ok_or(no_object)?.sizes()?;
        if frame.objects.len() > 1 && size > GROUP_SIZE_MAX {
            return Err(FrameRule::Sizes("several objects have more than 1 MiB together"));
        }
        let pack = usize::try_from(frame.pack).ok().and_then(|pack| self.packs.get(pack));
        let end = frame.offset.checked_add(frame.length);
        match pack.zip(end) {
            Some((pack, end)) if end <= pack.size => Ok(()),
            Some(_) => Err(FrameRule::Sizes("it ends after its pack")),
            None => Err(FrameRule::Sizes("it has no pack")),
        }
    }
}

#[cfg(test)]
mod tests;
