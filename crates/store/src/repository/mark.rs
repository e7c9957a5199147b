//! What is needed: the objects of images and of streams.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use composefs_image::Digest;
use composefs_image::erofs::read::{Reader, load};
use composefs_image::tree::Tree;
use rustix::fs::{Dir, FileType, fstat};

use super::create::objects_of;
use super::digest_set::DigestSet;
use super::links::{Found, read_link};
use super::{Repository, RepositoryError, io_error, layout};

/// What a stream of another program begins with.
const STREAM_MAGIC: &[u8] = b"SplitStream";

/// What is needed, as far as it was looked for.
#[derive(Debug)]
pub(crate) struct Marks {
    /// The objects, those of the images themselves among them.
    pub(crate) objects: DigestSet,
    /// The images.
    pub(crate) images: BTreeSet<Digest>,
    /// Images whose object is there and cannot be read. What they need is not known.
    pub(crate) unreadable: Vec<(Digest, RepositoryError)>,
    /// Images whose object is not there.
    pub(crate) missing: Vec<Digest>,
}

impl Marks {
    pub(crate) fn new(repository: &Repository) -> Self {
        let objects = DigestSet::new(repository.algorithm());
        Self { objects, images: BTreeSet::new(), unreadable: Vec::new(), missing: Vec::new() }
    }

    /// Marks an image and all it needs.
    pub(crate) fn image(&mut self, repository: &Repository, digest: &Digest) {
        if !self.images.insert(*digest) {
            return;
        }
        self.objects.insert(digest);
        match repository.objects_of_image(digest, |object| {
            self.objects.insert(object);
        }) {
            Ok(()) => {}
            Err(error) => match repository.objects.open_object(digest) {
                Ok(None) => self.missing.push(*digest),
                _ => self.unreadable.push((*digest, error)),
            },
        }
    }

    /// Marks all streams and what they need. Their format is another program's: whatever bytes in one are the digest of an
    /// object here count as a reference, at any place.
    pub(crate) fn streams(&mut self, repository: &Repository) -> Result<(), RepositoryError> {
        let mut waiting = repository.streams()?;
        if waiting.is_empty() {
            return Ok(());
        }
        let mut present = DigestSet::new(repository.algorithm());
        for digest in repository.objects.list() {
            present.insert(&digest?);
        }
        let len = repository.algorithm().digest_len();
        while let Some(stream) = waiting.pop() {
            self.objects.insert(&stream);
            let path = repository.objects.path_of(&stream);
            let Some(file) = repository.objects.open_object(&stream)? else { continue };
            let stat = fstat(&file).map_err(io_error("stat", &path))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                continue;
            }
            let mut bytes = Vec::new();
            File::from(file).read_to_end(&mut bytes).map_err(io_error("read", &path))?;
            for found in bytes.windows(len).filter(|window| present.contains_raw(window)) {
                let Some(digest) = Digest::new(repository.algorithm(), found) else { continue };
                if self.objects.insert(&digest) && repository.is_stream(&digest)? {
                    waiting.push(digest);
                }
            }
        }
        Ok(())
    }
}

impl Repository {
    /// Shows each object that an image needs, as often as it does. The image's own digest is checked before.
    pub(crate) fn objects_of_image(
        &self,
        digest: &Digest,
        mut show: impl FnMut(&Digest),
    ) -> Result<(), RepositoryError> {
        let tree = self.tree_of_image(digest)?;
        objects_of(&tree).for_each(|(_, object)| show(&object));
        Ok(())
    }

    /// The tree of an image, whose digest is checked.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::ImageObject`], [`RepositoryError::Image`]
    pub fn tree_of_image(&self, digest: &Digest) -> Result<Tree, RepositoryError> {
        let bytes = self.read_image(digest)?;
        let wrong = |source| RepositoryError::Image { digest: Box::new(*digest), source };
        let reader = Reader::new(&bytes).map_err(wrong)?;
        Ok(load(&reader, &[]).map_err(wrong)?.tree)
    }

    /// The objects of all streams that have a link.
    fn streams(&self) -> Result<Vec<Digest>, RepositoryError> {
        Ok(self.stream_links()?.into_iter().filter_map(|(_, digest)| digest).collect())
    }

    /// The links of streams by their names, with the object that each leads to, if it leads to one.
    pub(crate) fn stream_links(&self) -> Result<Vec<(String, Option<Digest>)>, RepositoryError> {
        let Some(directory) = self.directory(layout::STREAMS)? else { return Ok(Vec::new()) };
        let path = self.path.join(layout::STREAMS);
        let mut streams = Vec::new();
        for entry in Dir::read_from(&directory).map_err(io_error("list", &path))? {
            let entry = entry.map_err(io_error("list", &path))?;
            let name = entry.file_name().to_bytes();
            if let Found::Link(text) = read_link(directory.as_fd(), name).map_err(io_error("read", &path))? {
                let digest = layout::parse_object_link(&text).filter(|d| d.algorithm() == self.algorithm());
                streams.push((String::from_utf8_lossy(name).into_owned(), digest));
            }
        }
        Ok(streams)
    }

    fn is_stream(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        let Some(file) = self.objects.open_object(digest)? else { return Ok(false) };
        let mut head = [0; STREAM_MAGIC.len()];
        Ok(composefs_sys::copy::fill(file.as_fd(), &mut head, 0).is_ok_and(|len| head[..len] == *STREAM_MAGIC))
    }
}
