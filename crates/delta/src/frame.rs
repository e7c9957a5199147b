//! The description of a frame: its coder, its objects and its bases.

use libcomposefs_image::Digest;

use crate::error::FrameRule;
use crate::segment::SEGMENT_SIZE;

/// Most objects of a frame.
pub const FRAME_OBJECTS_MAX: usize = 4096;
/// Most bases of a frame.
pub const FRAME_BASES_MAX: usize = 4096;

/// The way in which a frame is compressed (`docs/format/frame.md`, section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Coder {
    /// The content itself.
    Stored,
    /// Zstandard.
    Zstd,
    /// Zstandard with the bases as prefix.
    ZstdPrefix,
    /// Zstandard with the one base as prefix, in which addresses are those of the object.
    Rebased,
    /// Zstandard with the bases as prefix, and DEFLATE streams of both as tokens.
    Tokens,
    /// Zstandard with the one base as prefix, and the blocks of an LZ4 file unpacked in both.
    Lz4,
    /// Zstandard with the bases as prefix, in which the numbers of kernel modules are those of the objects.
    Modules,
    /// A number that this program does not know.
    Unknown(u8),
}

impl Coder {
    /// Returns the number of the coder.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Coder::Stored => 0,
            Coder::Zstd => 1,
            Coder::ZstdPrefix => 2,
            Coder::Rebased => 3,
            Coder::Tokens => 4,
            Coder::Lz4 => 5,
            Coder::Modules => 6,
            Coder::Unknown(number) => number,
        }
    }

    /// Returns the coder with a number.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Coder::Stored,
            1 => Coder::Zstd,
            2 => Coder::ZstdPrefix,
            3 => Coder::Rebased,
            4 => Coder::Tokens,
            5 => Coder::Lz4,
            6 => Coder::Modules,
            number => Coder::Unknown(number),
        }
    }
}

/// The description of a frame. The objects are concatenated in this order, and so are the bases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameInfo {
    /// The way in which the frame is compressed.
    pub coder: Coder,
    /// Number of compressed bytes.
    pub length: u64,
    /// Digests and sizes of the objects, at most [`FRAME_OBJECTS_MAX`].
    pub objects: Vec<(Digest, u64)>,
    /// Digests and sizes of the bases, at most [`FRAME_BASES_MAX`].
    pub bases: Vec<(Digest, u64)>,
}

impl FrameInfo {
    /// Returns the size of all objects and the size of all bases, if the description keeps the limits.
    ///
    /// # Errors
    ///
    /// [`FrameRule::Sizes`]
    pub fn sizes(&self) -> Result<(u64, u64), FrameRule> {
        if self.objects.is_empty() || self.objects.len() > FRAME_OBJECTS_MAX {
            return Err(FrameRule::Sizes("the number of objects is not between 1 and 4096"));
        }
        if self.bases.len() > FRAME_BASES_MAX {
            return Err(FrameRule::Sizes("there are more than 4096 bases"));
        }
        let sum = |list: &[(Digest, u64)]| {
            let sum = list.iter().try_fold(0u64, |sum, (_, size)| sum.checked_add(*size));
            sum.filter(|sum| i64::try_from(*sum).is_ok()).ok_or(FrameRule::Sizes("the sizes exceed 63 bits"))
        };
        let (size, bases) = (sum(&self.objects)?, sum(&self.bases)?);
        if self.objects.len() > 1 && size > SEGMENT_SIZE {
            return Err(FrameRule::Sizes("several objects have more than 32 MiB together"));
        }
        Ok((size, bases))
    }
}
