//! Parts of OCI images that the text of a manifest or configuration names.
//!
//! cfsctl follows these names, and a link may lead to another stream of the same content by now than the table of the
//! manifest: streams are written again when an image is made, and compressed in different ways.

use std::collections::BTreeMap;

use libcomposefs_image::Digest;

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
pub(crate) struct NamedParts(BTreeMap<Vec<u8>, Vec<usize>>);

impl NamedParts {
    pub(crate) fn of(streams: &Streams) -> Self {
        let mut parts: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        // The manifest that another one is about is not a part of it.
        let is_part = |kind: Option<OciStreamKind>| kind.is_some_and(|kind| kind != OciStreamKind::Manifest);
        for (place, link) in streams.links.iter().enumerate().filter(|(_, link)| is_part(link.kind)) {
            let digits = link.name.rsplit(':').next().unwrap_or_default();
            parts.entry(digits.as_bytes().to_vec()).or_default().push(place);
        }
        Self(parts)
    }

    /// Returns the places of the parts that the text in a stream names.
    pub(crate) fn named_by(
        &self,
        repository: &Repository,
        stream: &StreamFile,
        tables: &StreamTables,
    ) -> Result<Vec<usize>, RepositoryError> {
        let mut places = Vec::new();
        if !tables.content.as_ref().is_some_and(|content| PARTS_ARE_NAMED.contains(&content.content_type)) {
            return Ok(places);
        }
        stream.each_digest(tables.objects.clone(), repository.algorithm().digest_len(), |raw| {
            let Some(text) = Digest::new(repository.algorithm(), raw) else { return Ok(()) };
            let Ok(Some(text)) = repository.open_stream(&text)? else { return Ok(()) };
            if text.len() <= TEXT_MAX {
                for digits in text.windows(OCI_DIGITS, |window| self.0.contains_key(window))? {
                    places.extend(self.0.get(digits.as_slice()).into_iter().flatten());
                }
            }
            Ok(())
        })?;
        Ok(places)
    }
}
