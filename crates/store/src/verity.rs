//! Enabling and measuring fs-verity on one object.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use libcomposefs_image::digest::{Algorithm, Digest};
use libcomposefs_sys::verity::{Enabled, Measurement, enable, measure};
use rustix::io::Errno;

use crate::error::Error;
use crate::object_dir::ObjectDir;
use crate::policy::ObjectVerity;

/// Block size of all composefs digests.
const BLOCK_SIZE: u32 = 4096;

/// The fs-verity state of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VerityState {
    /// fs-verity is enabled, with the expected digest.
    Right,
    /// fs-verity is enabled, with another digest.
    Wrong,
    /// fs-verity is not enabled.
    No,
}

impl ObjectDir {
    /// Returns true if fs-verity is enabled with this digest, whatever the type of the file. For an existing object
    /// this check is nearly always sufficient.
    pub(crate) fn is_vouched(&self, file: BorrowedFd<'_>, digest: &Digest) -> bool {
        !self.no_verity.load(Ordering::Relaxed)
            && measure(file).is_ok_and(|measurement| match measurement {
                Measurement::Digest(found) => digest_of(found.algorithm, &found.digest) == Some(*digest),
                Measurement::NotEnabled | Measurement::Unsupported | Measurement::Refused(_) => false,
            })
    }

    /// Returns the fs-verity state of a regular file, compared with this digest.
    pub(crate) fn vouched(&self, file: BorrowedFd<'_>, digest: &Digest) -> Result<VerityState, Error> {
        if self.no_verity.load(Ordering::Relaxed) {
            return Ok(VerityState::No);
        }
        match measure(file).map_err(|error| self.object_error("measure", digest, error))? {
            Measurement::Digest(found) if digest_of(found.algorithm, &found.digest) == Some(*digest) => {
                Ok(VerityState::Right)
            }
            Measurement::Digest(_) => Ok(VerityState::Wrong),
            Measurement::NotEnabled => Ok(VerityState::No),
            Measurement::Refused(errno) if self.policy().verity == ObjectVerity::Required => {
                Err(Error::VerityRefused { path: self.path_of(digest), source: errno.into() })
            }
            Measurement::Unsupported | Measurement::Refused(_) => {
                self.no_verity.store(true, Ordering::Relaxed);
                Ok(VerityState::No)
            }
        }
    }

    /// Returns true if fs-verity should be enabled on new objects.
    pub(crate) fn wants_verity(&self) -> bool {
        match self.policy().verity {
            ObjectVerity::Off => false,
            ObjectVerity::Required => true,
            ObjectVerity::IfPossible => !self.no_verity.load(Ordering::Relaxed),
        }
    }

    /// Returns true if fs-verity may be enabled on a new file later. The first call probes the file system.
    pub(crate) fn may_have_verity(&self, file: BorrowedFd<'_>, digest: &Digest) -> Result<bool, Error> {
        if self.wants_verity() && !self.verity_probed.swap(true, Ordering::Relaxed) {
            self.vouched(file, digest)?;
        }
        Ok(self.wants_verity())
    }

    /// Enables fs-verity on a file that is open for reading only, as the policy demands, and compares the digest that
    /// the kernel measures. `is_ours` means that no other process can have the file open for writing.
    ///
    /// # Errors
    ///
    /// fs-verity is required and cannot be enabled, or the kernel measures another digest.
    pub fn seal(&self, file: BorrowedFd<'_>, digest: &Digest, is_ours: bool) -> Result<(), Error> {
        if !self.wants_verity() {
            return Ok(());
        }
        let required = self.policy().verity == ObjectVerity::Required;
        let failed = |source: io::Error| Error::Verity { path: self.path_of(digest), source };
        match enable_patiently(file, digest.algorithm().kernel_number(), is_ours) {
            Ok(Enabled::Now | Enabled::Before) => match self.vouched(file, digest)? {
                VerityState::Right => Ok(()),
                VerityState::Wrong | VerityState::No => {
                    Err(Error::Measured { expected: *digest, measured: measured(file) })
                }
            },
            Ok(Enabled::Unsupported) => {
                self.no_verity.store(true, Ordering::Relaxed);
                if required { Err(failed(Errno::OPNOTSUPP.into())) } else { Ok(()) }
            }
            Err(error) if !required && is_refusal(&error, is_ours) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Returns true if the kernel refuses the request for this file, file system or user, rather than reporting a
/// failure.
fn is_refusal(error: &io::Error, is_ours: bool) -> bool {
    let Some(errno) = Errno::from_io_error(error) else { return false };
    match errno {
        // EINVAL: the file system does not support the block size. ENOPKG: the kernel does not have the algorithm.
        Errno::PERM | Errno::ACCESS | Errno::ROFS | Errno::INVAL | Errno::NOPKG | Errno::NOSYS => true,
        Errno::TXTBSY => !is_ours,
        _ => false,
    }
}

/// Enables fs-verity, retrying on `ETXTBSY`: a child forked by another thread holds our writable descriptor until it
/// calls exec.
fn enable_patiently(file: BorrowedFd<'_>, algorithm: u8, is_ours: bool) -> io::Result<Enabled> {
    let mut tries = if is_ours { 100 } else { 1 };
    loop {
        tries -= 1;
        match enable(file, algorithm, BLOCK_SIZE) {
            Err(error) if tries > 0 && Errno::from_io_error(&error) == Some(Errno::TXTBSY) => {
                std::thread::sleep(Duration::from_millis(2));
            }
            result => return result,
        }
    }
}

/// Returns a measured digest, if composefs uses its algorithm and length.
#[must_use]
pub fn digest_of(algorithm: u16, raw: &[u8]) -> Option<Digest> {
    let algorithm = u8::try_from(algorithm).ok().and_then(Algorithm::from_kernel_number)?;
    Digest::new(algorithm, raw)
}

fn measured(file: BorrowedFd<'_>) -> String {
    match measure(file) {
        Ok(Measurement::Digest(found)) => {
            digest_of(found.algorithm, &found.digest).map_or("an unknown digest".to_owned(), |d| format!("{d:?}"))
        }
        _ => "nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_are_passed_over() {
        for (errno, ours, others) in [
            (Errno::PERM, true, true),
            (Errno::INVAL, true, true),
            (Errno::TXTBSY, false, true),
            (Errno::IO, false, false),
            (Errno::NOSPC, false, false),
        ] {
            assert_eq!(is_refusal(&errno.into(), true), ours, "{errno}");
            assert_eq!(is_refusal(&errno.into(), false), others, "{errno}");
        }
    }
}
