//! The blocks of a directory, as a list without an index.

use super::bytes::PutLe as _;
use super::checksum::crc32c;
use super::geometry::BLOCK;

const BLOCK_LEN: usize = BLOCK as usize;
/// Bytes of a block before its checksum.
const ROOM: usize = BLOCK_LEN - 12;

/// Types of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum EntryType {
    Regular = 1,
    Directory = 2,
    CharDevice = 3,
    BlockDevice = 4,
    Fifo = 5,
    Socket = 6,
    Symlink = 7,
}

/// Entries of a directory in the making.
#[derive(Debug)]
pub(super) struct DirectoryBlocks {
    bytes: Vec<u8>,
    /// Offset of the last entry of the last block.
    last: usize,
    /// Offset after it.
    end: usize,
}

impl DirectoryBlocks {
    pub(super) fn new(inode: u32, parent: u32) -> Self {
        let mut blocks = Self { bytes: vec![0; BLOCK_LEN], last: 0, end: 0 };
        blocks.push(b".", inode, EntryType::Directory);
        blocks.push(b"..", parent, EntryType::Directory);
        blocks
    }

    /// Adds an entry. The name has 1 to 255 bytes.
    pub(super) fn push(&mut self, name: &[u8], inode: u32, kind: EntryType) {
        let len = (8 + name.len()).next_multiple_of(4);
        let block = self.bytes.len() - BLOCK_LEN;
        if self.end + len > block + ROOM {
            self.extend_last();
            self.end = self.bytes.len();
            self.bytes.resize(self.end + BLOCK_LEN, 0);
        }
        let at = self.end;
        self.bytes.put32(at, inode);
        self.bytes.put16(at + 4, len as u16);
        self.bytes[at + 6] = name.len() as u8;
        self.bytes[at + 7] = kind as u8;
        self.bytes[at + 8..at + 8 + name.len()].copy_from_slice(name);
        (self.last, self.end) = (at, at + len);
    }

    /// The last entry of a block reaches to the checksum.
    fn extend_last(&mut self) {
        let end = self.bytes.len() - 12;
        self.bytes.put16(self.last + 4, (end - self.last) as u16);
    }

    /// Returns the blocks with their checksums, which continue that of the inode.
    pub(super) fn finish(mut self, seed: u32) -> Vec<u8> {
        self.extend_last();
        for block in self.bytes.chunks_exact_mut(BLOCK_LEN) {
            block.put16(ROOM + 4, 12);
            block[ROOM + 7] = 0xde;
            let checksum = crc32c(seed, &block[..ROOM]);
            block.put32(ROOM + 8, checksum);
        }
        self.bytes
    }
}
