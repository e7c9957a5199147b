//! Verifying the objects that images need, on several threads.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::sync::Mutex;

use libcomposefs_content::mutex::{into_inner, lock};
use libcomposefs_content::{Progress, digest_file, digest_pieces};
use libcomposefs_image::digest::Digest;
use libcomposefs_sys::copy::READ_SIZE;

use crate::basedirs::Basedirs;
use crate::object::error::ObjectError;
use crate::object::{Object, VerifiedBy};
use libcomposefs_content::workers;

/// An object named by an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectRef<'t> {
    /// Path of the object below the object directories.
    pub payload: Cow<'t, [u8]>,
    /// Length of the object in bytes.
    pub size: u64,
    /// Digest of the object, if the image records one.
    pub digest: Option<Digest>,
}

/// Result of verifying a list of objects.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Number of objects that were read and have the right digest.
    pub read: u64,
    /// Total bytes of the objects that were read.
    pub bytes: u64,
    /// Number of objects whose fs-verity digest matches, so that the kernel verifies each read.
    pub vouched: u64,
    /// Number of objects without a digest in the image: only their lengths were compared.
    pub without_digest: u64,
    /// The problems found, each with the object's index in the list.
    pub wrong: Vec<(usize, ObjectError)>,
}

/// Contents from this length on are read by all threads together.
const SHARED_MIN: u64 = 16 << 20;

/// Verifies that each object is a regular file with the given length and digest. With `read` every object is read,
/// even if fs-verity reports the right digest. Reports the length of each to `progress` when it is done.
pub fn verify_objects(
    basedirs: &Basedirs,
    needed: &[ObjectRef<'_>],
    read: bool,
    threads: NonZeroUsize,
    progress: &dyn Progress,
) -> VerifyReport {
    let verified: Mutex<VerifyReport> = Mutex::default();
    let work = |index: usize, buffer: &mut Vec<u8>| {
        buffer.resize(READ_SIZE, 0);
        let object = &needed[index];
        let outcome = verify(basedirs, object, read, threads, buffer);
        progress.bytes(object.size);
        let mut verified = lock(&verified);
        match outcome {
            Ok(Some(VerifiedBy::Kernel)) => verified.vouched += 1,
            Ok(Some(VerifiedBy::Hashed)) => {
                verified.read += 1;
                verified.bytes += object.size;
            }
            Ok(None) => verified.without_digest += 1,
            Err(error) => verified.wrong.push((index, error)),
        }
    };
    // Largest first, so that no thread is left alone with a large object at the end.
    let mut order: Vec<usize> = (0..needed.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(needed[*index].size));
    workers::run(threads, work, |sender| order.into_iter().for_each(|index| sender.send(index)));
    let mut verified = into_inner(verified);
    verified.wrong.sort_by_key(|(index, _)| *index);
    verified
}

fn verify(
    basedirs: &Basedirs,
    needed: &ObjectRef<'_>,
    read: bool,
    threads: NonZeroUsize,
    buffer: &mut [u8],
) -> Result<Option<VerifiedBy>, ObjectError> {
    let object = basedirs.open_object(&needed.payload)?;
    object.expect_size(needed.size)?;
    let Some(expected) = needed.digest else { return Ok(None) };
    if !read && object.kernel_vouches(&expected)? {
        return Ok(Some(VerifiedBy::Kernel));
    }
    let found = digest_of(&object, &expected, threads, buffer)?;
    if found == expected {
        return Ok(Some(VerifiedBy::Hashed));
    }
    let (expected, found) = (Box::new(expected), Box::new(found));
    Err(ObjectError::Digest { path: object.path().to_owned(), expected, found })
}

fn digest_of(
    object: &Object,
    expected: &Digest,
    threads: NonZeroUsize,
    buffer: &mut [u8],
) -> Result<Digest, ObjectError> {
    let digest = if object.size() >= SHARED_MIN {
        digest_file(object.as_fd(), expected.algorithm(), threads)
    } else {
        digest_pieces(object.as_fd(), expected.algorithm(), buffer)
    };
    digest.map_err(|source| ObjectError::Io { step: "read", path: object.path().to_owned(), source })
}
