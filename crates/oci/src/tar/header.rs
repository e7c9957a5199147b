//! A header block: the fields of ustar, of the older format (v7) and of GNU tar.

use libcomposefs_image::tree::Timestamp;

use super::TarError;
use super::block::BLOCK;
use super::number::header_number;
use super::sparse_map::SparseMap;

/// The kinds of files that an archive can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A further name of a file that an earlier entry or a lower layer has.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A FIFO.
    Fifo,
}

/// An entry of an archive, with its extension headers applied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TarEntry {
    /// The name as in the archive, with any slashes and dots.
    pub path: Vec<u8>,
    /// The kind of file.
    pub kind: EntryKind,
    /// Permission bits (the low 12 bits).
    pub mode: u32,
    /// User ID of the owner.
    pub uid: u32,
    /// Group ID of the owner.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// The target of a link.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Names and values of extended attributes, in the order of the archive.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Number of data bytes after the header, without padding.
    pub stored_size: u64,
    /// The segments and the size of a sparse file.
    pub sparse: Option<SparseMap>,
}

impl TarEntry {
    /// Returns an entry to be filled: an empty file without a name.
    pub(crate) fn empty() -> Self {
        Self {
            path: Vec::new(),
            kind: EntryKind::File,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Timestamp { sec: 0, nsec: 0 },
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            stored_size: 0,
            sparse: None,
        }
    }
}

/// The fields of a header block.
#[derive(Debug)]
pub(super) struct TarHeader<'b>(pub(super) &'b [u8; BLOCK]);

/// The variants of the format, told apart by their magic bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    V7,
    Ustar,
    Gnu,
}

impl<'b> TarHeader<'b> {
    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    fn variant(&self) -> Variant {
        match &self.0[257..263] {
            b"ustar\0" => Variant::Ustar,
            b"ustar " => Variant::Gnu,
            _ => Variant::V7,
        }
    }

    /// Compares the checksum with the sum of all bytes, read as unsigned or, as some old programs do, as signed.
    pub(super) fn check(&self) -> Result<(), TarError> {
        let stored = header_number(&self.0[148..156]).ok_or(TarError::Checksum)?;
        let field = &self.0[148..156];
        // Without branches, so that the compiler makes vectors of both sums.
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        let unsigned = i128::from(sum(self.0) - sum(field) + 8 * u32::from(b' '));
        if stored == unsigned {
            return Ok(());
        }
        let high_bits = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(byte >> 7)).sum::<u32>();
        let signed = unsigned - 256 * i128::from(high_bits(self.0) - high_bits(field));
        if stored == signed { Ok(()) } else { Err(TarError::Checksum) }
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn size(&self) -> Result<u64, TarError> {
        self.number("size", 124, 12)
    }

    fn number<T: TryFrom<i128>>(&self, name: &'static str, at: usize, len: usize) -> Result<T, TarError> {
        let value = header_number(&self.0[at..at + len]).ok_or(TarError::Number(name))?;
        T::try_from(value).map_err(|_| TarError::Number(name))
    }

    /// Reads a number of which only the low 32 bits count.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn low_bits(&self, name: &'static str, at: usize) -> Result<u32, TarError> {
        Ok(self.number::<i128>(name, at, 8)? as u32)
    }

    fn name(&self) -> Vec<u8> {
        let name = until_nul(&self.0[..100]);
        let prefix = if self.variant() == Variant::Ustar { until_nul(&self.0[345..500]) } else { &[] };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    /// Reads the entry, without extension headers.
    pub(super) fn entry(&self) -> Result<TarEntry, TarError> {
        let path = self.name();
        let kind = match self.type_flag() {
            // The older format marks a directory by a slash.
            0 if path.ends_with(b"/") => EntryKind::Directory,
            // 7 is a contiguous file, S a sparse file of GNU tar.
            0 | b'0' | b'7' | b'S' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::CharDevice,
            b'4' => EntryKind::BlockDevice,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => return Err(TarError::EntryType(char::from(other))),
        };
        let is_device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
        let device = if is_device && self.variant() != Variant::V7 {
            (self.number("devmajor", 329, 8)?, self.number("devminor", 337, 8)?)
        } else {
            (0, 0)
        };
        Ok(TarEntry {
            path,
            kind,
            mode: self.low_bits("mode", 100)? & 0o7777,
            uid: self.low_bits("uid", 108)?,
            gid: self.low_bits("gid", 116)?,
            mtime: Timestamp { sec: self.number("mtime", 136, 12)?, nsec: 0 },
            link: until_nul(&self.0[157..257]).to_vec(),
            device,
            ..TarEntry::empty()
        })
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|byte| *byte == 0).unwrap_or(field.len())]
}
