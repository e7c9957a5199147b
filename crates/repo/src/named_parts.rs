//! Parts of OCI images that the text of a manifest or configuration names, and those that have the name of a manifest.
//!
//! cfsctl follows these names, and a link may lead to another stream of the same content by now than the table of the
//! manifest: streams are written again when an image is made, and compressed in different ways.

use std::collections::BTreeMap;

use libcomposefs_image::Digest;

use super::broken_ref::LOST_TEXT;
use super::oci_stream_kind::OciStreamKind;
use super::stream_file::StreamFile;
use super::streams::Streams;
use super::{Repository, RepositoryError, StreamTables};

/// Kinds of streams whose content is a text with the digests of other parts of the image.
const PARTS_ARE_NAMED: [[u8; 8]; 2] = [*b"ocimanif", *b"ociconfg"];
/// Number of digits of a SHA-256 digest, which names the content of a stream of an OCI image.
const OCI_DIGITS: usize = 64;
/// Size of the longest manifest or configuration that is read.
const TEXT_MAX: u64 = 4 << 20;

/// Places of the parts of OCI images in [`Streams::links`], by the digits of the digest in the name of their link.
#[derive(Debug)]
pub(crate) struct NamedParts {
    parts: BTreeMap<Vec<u8>, Vec<usize>>,
    /// The places of images of single layers, by the digits of the digest of their manifest.
    layer_images: BTreeMap<Vec<u8>, usize>,
}

/// Returns the digits of the digest in the name of a stream.
fn digits_of(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or_default()
}

impl NamedParts {
    pub(crate) fn of(streams: &Streams) -> Self {
        let mut parts: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        let mut layer_images = BTreeMap::new();
        for (place, link) in streams.links.iter().enumerate() {
            let digits = digits_of(&link.name).as_bytes().to_vec();
            match link.kind {
                // The manifest that another one is about is not a part of it.
                None | Some(OciStreamKind::Manifest) => {}
                // No text names it: it has the digest of its manifest.
                Some(OciStreamKind::LayerImages) => drop(layer_images.insert(digits, place)),
                Some(_) => parts.entry(digits).or_default().push(place),
            }
        }
        Self { parts, layer_images }
    }

    /// Returns the places of the parts that the text in a stream names, and of the images of single layers if the
    /// stream is that of a manifest. `name` is that of the link of the stream. Inside is the reason why the text cannot
    /// be read, so that it may name anything.
    pub(crate) fn named_by(
        &self,
        repository: &Repository,
        name: &str,
        stream: &StreamFile,
        tables: &StreamTables,
    ) -> Result<Result<Vec<usize>, &'static str>, RepositoryError> {
        let mut places = Vec::new();
        if OciStreamKind::of_name(name) == Some(OciStreamKind::Manifest) {
            places.extend(self.layer_images.get(digits_of(name).as_bytes()));
        }
        if !tables.content.as_ref().is_some_and(|content| PARTS_ARE_NAMED.contains(&content.content_type)) {
            return Ok(Ok(places));
        }
        let mut unread = None;
        stream.each_digest(tables.objects.clone(), repository.algorithm().digest_len(), |raw| {
            let Some(digest) = Digest::new(repository.algorithm(), raw) else { return Ok(()) };
            match readable_text(repository, &digest)? {
                Err(found) => unread = Some(found),
                Ok(text) => {
                    for digits in text.windows(OCI_DIGITS, |window| self.parts.contains_key(window))? {
                        places.extend(self.parts.get(digits.as_slice()).into_iter().flatten());
                    }
                }
            }
            Ok(())
        })?;
        Ok(unread.map_or(Ok(places), Err))
    }
}

/// Opens a text of which each digest may be that of a part. Inside is the reason why that cannot be read.
fn readable_text(
    repository: &Repository,
    digest: &Digest,
) -> Result<Result<StreamFile, &'static str>, RepositoryError> {
    Ok(match repository.open_stream(digest)? {
        Ok(Some(text)) if text.len() > TEXT_MAX => Err("has a text of more than 4 MiB: what it names is unknown"),
        Ok(Some(text)) if text.has_digest(digest)? => Ok(text),
        Ok(_) | Err(_) => Err(LOST_TEXT),
    })
}
