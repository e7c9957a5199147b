//! Objects of the repository and metadata of the image, as a disk gets them.

use std::io;

use libcomposefs_image::Digest;
use libcomposefs_image::tree::Inode;
use libcomposefs_repo::{Repository, RepositoryError};
use libcomposefs_store::{Object, ObjectError};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use crate::error::DiskError;
use crate::ext4::{InodeAttributes, InodeTime};

/// Opens an object of a repository; a missing one is an error.
pub(crate) fn open_object(repository: &Repository, digest: &Digest) -> Result<Object, DiskError> {
    let path = repository.objects().path_of(digest);
    let failed = |step, source: io::Error| ObjectError::Io { step, path: path.clone(), source };
    let opened = repository.objects().open_object(digest).map_err(RepositoryError::from)?;
    let file = opened.ok_or_else(|| failed("open", Errno::NOENT.into()))?;
    let stat = fstat(&file).map_err(|errno| failed("stat", errno.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(failed("read", io::Error::other("it is not a regular file")).into());
    }
    Ok(Object::new(file, path, &stat))
}

/// Returns the metadata of an inode of the image.
pub(crate) fn attributes<'t>(inode: &Inode<'t>) -> InodeAttributes<'t> {
    let mtime = inode.mtime();
    InodeAttributes {
        mode: (inode.mode() & 0o7777) as u16,
        uid: inode.uid(),
        gid: inode.gid(),
        time: InodeTime { sec: mtime.sec, nsec: mtime.nsec },
        xattrs: inode.xattrs().map(|xattr| (xattr.name, xattr.value)).collect(),
    }
}

/// Returns a function that adds the path of the image to an error about its metadata.
pub(crate) fn at(path: impl Into<String>) -> impl FnOnce(DiskError) -> DiskError {
    move |error| match error {
        DiskError::State { reason, .. } => DiskError::State { path: path.into(), reason },
        error => error,
    }
}
