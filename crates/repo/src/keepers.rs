//! Explanations of why gc keeps an object or image.

use std::path::PathBuf;

use libcomposefs_image::Digest;

use super::stream_graph::{StreamGraph, StreamKeeper};
use super::{Leads, RefName, Repository, RepositoryError};
use crate::lease::reader::LeaseReader;

/// An image that needs an object, or is it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeper {
    /// Digest of the image.
    pub image: Digest,
    /// Names of the image.
    pub names: Vec<RefName>,
    /// Other entries that keep the image: names in the form of other programs, by their paths below the repository.
    pub others: Vec<String>,
    /// Streams that refer to the image. They keep it if they are kept themselves.
    pub streams: Vec<StreamKeeper>,
    /// Path of the first file with this content in the image, and number of such files; `None` for the image itself.
    pub files: Option<(Vec<u8>, u64)>,
    /// Whether a mount or a program has the image open.
    pub in_use: bool,
}

impl Keeper {
    /// Returns whether gc would keep the image at any age.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        let by_stream = self.streams.iter().any(StreamKeeper::is_kept);
        !self.names.is_empty() || !self.others.is_empty() || by_stream || self.in_use
    }
}

/// Reasons to keep an object or image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons {
    /// Whether the repository has an object of this digest.
    pub is_there: bool,
    /// Images that need the object.
    pub images: Vec<Keeper>,
    /// Streams that refer to the object, or are it. They keep it if they are kept themselves.
    pub streams: Vec<StreamKeeper>,
    /// Whether the lease of a running command protects the object.
    pub is_claimed: bool,
    /// Images that could not be read. They may need the object.
    pub unreadable: Vec<Digest>,
}

impl Reasons {
    /// Returns whether gc would keep the object at any age.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        let by_image = self.images.iter().any(Keeper::is_kept);
        let by_stream = self.streams.iter().any(StreamKeeper::is_kept);
        by_image || by_stream || self.is_claimed || !self.unreadable.is_empty()
    }
}

impl Repository {
    /// Finds the reasons why gc keeps an object or image.
    ///
    /// # Errors
    ///
    /// If the repository cannot be read.
    pub fn why(&self, digest: &Digest) -> Result<Reasons, RepositoryError> {
        let mut reasons = Reasons { is_there: self.objects.try_stat(digest).is_ok(), ..Reasons::default() };
        if let Some(mut leases) = LeaseReader::look(&self.dir)? {
            leases.read(|_| {})?;
            reasons.is_claimed = leases.claimed.contains(digest);
        }
        // The reader of this process must not be reported, so it starts after the leases were read.
        let reader = self.reader()?;
        let (refs, links) = (self.refs()?, self.image_links()?);
        let odd: Vec<_> = refs.broken.iter().chain(&links.1).collect();
        reader.protect(&links.0)?;
        let graph = StreamGraph::read(self, &[&links.0[..], &[*digest]].concat())?;
        let (partial, mut partial_refs) = (self.partial_entries()?, self.partial_refs()?);
        let partial: Vec<Digest> = partial.into_iter().filter(|image| links.0.binary_search(image).is_err()).collect();
        partial_refs.retain(|(_, image)| partial.contains(image));
        for image in links.0.iter().chain(&partial).copied() {
            let held = reader.hold(&image);
            // The image may have been removed meanwhile. A partial one has no link.
            if matches!(held, Ok(None)) && !partial.contains(&image) {
                continue;
            }
            let files = if image == *digest {
                None
            } else {
                let Ok(tree) = self.tree_of_image(&image) else {
                    reasons.unreadable.push(image);
                    continue;
                };
                let mut all: Vec<_> = tree.objects().filter(|object| object.digest == *digest).collect();
                all.dedup_by_key(|object| object.inode);
                let Some(first) = all.first() else { continue };
                Some((tree.path_of(first.inode), all.len() as u64))
            };
            // While this process has the image open, it would be reported as in use.
            drop(held);
            let names = refs
                .good
                .iter()
                .chain(&partial_refs)
                .filter(|(_, named)| *named == image)
                .map(|(name, _)| name.clone())
                .collect();
            let leads_here = odd.iter().filter(|entry| entry.leads == Leads::To(image));
            let path =
                |path: &PathBuf| path.strip_prefix(&self.dir.path).unwrap_or(path).to_string_lossy().into_owned();
            let others = leads_here.map(|entry| path(&entry.path)).collect();
            let streams = graph.keepers_of(&image);
            reasons.images.push(Keeper { image, names, others, streams, files, in_use: self.is_open(&image)? });
        }
        reasons.streams = graph.keepers_of(digest);
        Ok(reasons)
    }

    /// Returns whether a stream contains the digest of an object or image, at any offset.
    pub(crate) fn stream_names(&self, stream: &Digest, digest: &Digest) -> Result<bool, RepositoryError> {
        let Ok(Some(stream)) = self.open_stream(stream)? else { return Ok(false) };
        let wanted = digest.as_bytes();
        Ok(!stream.windows(wanted.len(), |window| window == wanted)?.is_empty())
    }
}
