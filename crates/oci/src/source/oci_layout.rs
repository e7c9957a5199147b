//! An OCI image layout: `index.json` and blobs by digest.

use std::io::Read;

use super::{ImageSource, RootDocument, SourceError, SourceFiles, read_file};
use crate::BlobDigest;
use crate::manifest::{BlobRef, DOCUMENT_MAX, Document, IndexEntry};

/// The annotations by which tools name an image in `index.json`.
const NAMES: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];

/// An image in a layout.
#[derive(Debug)]
pub struct OciLayout<F> {
    files: F,
    /// The transport and path, for messages.
    described: String,
    /// The name or digest of the image; `None` if the layout has only one.
    image: Option<String>,
}

impl<F: SourceFiles> OciLayout<F> {
    /// Names an image in a layout: by a name in `index.json`, by the digest of its manifest, or the only one.
    pub fn new(files: F, described: String, image: Option<String>) -> Self {
        Self { files, described, image }
    }

    fn malformed(&self, error: crate::manifest::ManifestError) -> SourceError {
        SourceError::Manifest { what: format!("index.json of {}", self.described), error }
    }

    /// Finds the entry of the image in the index.
    fn find<'e>(&self, entries: &'e [IndexEntry]) -> Result<&'e IndexEntry, SourceError> {
        let names = |entry: &IndexEntry| -> Vec<String> {
            NAMES.iter().filter_map(|key| entry.blob.annotations.get(*key).cloned()).collect()
        };
        let no_image = |what: &str| {
            let all: Vec<String> = entries.iter().flat_map(names).collect();
            let all = if all.is_empty() { "it has no names".to_owned() } else { format!("it has {}", all.join(", ")) };
            SourceError::NoImage(format!("{}: {what}; {all}", self.described))
        };
        let Some(image) = &self.image else {
            return match entries {
                [only] => Ok(only),
                [] => Err(SourceError::NoImage(format!("{}: the layout has no image", self.described))),
                _ => Err(no_image("the layout has several images, so that a name is needed after the path")),
            };
        };
        let digest: Option<BlobDigest> = image.strip_prefix('@').and_then(|digest| digest.parse().ok());
        let found = entries.iter().find(|entry| match digest {
            Some(digest) => entry.blob.digest == digest,
            None => names(entry).contains(image),
        });
        found.ok_or_else(|| no_image(&format!("no image is called {image:?}")))
    }
}

impl<F: SourceFiles> ImageSource for OciLayout<F> {
    fn describe(&self) -> String {
        match &self.image {
            Some(image) if image.starts_with('@') => format!("{}{image}", self.described),
            Some(image) => format!("{}:{image}", self.described),
            None => self.described.clone(),
        }
    }

    fn root(&self) -> Result<RootDocument, SourceError> {
        let raw = read_file(&self.files, "index.json", DOCUMENT_MAX)?;
        let document = Document::parse(raw, None).map_err(|error| self.malformed(error))?;
        let Document::Index(entries) = document else {
            return Err(SourceError::NoImage(format!("index.json of {} is no index", self.described)));
        };
        let BlobRef { digest, media_type, .. } = &self.find(&entries)?.blob;
        let raw = read_file(&self.files, &blob_path(digest), DOCUMENT_MAX)?;
        Ok(RootDocument { raw, media_type: Some(media_type.clone()), digest: Some(*digest) })
    }

    fn manifest(&self, blob: &BlobRef) -> Result<Vec<u8>, SourceError> {
        read_file(&self.files, &blob_path(&blob.digest), DOCUMENT_MAX)
    }

    fn blob(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send + '_>, SourceError> {
        let path = blob_path(&blob.digest);
        let (file, _) = self.files.open(&path).map_err(|source| SourceError::Io { path, source })?;
        Ok(file)
    }
}

fn blob_path(digest: &BlobDigest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
