//! Whether all objects that images need are there and right, by all threads.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use libcomposefs_content::{Progress, digest_file, digest_pieces};
use libcomposefs_image::digest::Digest;
use libcomposefs_sys::copy::READ_SIZE;

use crate::basedirs::Basedirs;
use crate::object::error::ObjectError;
use crate::object::{Object, VerifiedBy};
use libcomposefs_content::workers;

/// An object that an image names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectRef<'t> {
    /// Its path below the object directories.
    pub payload: Cow<'t, [u8]>,
    /// Its length.
    pub size: u64,
    /// Its digest, if the image says one.
    pub digest: Option<Digest>,
}

/// What came of looking at objects.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// How many were read, and had their digest.
    pub read: u64,
    /// The bytes of those.
    pub bytes: u64,
    /// For how many the kernel vouches: fs-verity is on with their digest.
    pub vouched: u64,
    /// How many have no digest in the image: only their lengths were compared.
    pub without_digest: u64,
    /// What is wrong, by the object's place in the list.
    pub wrong: Vec<(usize, ObjectError)>,
}

/// Contents from this length on are read by all threads together.
const SHARED_MIN: u64 = 16 << 20;

/// Looks at objects: each is to be a regular file of its length, and to hold what its digest says. With `read` all are
/// read, also those that the kernel vouches for. `progress` is told the length of each when it is done.
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
        let mut verified = verified.lock().unwrap_or_else(PoisonError::into_inner);
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
    // The largest first: at the end no thread has much to do that others cannot help with.
    let mut order: Vec<usize> = (0..needed.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(needed[*index].size));
    workers::run(threads, work, |sender| order.into_iter().for_each(|index| sender.send(index)));
    let mut verified = verified.into_inner().unwrap_or_else(PoisonError::into_inner);
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
