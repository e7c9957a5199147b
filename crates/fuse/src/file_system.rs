//! What a file system answers to the requests of the kernel.

use std::ops::Range;
use std::sync::Arc;

use rustix::io::Errno;

use crate::protocol::{Attributes, Capabilities, DirectoryBuffer, Entry, Statistics, Validity};

/// The answer to OPEN and OPENDIR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Flags, such as [`OPEN_KEEP_CACHE`](crate::protocol::OPEN_KEEP_CACHE).
    pub flags: u32,
}

/// Bytes of a file.
#[derive(Clone, Debug)]
pub enum ReadReply<'s> {
    /// A part of the buffer that was passed to [`ServedFileSystem::read`].
    Buffered(Range<usize>),
    /// Bytes that the file system has in memory.
    Borrowed(&'s [u8]),
    /// A part of a content that the file system keeps for a time.
    Kept(Arc<Vec<u8>>, Range<usize>),
}

/// A read-only file system that never changes.
///
/// A node is a number that the file system chose; the root is [`ROOT_ID`](crate::protocol::ROOT_ID). Nodes stay valid
/// as long as the mount exists.
pub trait ServedFileSystem: Sync {
    /// Returns the capabilities that the session should use.
    fn capabilities(&self) -> Capabilities;

    /// Looks up a name; a name that does not exist is a [negative](Entry::negative) entry.
    ///
    /// # Errors
    ///
    /// The error number that the process gets.
    fn lookup(&self, parent: u64, name: &[u8]) -> Result<Entry, Errno>;

    /// Returns attributes, and how long they are valid.
    ///
    /// # Errors
    ///
    /// The error number that the process gets.
    fn attributes(&self, node: u64) -> Result<(Attributes, Validity), Errno>;

    /// Appends the target of a symlink.
    ///
    /// # Errors
    ///
    /// The error number that the process gets.
    fn read_link(&self, node: u64, out: &mut Vec<u8>) -> Result<(), Errno>;

    /// Opens a file; `ENOSYS` means that no file has to be opened.
    ///
    /// # Errors
    ///
    /// The error number that the process gets.
    fn open(&self, node: u64) -> Result<Opened, Errno>;

    /// Opens a directory; `ENOSYS` means that no directory has to be opened, and that the kernel may keep its names.
    ///
    /// # Errors
    ///
    /// The error number that the process gets.
    fn open_directory(&self, node: u64) -> Result<Opened, Errno>;

    /// Returns up to `size` bytes, less only at the end of the file.
    ///
    /// # Errors
    ///
    /// The error number that the process gets.
    fn read<'s>(&'s self, node: u64, offset: u64, size: u32, buffer: &mut Vec<u8>) -> Result<ReadReply<'s>, Errno>;

    /// Adds names of a directory from a position on, as many as have room.
    ///
    /// # Errors
    ///
    /// The error number that the process gets.
    fn read_directory(&self, node: u64, position: u64, names: &mut DirectoryBuffer<'_>) -> Result<(), Errno>;

    /// Appends the value of an attribute; `ENOSYS` means that no inode has attributes.
    ///
    /// # Errors
    ///
    /// The error number that the process gets, `ENODATA` if there is no such attribute.
    fn xattr(&self, node: u64, name: &[u8], out: &mut Vec<u8>) -> Result<(), Errno>;

    /// Appends the names of the attributes that `user` may see, each with a zero byte; `ENOSYS` as for
    /// [`xattr`](Self::xattr).
    ///
    /// # Errors
    ///
    /// The error number that the process gets.
    fn xattr_names(&self, node: u64, user: u32, out: &mut Vec<u8>) -> Result<(), Errno>;

    /// Returns true if a read of this file may have to wait for long, as for a network. Another thread calls
    /// [`wait_for`](Self::wait_for) then, and reads afterwards. This itself must not wait.
    fn must_wait(&self, _node: u64) -> bool {
        false
    }

    /// Waits until the file can be read at once.
    ///
    /// # Errors
    ///
    /// The error number that the process gets.
    fn wait_for(&self, _node: u64) -> Result<(), Errno> {
        Ok(())
    }

    /// Returns true if a lookup of this name may have to wait for long. Another thread calls [`lookup`](Self::lookup)
    /// then. This itself must not wait.
    fn lookup_must_wait(&self, _parent: u64, _name: &[u8]) -> bool {
        false
    }

    /// Called when the file system is unmounted: calls that wait should return soon.
    fn end(&self) {}

    /// Returns the numbers of the file system.
    ///
    /// # Errors
    ///
    /// The error number that the process gets.
    fn statistics(&self) -> Result<Statistics, Errno>;
}
