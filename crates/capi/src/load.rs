//! Makes nodes of one existing file, or of an image.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use libcomposefs_image::Algorithm;
use libcomposefs_image::Digest;
use libcomposefs_image::erofs::header::{HEADER_LEN, Header, HeaderError};
use libcomposefs_image::erofs::read::{HEAD_LEN, ImageReader, load, said_len};
use libcomposefs_image::tree::{Kind, Timestamp};
use libcomposefs_sys::head_first::{self, At};
use libcomposefs_sys::xattr::{self, Target};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::content::digest_of_fd;
use crate::errno::of_io;
use crate::from_tree::from_tree;
use crate::node::Node;

/// `LCFS_BUILD_*`: what is taken from files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags(u32);

impl Flags {
    pub(crate) const SKIP_XATTRS: u32 = 1;
    pub(crate) const USE_EPOCH: u32 = 2;
    pub(crate) const SKIP_DEVICES: u32 = 4;
    pub(crate) const COMPUTE_DIGEST: u32 = 8;
    pub(crate) const NO_INLINE: u32 = 16;
    pub(crate) const USER_XATTRS: u32 = 32;
    pub(crate) const BY_DIGEST: u32 = 64;
    const ALL: u32 = 127;

    /// # Errors
    ///
    /// `EINVAL` for a bit without meaning, or two that exclude each other.
    pub(crate) fn new(bits: i32) -> Result<Self, Errno> {
        let bits = bits.cast_unsigned();
        let flags = Self(bits);
        if bits & !Self::ALL != 0 || flags.has(Self::SKIP_XATTRS) && flags.has(Self::USER_XATTRS) {
            return Err(Errno::INVAL);
        }
        Ok(flags)
    }

    pub(crate) fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
}

/// The size limit of contents that are kept in the image (`LCFS_RECOMMENDED_INLINE_CONTENT_MAX`).
const INLINE_MAX: u64 = 64;

/// An entry of a directory that was looked at without following it.
pub(crate) struct Entry {
    /// Opened with `O_PATH`: all that is asked is asked of it.
    path: OwnedFd,
    stat: rustix::fs::Stat,
}

impl Entry {
    pub(crate) fn open(dir: BorrowedFd<'_>, name: &CStr) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        let stat = rustix::fs::statat(&path, c"", AtFlags::EMPTY_PATH)?;
        Ok(Self { path, stat })
    }

    pub(crate) fn kind(&self) -> Result<Kind, Errno> {
        Kind::from_mode(self.stat.st_mode).ok_or(Errno::INVAL)
    }

    /// Opens the entry for reading. Only for entries that were found to be a file or directory.
    pub(crate) fn reopen(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(CWD, self.magic_path().as_str(), flags | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    }

    fn magic_path(&self) -> String {
        format!("/proc/self/fd/{}", self.path.as_raw_fd())
    }

    /// A node with what it has, without a name.
    pub(crate) fn node(&self, flags: Flags) -> Result<Rc<Node>, Errno> {
        let (node, stat) = (Node::new(), &self.stat);
        node.mode.set(stat.st_mode);
        node.uid.set(stat.st_uid);
        node.gid.set(stat.st_gid);
        // Its lower half is the kernel's encoding of 32 bits.
        node.rdev.set(stat.st_rdev as u32);
        if !flags.has(Flags::USE_EPOCH) {
            node.mtime.set(Timestamp { sec: stat.st_mtime, nsec: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) });
        }
        match self.kind()? {
            Kind::Regular => {
                node.set_size(stat.st_size.cast_unsigned());
                if takes_content(&node, flags) {
                    from_content(&node, self.reopen(OFlags::NONBLOCK)?.as_fd(), flags)?;
                }
            }
            Kind::Symlink => {
                let target = rustix::fs::readlinkat(&self.path, c"", Vec::new())?;
                node.set_size(target.count_bytes() as u64);
                node.set_payload(Some(&target))?;
            }
            _ => {}
        }
        if !flags.has(Flags::SKIP_XATTRS) {
            self.take_xattrs(&node, flags)?;
        }
        Ok(node)
    }

