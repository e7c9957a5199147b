//! The entries of a directory.

use super::content::Flat;
use super::error::{Defect, ReadError};
use super::reader::{ImageReader, RawInode};
use crate::display::shown;
use crate::erofs::constants::BLOCK;
use crate::erofs::dirent::{DIRENT_LEN, Dirent};
use crate::tree::{Kind, MAX_NAME};

/// A name of a directory as the image has it, `.` and `..` among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEntry<'a> {
    /// The name: 1 to 255 bytes without slash and NUL.
    pub name: &'a [u8],
    /// The number of the inode that the name leads to.
    pub nid: u64,
    /// The inode's type, as `FT_*` in `include/linux/fs_types.h`. Not compared with the inode.
    pub file_type: u8,
    /// The offset of the entry in the file.
    pub offset: u64,
    /// The offset of the name in the file.
    pub name_offset: u64,
}

/// The entries of a directory in the order of the image. Ends at the first that is wrong, unless it is to go on.
#[derive(Clone, Debug)]
pub struct RawEntries<'a> {
    inode: RawInode,
    content: Flat<'a>,
    /// The number of chunks of `content` that were read.
    taken: usize,
    chunk: Chunk<'a>,
    next: usize,
    goes_on: bool,
}

/// Up to a block of dirents and their names.
#[derive(Clone, Copy, Debug, Default)]
struct Chunk<'a> {
    bytes: &'a [u8],
    offset: u64,
    count: usize,
}

/// The bits of a position that count entries of one block, which has 341 at most.
const POSITION_BITS: u32 = 12;

const DIRENT: usize = DIRENT_LEN as usize;

impl<'a> ImageReader<'a> {
    /// The entries of a directory; none of anything else.
    pub fn entries(&self, inode: &RawInode) -> Result<RawEntries<'a>, ReadError> {
        let content = if inode.kind() == Kind::Directory { self.flat_content(inode)? } else { Flat::default() };
        Ok(RawEntries { inode: *inode, content, taken: 0, chunk: Chunk::default(), next: 0, goes_on: false })
    }

    /// The entries of a directory from a position on that [`RawEntries::position`] returned. Any other number leads to
    /// some entry, or to the end.
    pub fn entries_from(&self, inode: &RawInode, position: u64) -> Result<RawEntries<'a>, ReadError> {
        let mut entries = self.entries(inode)?;
        let taken = usize::try_from(position >> POSITION_BITS).unwrap_or(usize::MAX);
        if taken >= entries.chunk_count() {
            entries.taken = entries.chunk_count();
            return Ok(entries);
        }
        entries.chunk = entries.chunk(taken)?;
        entries.taken = taken + 1;
        entries.next = ((position & ((1 << POSITION_BITS) - 1)) as usize).min(entries.chunk.count);
        Ok(entries)
    }

    /// The entry of this name in a directory, found as the kernel finds it: by halves, trusting the order.
    pub fn lookup(&self, inode: &RawInode, name: &[u8]) -> Result<Option<RawEntry<'a>>, ReadError> {
        let entries = self.entries(inode)?;
        let (mut low, mut high) = (0, entries.chunk_count());
        while low < high {
            let middle = low + (high - low) / 2;
            let chunk = entries.chunk(middle)?;
            let (first, last) = (chunk.entry(inode, 0)?, chunk.entry(inode, chunk.count.saturating_sub(1))?);
            if name < first.name {
                high = middle;
            } else if name > last.name {
                low = middle + 1;
            } else {
                return chunk.find(inode, name);
            }
        }
        Ok(None)
    }
}

impl<'a> RawEntries<'a> {
    /// Returns the position after the last entry that was returned: a number above 0 that grows from entry to entry.
    #[must_use]
    pub fn position(&self) -> u64 {
        (self.taken.saturating_sub(1) as u64) << POSITION_BITS | self.next as u64
    }

    /// Returns an iterator without entries.
    pub(super) fn none(inode: &RawInode) -> Self {
        Self { inode: *inode, content: Flat::default(), taken: 0, chunk: Chunk::default(), next: 0, goes_on: false }
    }

