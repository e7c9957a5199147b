//! Setting owner, xattrs, mode and time of a file. The order matters: chown clears the set-user-ID bit and
//! capabilities, and setxattr needs write permission.

use std::ffi::CString;
use std::io;
use std::os::fd::BorrowedFd;

use libcomposefs_image::tree::{InodeId, Kind, Timestamp};
use libcomposefs_sys::xattr::{Target, entry_path, set};
use rustix::fs::{
    AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, chmodat, chownat, fchmod, fchown, futimens, utimensat,
};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use super::context::ExtractContext;
use super::error::FileError;

/// The file whose metadata is set.
#[derive(Clone, Copy, Debug)]
pub(super) enum MetadataTarget<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A file that cannot be opened, by its name in the staging directory.
    Named(BorrowedFd<'a>, &'a str),
}

/// The set-user-ID and set-group-ID bits, which grant the rights of the owner.
const SET_ID: u32 = 0o6000;

impl ExtractContext<'_> {
    /// Sets the metadata of a new file to that of the inode.
    pub(super) fn give_metadata(&self, subject: MetadataTarget<'_>, id: InodeId) -> Result<(), FileError> {
        let inode = self.tree.inode(id);
        let is_owned = self.give_owner(subject, id);
        self.give_xattrs(subject, id);
        if inode.kind() != Kind::Symlink {
            let mode = inode.mode() & if is_owned { 0o7777 } else { 0o7777 & !SET_ID };
            let mode = Mode::from_raw_mode(mode as _);
            let changed = match subject {
                MetadataTarget::Open(file) => fchmod(file, mode),
                MetadataTarget::Named(directory, name) => chmodat(directory, name, mode, AtFlags::empty()),
            };
            changed.map_err(FileError::io("set the mode of"))?;
        }
        let times = times(inode.mtime());
        let timed = match subject {
            MetadataTarget::Open(file) => futimens(file, &times),
            MetadataTarget::Named(directory, name) => utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW),
        };
        timed.map_err(FileError::io("set the time of"))
    }

    /// Sets the owner. Returns true if the file has the right owner then.
    fn give_owner(&self, subject: MetadataTarget<'_>, id: InodeId) -> bool {
        let inode = self.tree.inode(id);
        let (uid, gid) = (inode.uid(), inode.gid());
        let given = if self.gives_owners {
            // `chown` takes this number as "do not change".
            let is_number = uid != u32::MAX && gid != u32::MAX;
            if is_number { chown(subject, Uid::from_raw(uid), Gid::from_raw(gid)) } else { Err(Errno::INVAL) }
        } else if (uid, gid) == (geteuid().as_raw(), getegid().as_raw()) {
            Ok(())
        } else {
            Err(Errno::PERM)
        };
        let Err(errno) = given else { return true };
        if self.options.owners == super::Owners::IfRoot {
            self.outcome().owners.note(|| self.path_of(id), || io::Error::from(errno).to_string());
        }
        false
    }

    fn give_xattrs(&self, subject: MetadataTarget<'_>, id: InodeId) {
        let inode = self.tree.inode(id);
        if inode.xattrs().len() == 0 {
            return;
        }
        let mut path = Vec::new();
        if let MetadataTarget::Named(directory, name) = subject {
            let name = CString::new(name).expect("names of our own hold no NUL");
            entry_path(directory, &name, &mut path);
        }
        let path = CString::from_vec_with_nul(path).unwrap_or_default();
        let target = match subject {
            MetadataTarget::Open(file) => Target::File(file),
            MetadataTarget::Named(..) => Target::Path(&path),
        };
        for xattr in inode.xattrs() {
            // Names of xattrs in a tree have no NUL.
            let name = CString::new(xattr.name).unwrap_or_default();
            if let Err(error) = set(target, &name, xattr.value) {
                let mut outcome = self.outcome();
                let left_out = outcome.xattrs.entry(xattr.name.to_vec()).or_default();
                left_out.note(|| self.path_of(id), || error.to_string());
            }
        }
    }
}

fn chown(subject: MetadataTarget<'_>, uid: Uid, gid: Gid) -> rustix::io::Result<()> {
    match subject {
        MetadataTarget::Open(file) => fchown(file, Some(uid), Some(gid)),
        MetadataTarget::Named(directory, name) => {
            chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        }
    }
}

/// Returns the mtime to set. The atime, which images do not have, is not changed.
fn times(mtime: Timestamp) -> Timestamps {
    const SECOND: u32 = 1_000_000_000;
    // The nanoseconds in an image may exceed a second.
    let sec = mtime.sec.saturating_add((mtime.nsec / SECOND).into());
    let last_modification = Timespec { tv_sec: sec, tv_nsec: (mtime.nsec % SECOND).into() };
    Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification }
}
