//! The attributes of an image's root directory, as a directory has them on disk.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use libcomposefs_image::tree::{Inode, Timestamp};
use libcomposefs_sys::xattr::{Reader, Target, set};
use rustix::fs::{Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, fchmod, fchown, fremovexattr, fstat, futimens};
use rustix::io::Errno;

/// Prefix of the attributes that overlayfs reads. One of the tree is stored with [`ESCAPED`] instead.
const OVERLAY: &[u8] = b"trusted.overlay.";
/// Prefix that overlayfs shows as [`OVERLAY`].
const ESCAPED: &[u8] = b"trusted.overlay.overlay.";
/// The label, which the kernel gives to a file whether it is asked to or not.
const LABEL: &CStr = c"security.selinux";
const SECOND: u32 = 1_000_000_000;

/// Mode, owner, time and extended attributes of a root directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RootAttributes {
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, u32),
    xattrs: BTreeMap<CString, Vec<u8>>,
}

impl RootAttributes {
    pub(super) fn of(root: &Inode<'_>) -> Self {
        let Timestamp { sec, nsec } = root.mtime();
        let stored = |name: &[u8]| match name.strip_prefix(OVERLAY) {
            Some(rest) => [ESCAPED, rest].concat(),
            None => name.to_vec(),
        };
        Self {
            mode: root.mode() & 0o7777,
            owner: (root.uid(), root.gid()),
            // The nanoseconds in an image may exceed a second.
            mtime: (sec.saturating_add((nsec / SECOND).into()), nsec % SECOND),
            xattrs: root
                .xattrs()
                // Names of xattrs in a tree have no NUL.
                .filter_map(|xattr| Some((CString::new(stored(xattr.name)).ok()?, xattr.value.to_vec())))
                .collect(),
        }
    }

    /// Gives the attributes to a directory. An access list may change the mode, so the mode comes after it.
    pub(super) fn give(&self, directory: &OwnedFd) -> io::Result<()> {
        let (uid, gid) = self.owner;
        // `chown` takes this number as "do not change".
        if uid == u32::MAX || gid == u32::MAX {
            return Err(Errno::INVAL.into());
        }
        fchown(directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        for name in xattrs_of(directory)?.keys().filter(|name| !self.xattrs.contains_key(*name)) {
            // An access list that the directory above passes on.
            if name.as_c_str() != LABEL {
                fremovexattr(directory, name.as_c_str())?;
            }
        }
        for (name, value) in &self.xattrs {
            set(Target::File(directory.as_fd()), name, value)?;
        }
        fchmod(directory, Mode::from_raw_mode(self.mode as _))?;
        let (sec, nsec) = self.mtime;
        let last_modification = Timespec { tv_sec: sec, tv_nsec: nsec.into() };
        let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        Ok(futimens(directory, &Timestamps { last_access, last_modification })?)
    }

    /// Returns true if a directory has the attributes.
    pub(super) fn are_of(&self, directory: &OwnedFd) -> io::Result<bool> {
        let stat = fstat(directory)?;
        let mut xattrs = xattrs_of(directory)?;
        if !self.xattrs.contains_key(LABEL) {
            xattrs.remove(LABEL);
        }
        let found = Self {
            mode: stat.st_mode & 0o7777,
            owner: (stat.st_uid, stat.st_gid),
            mtime: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or_default()),
            xattrs,
        };
        Ok(found == *self)
    }
}

fn xattrs_of(directory: &OwnedFd) -> io::Result<BTreeMap<CString, Vec<u8>>> {
    let mut found = BTreeMap::new();
    Reader::default().each::<io::Error>(
        Target::File(directory.as_fd()),
        |_| true,
        |name, value| {
            found.insert(name.to_owned(), value.to_vec());
            Ok(())
        },
    )?;
    Ok(found)
}
