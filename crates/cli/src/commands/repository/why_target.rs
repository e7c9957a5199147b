//! What `composefs why` is asked about: an object or image, a stream of an OCI image, or a name.

use anyhow::bail;
use libcomposefs_image::Digest;
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::stored::{StoredImage, stream_name};
use libcomposefs_oci::stream::StreamKind;
use libcomposefs_repo::{ImageName, Repository, RepositoryError, StreamTag};

use super::names::NameKind;

/// Returns the object that a text means: a digest in hexadecimal digits, `sha256:` and the digest of a part of an OCI
/// image, a ref, or the name of an OCI image. `None` if the repository has no such part.
pub(super) fn find(repository: &Repository, text: &str, kind: NameKind) -> anyhow::Result<Option<Digest>> {
    if let Ok(digest) = text.parse::<Digest>() {
        if repository.objects().try_stat(&digest).is_ok() {
            return Ok(Some(digest));
        }
        // The same digits name a part of an OCI image, if no object has them.
        return match format!("sha256:{text}").parse() {
            Ok(part) => Ok(Some(stream_of(repository, &part)?.unwrap_or(digest))),
            Err(_) => Ok(Some(digest)),
        };
    }
    if let Ok(part) = text.parse() {
        return Ok(stream_of(repository, &part)?);
    }
    by_name(repository, text, kind).map(Some)
}

/// Returns the object of the stream whose content has a digest: a manifest, a configuration, a layer by its diff ID,
/// or what is kept of a compressed blob.
fn stream_of(repository: &Repository, part: &BlobDigest) -> Result<Option<Digest>, RepositoryError> {
    let kinds = [StreamKind::Manifest, StreamKind::Config, StreamKind::Layer, StreamKind::KeptBlob, StreamKind::Blob];
    for kind in kinds {
        if let Some(object) = repository.stream(&stream_name(kind(*part)))? {
            return Ok(Some(object));
        }
    }
    Ok(None)
}

/// Returns the composefs image of a name.
fn by_name(repository: &Repository, text: &str, kind: NameKind) -> anyhow::Result<Digest> {
    let path = repository.path().display();
    let tag = match (kind, text.parse::<StreamTag>()) {
        (NameKind::Any | NameKind::Oci, Ok(tag)) => repository.resolve_stream_tag(&tag)?.map(|_| tag),
        (NameKind::Ref, _) | (_, Err(_)) => None,
    };
    let reference = match kind {
        NameKind::Any | NameKind::Ref => match text.parse::<ImageName>() {
            Ok(name) => match repository.resolve(&name) {
                Ok(digest) => Some(digest),
                Err(RepositoryError::NoSuchRef { .. }) => repository.cold_image(&name)?,
                Err(error) => return Err(error.into()),
            },
            Err(_) => None,
        },
        NameKind::Oci => None,
    };
    match (tag, reference) {
        (Some(tag), Some(_)) => {
            bail!("{tag} is a ref and an OCI image of {path}: --ref takes the ref, --oci the OCI image")
        }
        (Some(tag), None) => {
            let Some(image) = StoredImage::by_tag(repository, &tag)?.image() else {
                bail!("{tag} has no composefs image: pull it again");
            };
            Ok(image)
        }
        (None, Some(image)) => Ok(image),
        (None, None) => bail!(
            "{text:?} is no digest, and no ref or OCI image of that name is in {path}: expected 64 or 128 hexadecimal \
             digits, sha256: and 64 digits, or a name that `composefs images` lists"
        ),
    }
}
