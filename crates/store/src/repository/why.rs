//! What keeps an object or an image.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use composefs_image::Digest;

use super::create::objects_of;
use super::{RefName, Repository, RepositoryError, io_error, layout};

/// An image that needs an object, or is it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeper {
    /// The image.
    pub image: Digest,
    /// Its names. Without any it is kept by what else keeps it, or not for long.
    pub names: Vec<RefName>,
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
        let by_image = self.images.iter().any(|keeper| !keeper.names.is_empty() || keeper.in_use);
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
        if let Some(mut leases) = self.leases_to_look()? {
            leases.read(|_| {})?;
            reasons.is_claimed = leases.claimed.contains(digest);
        }
        let refs = self.refs()?.good;
        for image in self.image_links()?.0 {
            let files = if image == *digest {
                None
            } else {
                let Ok(tree) = self.tree_of_image(&image) else {
                    reasons.unreadable.push(image);
                    continue;
                };
                let mut all = objects_of(&tree).filter(|(_, object)| object == digest).map(|(inode, _)| inode);
                let Some(first) = all.next() else { continue };
                Some((tree.path_of(first), 1 + all.count() as u64))
            };
            let names = refs.iter().filter(|(_, named)| *named == image).map(|(name, _)| name.clone()).collect();
            reasons.images.push(Keeper { image, names, files, in_use: self.is_open(&image)? });
        }
        for (name, stream) in self.stream_links()? {
            let Some(stream) = stream else { continue };
            if stream == *digest || self.stream_names(&stream, digest)? {
                reasons.streams.push(name);
            }
        }
        Ok(reasons)
    }

    fn stream_names(&self, stream: &Digest, digest: &Digest) -> Result<bool, RepositoryError> {
        let path: PathBuf = self.path.join(layout::OBJECTS).join(stream.object_path());
        let Some(file) = self.objects.open_object(stream)? else { return Ok(false) };
        let mut bytes = Vec::new();
        File::from(file).read_to_end(&mut bytes).map_err(io_error("read", path))?;
        Ok(bytes.windows(digest.as_bytes().len()).any(|window| window == digest.as_bytes()))
    }
}
