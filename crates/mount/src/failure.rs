//! One step of a mount, and how it fails.

use libcomposefs_sys::mount::MountError;

use crate::error::Error;

/// A failure on the way. Those of the kernel get their image and the kernel's log at the end.
pub(crate) enum Failure {
    Kernel(MountError),
    Other(Error),
}

impl From<MountError> for Failure {
    fn from(error: MountError) -> Self {
        Failure::Kernel(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Other(error)
    }
}
