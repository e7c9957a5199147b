//! Attributes of inodes, entries of directories, and numbers of the file system, as replies have them.

use rustix::fs::StatVfs;

use super::number::{put32, put64};

/// The time for which the kernel may use a reply without asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity(u64);

impl Validity {
    /// As long as the mount exists: 2^30 seconds, since the kernel adds the time to its clock.
    pub const FOREVER: Self = Self(1 << 30);
    /// Not at all.
    pub const NONE: Self = Self(0);

    /// A number of seconds.
    #[must_use]
    pub const fn seconds(number: u32) -> Self {
        Self(number as u64)
    }
}

/// Attributes of an inode (`struct fuse_attr`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of stat(2)")]
pub struct Attributes {
    pub ino: u64,
    pub size: u64,
    pub mtime: i64,
    pub mtime_nsec: u32,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u32,
}

impl Attributes {
    /// The bytes that [`put`](Self::put) appends.
    pub const LEN: usize = 88;

    /// Appends the attributes. The times of access and change are the one of modification.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mtime = self.mtime.cast_unsigned();
        for long in [self.ino, self.size, self.size.div_ceil(512), mtime, mtime, mtime] {
            put64(out, long);
        }
        let nsec = self.mtime_nsec;
        for word in [nsec, nsec, nsec, self.mode, self.nlink, self.uid, self.gid, self.rdev, 4096, 0] {
            put32(out, word);
        }
    }

    /// Appends the reply to GETATTR (`struct fuse_attr_out`).
    pub fn put_reply(&self, validity: Validity, out: &mut Vec<u8>) {
        put64(out, validity.0);
        put64(out, 0);
        self.put(out);
    }
}

/// A name that was looked up (`struct fuse_entry_out`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The node of the inode; 0 if no inode has this name.
    pub node: u64,
    /// The attributes of the inode.
    pub attributes: Attributes,
    /// Validity of the name.
    pub validity: Validity,
}

impl Entry {
    /// The bytes that [`put`](Self::put) appends.
    pub const LEN: usize = 40 + Attributes::LEN;

    /// A name that does not exist, which the kernel remembers.
    #[must_use]
    pub fn negative(validity: Validity) -> Self {
        Self { node: 0, attributes: Attributes::default(), validity }
    }

    /// Appends the entry.
    pub fn put(&self, out: &mut Vec<u8>) {
        for long in [self.node, 0, self.validity.0, self.validity.0, 0] {
            put64(out, long);
        }
        self.attributes.put(out);
    }
}

/// Numbers of the file system (`struct fuse_kstatfs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of statvfs(3)")]
pub struct Statistics {
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub bsize: u32,
    pub frsize: u32,
}

impl Statistics {
    /// Returns the numbers of another file system, with this number of inodes.
    #[must_use]
    pub fn of(found: &StatVfs, files: u64) -> Self {
        let word = |number: u64| u32::try_from(number).unwrap_or(4096);
        Self {
            blocks: found.f_blocks,
            bfree: found.f_bfree,
            bavail: found.f_bavail,
            files,
            ffree: 0,
            bsize: word(found.f_bsize),
            frsize: word(found.f_frsize),
        }
    }

    /// Appends the numbers.
    pub fn put(&self, out: &mut Vec<u8>) {
        for long in [self.blocks, self.bfree, self.bavail, self.files, self.ffree] {
            put64(out, long);
        }
        for word in [self.bsize, 255, self.frsize] {
            put32(out, word);
        }
        out.extend_from_slice(&[0; 28]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_the_kernels() {
        let mut out = Vec::new();
        Attributes::default().put(&mut out);
        assert_eq!(out.len(), Attributes::LEN);
        out.clear();
        Entry::negative(Validity::FOREVER).put(&mut out);
        assert_eq!(out.len(), Entry::LEN);
        out.clear();
        Attributes::default().put_reply(Validity::NONE, &mut out);
        assert_eq!(out.len(), 104);
        out.clear();
        Statistics::default().put(&mut out);
        assert_eq!(out.len(), 80);
    }
}
