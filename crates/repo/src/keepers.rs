//! What keeps an object or an image.

use std::path::PathBuf;

use libcomposefs_image::Digest;

use super::{Leads, RefName, Repository, RepositoryError, layout};
use crate::lease::reader::LeaseReader;

/// An image that needs an object, or is it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeper {
    /// The image.
    pub image: Digest,
    /// Its names.
    pub names: Vec<RefName>,
    /// What else keeps it: names in the form of other programs, and streams, by their paths below the repository.
    pub others: Vec<String>,
    /// Paths of files in it with this content: the first, and how many; `None` for the image itself.
    pub files: Option<(Vec<u8>, u64)>,
    /// Whether a mount or a program has the image open.
    pub in_use: bool,
}

/// What keeps something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons {
    /// Whether there is an object of this digest.
    pub is_there: bool,
    /// Images.
    pub images: Vec<Keeper>,
    /// Streams, by name.
    pub streams: Vec<String>,
    /// Whether a command at work claims it.
    pub is_claimed: bool,
    /// Images that could not be read: they may need it.
    pub unreadable: Vec<Digest>,
}

impl Reasons {
    /// Whether gc would leave it, whatever its age.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        let by_image =
            self.images.iter().any(|keeper| !keeper.names.is_empty() || !keeper.others.is_empty() || keeper.in_use);
        by_image || self.is_claimed || !self.streams.is_empty() || !self.unreadable.is_empty()
    }
}

impl Repository {
    /// Finds out what keeps an object or an image from gc.
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
        // Only now: what this process claims itself is nothing to tell.
        let reader = self.reader()?;
        let (refs, links, streams) = (self.refs()?, self.image_links()?, self.streams()?);
        let odd: Vec<_> = refs.broken.iter().chain(&links.1).collect();
        reader.protect(&links.0)?;
        for image in links.0 {
            let held = reader.hold(&image);
            // It may have been removed meanwhile.
            if matches!(held, Ok(None)) {
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
            // One that is open here would be told as being in use.
            drop(held);
            let names = refs.good.iter().filter(|(_, named)| *named == image).map(|(name, _)| name.clone()).collect();
            let leads_here = odd.iter().filter(|entry| entry.leads == Leads::To(image));
            let path =
                |path: &PathBuf| path.strip_prefix(&self.dir.path).unwrap_or(path).to_string_lossy().into_owned();
            let mut others: Vec<String> = leads_here.map(|entry| path(&entry.path)).collect();
            for (name, stream) in &streams.links {
                if self.stream_names(stream, &image)? {
                    others.push(format!("{}/{name}", layout::STREAMS));
                }
            }
            reasons.images.push(Keeper { image, names, others, files, in_use: self.is_open(&image)? });
        }
        for (name, stream) in streams.links {
            if stream == *digest || self.stream_names(&stream, digest)? {
                reasons.streams.push(name);
            }
        }
        Ok(reasons)
    }

    /// Whether the digest of an object or image is in a stream, at any place.
    pub(crate) fn stream_names(&self, stream: &Digest, digest: &Digest) -> Result<bool, RepositoryError> {
        let Ok(Some(stream)) = self.open_stream(stream)? else { return Ok(false) };
        let wanted = digest.as_bytes();
        Ok(!stream.windows(wanted.len(), |window| window == wanted)?.is_empty())
    }
}