    fn take_xattrs(&self, node: &Node, flags: Flags) -> Result<(), Errno> {
        let path = std::ffi::CString::new(self.magic_path()).map_err(|_| Errno::INVAL)?;
        let wanted = |name: &[u8]| !flags.has(Flags::USER_XATTRS) || name.starts_with(b"user.");
        let taken = xattr::Reader::default().each(Target::Followed(&path), wanted, |name, value| {
            Ok::<_, std::io::Error>(node.xattrs.borrow_mut().set(name, value)?)
        });
        taken.map_err(|error| of_io(&error))
    }
}

fn takes_content(node: &Node, flags: Flags) -> bool {
    node.size() > 0 && (is_digested(flags) || !flags.has(Flags::NO_INLINE) && node.size() <= INLINE_MAX)
}

fn is_digested(flags: Flags) -> bool {
    flags.has(Flags::COMPUTE_DIGEST) || flags.has(Flags::BY_DIGEST)
}

/// Takes digest, payload and content of a file of the node's size, as the flags say.
pub(crate) fn from_content(node: &Node, file: BorrowedFd<'_>, flags: Flags) -> Result<(), Errno> {
    if !takes_content(node, flags) {
        return Ok(());
    }
    if is_digested(flags) {
        let digest = digest_of_fd(file)?;
        if flags.has(Flags::COMPUTE_DIGEST) {
            node.set_digest(digest);
        } else {
            // By digest alone, the C library forgets a digest that was set before.
            node.clear_digest();
        }
        if flags.has(Flags::BY_DIGEST) {
            let digest = Digest::new(Algorithm::Sha256, &digest).ok_or(Errno::INVAL)?;
            let path = std::ffi::CString::new(digest.object_path()).map_err(|_| Errno::INVAL)?;
            node.set_payload(Some(&path))?;
        }
    }
    if !flags.has(Flags::NO_INLINE) && node.size() <= INLINE_MAX {
        let mut content = Vec::new();
        rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0))?;
        let file = File::from(rustix::io::dup(file)?);
        file.take(INLINE_MAX + 1).read_to_end(&mut content).map_err(|error| of_io(&error))?;
        // It was changed since its size was looked at: what is in the image would be neither.
        if content.len() as u64 != node.size() {
            return Err(Errno::NODATA);
        }
        node.set_content(&content)?;
    }
    Ok(())
}

/// The nodes of an image in memory: all of it, or the root and those of its entries.
///
/// # Errors
///
/// `EINVAL` for what is no image or a damaged one, `ENOTSUP` for a header of another version.
pub(crate) fn from_image(image: &[u8], only: &[&[u8]]) -> Result<Rc<Node>, Errno> {
    header(image)?;
    let reader = ImageReader::new(image).map_err(|_| Errno::INVAL)?;
    from_tree(&load(&reader, only).map_err(|_| Errno::INVAL)?.tree)
}

/// The composefs header an image begins with.
fn header(image: &[u8]) -> Result<Header, Errno> {
    Header::parse(image).map_err(|error| match error {
        HeaderError::Version { .. } => Errno::OPNOTSUPP,
        HeaderError::TooShort { .. } | HeaderError::Magic { .. } => Errno::INVAL,
    })
}

/// The same of a file.
pub(crate) fn header_of(fd: BorrowedFd<'_>) -> Result<Header, Errno> {
    let mut start = [0; HEADER_LEN];
    let got = rustix::io::pread(fd, &mut start, 0)?;
    header(&start[..got])
}

/// Reads the image in a file, independent of its offset, and no more than its header says: a hole of terabytes may
/// follow it. The file is read, not mapped, because another program may cut it short at the same time.
pub(crate) fn whole(fd: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    // What is no image is not read.
    header_of(fd)?;
    let stat = rustix::fs::fstat(fd)?;
    let is_regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    // What is no regular file has a size of 0 there.
    let len = u64::try_from(stat.st_size).ok().filter(|_| is_regular);
    let read = head_first::read(&mut At::new(fd, 0), Vec::new(), len, HEAD_LEN, |head| said_len(head).ok());
    Ok(read.map_err(|error| of_io(&error))?.bytes)
}
