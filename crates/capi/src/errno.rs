//! The error numbers that errors of our own stand for.

use std::io;

use libcomposefs_image::erofs::WriteError;
use libcomposefs_image::tree::{TreeError, XattrError};
use rustix::io::Errno;

/// fs-verity is not enabled, or not supported (`ENOVERITY` of the headers).
pub(crate) const NO_VERITY: Errno = Errno::NOTTY;
/// The digest is another one (`EWRONGVERITY` of the headers).
pub(crate) const WRONG_VERITY: Errno = Errno::ILSEQ;

pub(crate) fn of_io(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(match error.kind() {
        io::ErrorKind::OutOfMemory => Errno::NOMEM,
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Errno::INVAL,
        _ => Errno::IO,
    })
}

pub(crate) fn of_tree(error: &TreeError) -> Errno {
    match error {
        TreeError::ParentNotDirectory => Errno::NOTDIR,
        TreeError::Duplicate(_) => Errno::EXIST,
        TreeError::Xattr(XattrError::Total { .. } | XattrError::Value { .. }) => Errno::RANGE,
        TreeError::TooManyInodes => Errno::NOMEM,
        _ => Errno::INVAL,
    }
}

pub(crate) fn of_write(error: &WriteError) -> Errno {
    match error {
        WriteError::FileTooLarge { .. } | WriteError::ImageTooLarge | WriteError::TargetTooLong { .. } => Errno::FBIG,
        WriteError::MarkerShrinks { .. } | WriteError::RootNid { .. } => Errno::RANGE,
        WriteError::Version { .. } => Errno::INVAL,
    }
}
