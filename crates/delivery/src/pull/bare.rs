//! An image is pulled from a directory of objects, or a repository, behind a server: by its digest, object by object.

use libcomposefs_delta::{Coder, FrameInfo, needed_objects};
use libcomposefs_image::Digest;
use libcomposefs_repo::{RefName, Repository};

use super::jobs::FetchJob;
use super::{DeliveryPullOptions, Pulled, PulledFetch, name_image, read_image};
use crate::remote::Remote;
use crate::{DeliveryError, FileName};

/// Most bytes of an image.
const IMAGE_MAX: u64 = 1 << 30;

/// Pulls an image by its digest, and gives it these names.
///
/// # Errors
///
/// [`DeliveryError::NoImage`] if the remote has the image neither in `images` nor in `objects`.
pub fn pull_digest(
    repository: &Repository,
    remote: &Remote<'_>,
    digest: &Digest,
    names: Vec<RefName>,
    options: &DeliveryPullOptions<'_>,
) -> Result<Pulled, DeliveryError> {
    if digest.algorithm() != repository.algorithm() {
        let (location, digest) = (remote.location(), Box::new(*digest));
        return Err(DeliveryError::Algorithm { location, digest, expected: repository.algorithm() });
    }
    let (file, bytes) = find_image(remote, digest)?;
    let tree = read_image(remote, &file, &bytes, *digest)?.tree;
    let mut wanted = std::collections::HashSet::new();
    let mut jobs = vec![job(file, (*digest, bytes.len() as u64))];
    for object in needed_objects(&tree).into_iter().filter(|object| object.size > 0) {
        if !repository.has_object(&object.digest, object.size)? && wanted.insert(object.digest) {
            jobs.push(job(FileName::Object(object.digest), (object.digest, object.size)));
        }
    }
    if wanted.is_empty() && repository.has_image(digest)? {
        return name_image(repository, *digest, &names);
    }
    drop(bytes);
    let no_bases = |_: &[Digest]| Ok(Vec::new());
    let fetch = PulledFetch { repository, remote, options, digest: *digest, wanted, fallback: &no_bases };
    fetch.run(jobs, names)
}

fn job(file: FileName, object: (Digest, u64)) -> FetchJob {
    let info = FrameInfo { coder: Coder::Stored, length: object.1, objects: vec![object], bases: Vec::new() };
    FetchJob::whole_file(file, info)
}

fn find_image(remote: &Remote<'_>, digest: &Digest) -> Result<(FileName, Vec<u8>), DeliveryError> {
    for file in [FileName::ImageByDigest(*digest), FileName::Object(*digest)] {
        if let Some(found) = remote.patience().access(|| remote.store().read(&file, IMAGE_MAX))? {
            return Ok((file, found.bytes));
        }
    }
    Err(DeliveryError::NoImage { location: remote.location(), digest: Box::new(*digest) })
}
