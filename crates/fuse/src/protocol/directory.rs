//! The names of a directory, as many as have room in a reply.

use super::attributes::Entry;
use super::number::{put32, put64};

/// One name of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryEntry<'n> {
    /// The name.
    pub name: &'n [u8],
    /// Number of the inode.
    pub ino: u64,
    /// Type of the inode, as `DT_*`.
    pub file_type: u8,
    /// The position after the name.
    pub position: u64,
}

/// A reply to READDIR or READDIRPLUS in the making.
#[derive(Debug)]
pub struct DirectoryBuffer<'o> {
    out: &'o mut Vec<u8>,
    end: usize,
    plus: bool,
}

/// The fixed part of `struct fuse_dirent`.
const HEAD_LEN: usize = 24;

impl<'o> DirectoryBuffer<'o> {
    /// Begins a reply of at most `size` bytes.
    #[must_use]
    pub fn new(out: &'o mut Vec<u8>, size: usize, plus: bool) -> Self {
        let end = out.len().saturating_add(size);
        Self { out, end, plus }
    }

    /// Returns true if each name needs the attributes of its inode.
    #[must_use]
    pub fn wants_entries(&self) -> bool {
        self.plus
    }

    /// Returns true if a name of this length has room.
    #[must_use]
    pub fn has_room(&self, name_len: usize) -> bool {
        let entry_len = if self.plus { Entry::LEN } else { 0 };
        self.out.len() + entry_len + (HEAD_LEN + name_len).next_multiple_of(8) <= self.end
    }

    /// Appends a name, and returns false if it has no room. Without `entry`, the kernel does not remember the inode.
    pub fn add(&mut self, name: &DirectoryEntry<'_>, entry: Option<&Entry>) -> bool {
        if !self.has_room(name.name.len()) {
            return false;
        }
        if self.plus {
            match entry {
                Some(entry) => entry.put(self.out),
                None => self.out.extend_from_slice(&[0; Entry::LEN]),
            }
        }
        put64(self.out, name.ino);
        put64(self.out, name.position);
        put32(self.out, u32::try_from(name.name.len()).unwrap_or(u32::MAX));
        put32(self.out, name.file_type.into());
        self.out.extend_from_slice(name.name);
        let padding = name.name.len().next_multiple_of(8) - name.name.len();
        self.out.extend_from_slice(&[0; 8][..padding]);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fill_the_room_and_no_more() {
        for plus in [false, true] {
            let mut out = vec![0; 16];
            let mut buffer = DirectoryBuffer::new(&mut out, 400, plus);
            let mut count = 0;
            while buffer.add(&DirectoryEntry { name: b"123456789", ino: 3, file_type: 8, position: 1 }, None) {
                count += 1;
            }
            let each = if plus { 128 + 40 } else { 40 };
            assert_eq!((count, out.len()), (400 / each, 16 + 400 / each * each));
        }
    }
}