    fn chunk_count(&self) -> usize {
        let block = BLOCK as usize;
        self.content.blocks.len().div_ceil(block) + usize::from(!self.content.tail.is_empty())
    }

    fn chunk(&self, index: usize) -> Result<Chunk<'a>, ReadError> {
        let block = BLOCK as usize;
        let Flat { blocks, blocks_offset, tail, tail_offset } = self.content;
        let (bytes, offset) = match blocks.chunks(block).nth(index) {
            Some(bytes) => (bytes, blocks_offset + (index * block) as u64),
            None => (tail, tail_offset),
        };
        Chunk::new(&self.inode, bytes, offset)
    }
}

impl<'a> Iterator for RawEntries<'a> {
    type Item = Result<RawEntry<'a>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.chunk.count {
            if self.taken == self.chunk_count() {
                return None;
            }
            let chunk = self.chunk(self.taken);
            self.taken += 1;
            match chunk {
                Ok(chunk) => (self.chunk, self.next) = (chunk, 0),
                Err(error) => return Some(Err(self.stop(error))),
            }
        }
        let entry = self.chunk.entry(&self.inode, self.next);
        self.next += 1;
        Some(entry.map_err(|error| self.stop(error)))
    }
}

impl RawEntries<'_> {
    /// Passes over what is wrong: to an entry's neighbour, or to the next block of them.
    pub(in crate::erofs) fn going_on(self) -> Self {
        Self { goes_on: true, ..self }
    }

    fn stop(&mut self, error: ReadError) -> ReadError {
        if self.goes_on {
            return error;
        }
        self.taken = self.chunk_count();
        self.next = self.chunk.count;
        error
    }
}

impl<'a> Chunk<'a> {
    fn new(inode: &RawInode, bytes: &'a [u8], offset: u64) -> Result<Self, ReadError> {
        let Some(first) = bytes.first_chunk() else {
            return Err(inode.error(Defect::DirectoryTooShort(bytes.len() as u64), offset));
        };
        let first = Dirent::parse(first).name_offset;
        let start = usize::from(first);
        if start == 0 || start % DIRENT != 0 || start > bytes.len() {
            return Err(inode.error(Defect::FirstName { offset: first, len: bytes.len() as u64 }, offset + 8));
        }
        Ok(Self { bytes, offset, count: start / DIRENT })
    }

    fn dirent(&self, index: usize) -> Option<Dirent> {
        Some(Dirent::parse(self.bytes.get(index * DIRENT..)?.first_chunk()?))
    }

    /// An entry of the chunk; `index` is below `count`.
    fn entry(&self, inode: &RawInode, index: usize) -> Result<RawEntry<'a>, ReadError> {
        let offset = self.offset + (index * DIRENT) as u64;
        let len = self.bytes.len() as u64;
        let Some(dirent) = self.dirent(index) else {
            return Err(inode.error(Defect::DirectoryTooShort(len), offset));
        };
        let start = usize::from(dirent.name_offset);
        let end = if index + 1 < self.count {
            self.dirent(index + 1).map_or(0, |next| usize::from(next.name_offset))
        } else {
            let rest = self.bytes.get(start..).unwrap_or_default();
            start + memchr::memchr(0, rest).unwrap_or(rest.len())
        };
        let name = self.bytes.get(start..end).filter(|_| start >= self.count * DIRENT);
        let outside = Defect::NameOutside { start: start as u64, end: end as u64, len };
        let name = name.ok_or_else(|| inode.error(outside, offset + 8))?;
        let name_offset = self.offset + start as u64;
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(inode.error(Defect::NameLength(name.len() as u64), name_offset));
        }
        if memchr::memchr2(0, b'/', name).is_some() {
            return Err(inode.error(Defect::NameByte(shown(name)), name_offset));
        }
        Ok(RawEntry { name, nid: dirent.nid, file_type: dirent.file_type, offset, name_offset })
    }

    fn find(&self, inode: &RawInode, name: &[u8]) -> Result<Option<RawEntry<'a>>, ReadError> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.entry(inode, middle)?;
            match name.cmp(entry.name) {
                std::cmp::Ordering::Less => high = middle,
                std::cmp::Ordering::Greater => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(Some(entry)),
            }
        }
        Ok(None)
    }
}
