//! Digests of what callbacks, descriptors and memory give.

use std::os::fd::BorrowedFd;

use libcomposefs_image::verity::Hasher;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_sys::copy::READ_SIZE;
use libcomposefs_sys::verity::{self, Enabled, Measurement};
use rustix::io::Errno;

use crate::errno::{NO_VERITY, WRONG_VERITY, of_io};
use crate::node::DIGEST_LEN;

/// The error number of the C library for a content that cannot be read.
pub(crate) const UNREADABLE: Errno = Errno::NODATA;

/// The digest of a 32-byte algorithm.
pub(crate) type Raw = [u8; DIGEST_LEN];

fn raw(digest: &Digest) -> Raw {
    digest.as_bytes().try_into().expect("a SHA-256 digest has 32 bytes")
}

/// The digest of what `read` gives until it gives nothing more.
///
/// # Errors
///
/// `ENODATA` if it fails.
pub(crate) fn digest_of(mut read: impl FnMut(&mut [u8]) -> Option<usize>) -> Result<Raw, Errno> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let mut len = 0;
        // Whole pieces are hashed without being copied.
        while len < READ_SIZE {
            match read(&mut buffer[len..]) {
                Some(0) => break,
                Some(got) if got <= READ_SIZE - len => len += got,
                _ => return Err(UNREADABLE),
            }
        }
        if len == 0 {
            return Ok(raw(&hasher.finish()));
        }
        hasher.update(&buffer[..len]);
    }
}

/// The digest of what follows the offset of a descriptor, which is moved.
pub(crate) fn digest_of_fd(fd: BorrowedFd<'_>) -> Result<Raw, Errno> {
    digest_of(|buffer| {
        loop {
            match rustix::io::read(fd, &mut *buffer) {
                Err(Errno::INTR) => {}
                answer => return answer.ok(),
            }
        }
    })
}

/// The digest of bytes in memory.
pub(crate) fn digest_of_data(data: &[u8]) -> Raw {
    raw(&libcomposefs_image::verity::digest(Algorithm::Sha256, data))
}

/// The digest that the kernel holds for a file.
///
/// # Errors
///
/// `ENOVERITY` if it has none, `EWRONGVERITY` if it is of another algorithm.
pub(crate) fn measured(fd: BorrowedFd<'_>) -> Result<Raw, Errno> {
    match verity::measure(fd).map_err(|error| of_io(&error))? {
        Measurement::Digest(measured) => measured.digest.try_into().map_err(|_| WRONG_VERITY),
        Measurement::NotEnabled | Measurement::Unsupported => Err(NO_VERITY),
        Measurement::Refused(errno) => Err(errno),
    }
}

/// The digest that the kernel holds for a file, or else that of its content.
pub(crate) fn measured_or_computed(fd: BorrowedFd<'_>) -> Result<Raw, Errno> {
    match measured(fd) {
        Err(NO_VERITY) => {
            rustix::fs::seek(fd, rustix::fs::SeekFrom::Start(0))?;
            digest_of_fd(fd)
        }
        answer => answer,
    }
}

/// Switches fs-verity on; that it is on already is an error.
pub(crate) fn enable(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    const SHA256: u8 = 1;
    match verity::enable(fd, SHA256, 4096).map_err(|error| of_io(&error))? {
        Enabled::Now => Ok(()),
        Enabled::Before => Err(Errno::EXIST),
        Enabled::Unsupported => Err(NO_VERITY),
    }
}
