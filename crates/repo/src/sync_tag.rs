//! OCI images are copied from another repository, by their tags.

use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::path::Path;

use libcomposefs_content::{Progress, SourceFile};
use libcomposefs_image::Digest;
use libcomposefs_store::{ObjectError, Summary};
use libcomposefs_sys::copy::READ_SIZE;
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use super::import::{ImportOptions, Incoming, ObjectSource};
use super::marks::MarkSet;
use super::oci_stream_kind::OciStreamKind;
use super::streams::StreamLink;
use super::{Repository, RepositoryError, StreamName, StreamTag, Transaction};

/// A check of the content of a stream, given its name and the digest of its object. It reads the receiving repository,
/// which has all objects by then.
pub type StreamCheck<'c> = dyn Fn(&StreamName, &Digest) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + 'c;

/// A tag to be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagSyncStep {
    /// The tag.
    pub tag: StreamTag,
    /// The stream of the manifest in the other repository.
    pub manifest: StreamName,
    /// The object of that stream.
    pub digest: Digest,
    /// True if this repository has the tag, and it leads to the same manifest.
    pub is_done: bool,
}

impl Repository {
    /// Lists what copying these tags from another repository would do.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Algorithm`], [`RepositoryError::NoSuchTag`], or the kernel's error.
    pub fn plan_sync_tags(&self, other: &Repository, tags: &[StreamTag]) -> Result<Vec<TagSyncStep>, RepositoryError> {
        self.expect_same_algorithm(other)?;
        let step = |tag: &StreamTag| {
            let no_such = || RepositoryError::NoSuchTag { tag: tag.clone(), path: other.dir.path.clone() };
            let manifest = other.resolve_stream_tag(tag)?.ok_or_else(no_such)?;
            let digest = other.stream(&manifest)?.ok_or_else(no_such)?;
            let is_same = self.resolve_stream_tag(tag)?.as_ref() == Some(&manifest);
            let is_done = is_same && self.stream(&manifest)?.is_some();
            Ok(TagSyncStep { tag: tag.clone(), manifest, digest, is_done })
        };
        tags.iter().map(step).collect()
    }

    /// Does one step: copies the streams of the OCI image, its composefs images and all objects, then writes the tag.
    /// Every object is compared with its digest, every image is written again and compared, and `check` is called for
    /// each stream, before anything has a name here.
    ///
    /// # Errors
    ///
    /// If something in the other repository is damaged or missing, cannot be stored, or is refused by `check`. Nothing
    /// is published then.
    pub fn sync_tag(
        &self,
        other: &Repository,
        step: &TagSyncStep,
        threads: NonZeroUsize,
        progress: &dyn Progress,
        check: &StreamCheck<'_>,
    ) -> Result<Summary, RepositoryError> {
        let no_such = || RepositoryError::NoSuchTag { tag: step.tag.clone(), path: other.dir.path.clone() };
        let reader = other.reader()?;
        reader.protect(&[step.digest])?;
        // Without a lease the open stream is what a gc sees.
        let _open = other.objects.open_object(&step.digest)?;
        if other.stream(&step.manifest)? != Some(step.digest) {
            return Err(no_such());
        }
        let (marks, links) = other.needs_of_tag(step, no_such)?;
        let mut transaction = self.transaction()?;
        let options = ImportOptions { objects: ObjectSource::Store(&other.objects), rewrite: false, threads, progress };
        for image in &marks.images {
            let bytes = other.read_image(image)?;
            let wrong = |source| RepositoryError::Image { digest: Box::new(*image), source };
            let incoming = Incoming::read(&bytes.bytes, bytes.digest).map_err(wrong)?;
            transaction.import_image(&incoming, Path::new(step.tag.as_str()), Vec::new(), &options)?;
        }
        let mut buffer = vec![0; READ_SIZE];
        let objects: Vec<Digest> = marks.objects.iter().collect();
        for digest in &objects {
            transaction.copy_object(other, digest, &mut buffer, progress)?;
        }
        let mut names = Vec::new();
        for link in links {
            let Ok(name) = link.name.parse::<StreamName>() else { continue };
            names.push((name.clone(), link.digest));
            if name != step.manifest {
                transaction.add_stored_stream(name, link.digest, Vec::new());
            }
        }
        let file = other.read_object(&step.digest, MANIFEST_MAX)?;
        transaction.add_stream(step.manifest.clone(), &file, objects, vec![step.tag.clone()])?;
        let synced = transaction.sync()?;
        for (name, digest) in &names {
            let refused = |source| RepositoryError::StreamContent { name: name.clone(), source };
            check(name, digest).map_err(refused)?;
        }
        Ok(synced.publish_images()?.tag()?.objects)
    }

    /// Returns all that a tag needs, and the links of its streams in the order in which they are published: layers
    /// first.
    fn needs_of_tag(
        &self,
        step: &TagSyncStep,
        no_such: impl FnOnce() -> RepositoryError,
    ) -> Result<(MarkSet, Vec<StreamLink>), RepositoryError> {
        let streams = self.streams()?;
        let manifest = streams.links.iter().find(|link| {
            link.kind == Some(OciStreamKind::Manifest)
                && link.name == step.manifest.as_str()
                && link.digest == step.digest
        });
        let manifest = manifest.ok_or_else(no_such)?;
        let mut marks = MarkSet::new(self);
        marks.streams(self, &streams, &[manifest])?;
        // Entries of other images are no obstacle.
        if let Some(entry) = marks.unclear.iter().find(|entry| !streams.unclear.contains(entry)) {
            return Err(RepositoryError::Unclear { path: entry.path.clone(), found: entry.found.clone() });
        }
        if let Some((_, error)) = marks.unreadable.pop() {
            return Err(error);
        }
        let needed = |link: &&StreamLink| link.kind.is_some() && marks.streams.contains(&link.digest);
        let mut links: Vec<StreamLink> = streams.links.iter().filter(needed).cloned().collect();
        links.sort_by(|a, b| b.cmp(a));
        Ok((marks, links))
    }
}

/// Size of the longest stream of a manifest: a few digests and names for each layer.
const MANIFEST_MAX: u64 = 64 << 20;

impl Transaction<'_> {
    /// Copies one object of another repository, unless this one has it, and compares its digest.
    fn copy_object(
        &self,
        other: &Repository,
        digest: &Digest,
        buffer: &mut [u8],
        progress: &dyn Progress,
    ) -> Result<(), RepositoryError> {
        let path = other.objects.path_of(digest);
        let failed = |source| ObjectError::Io { step: "open", path: path.clone(), source };
        let Some(file) = other.objects.open_object(digest)? else { return Err(failed(Errno::NOENT.into()).into()) };
        let is_regular = fstat(&file).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::RegularFile);
        if !is_regular {
            return Err(ObjectError::NotRegular { path }.into());
        }
        let source = SourceFile::of(file.as_fd()).map_err(libcomposefs_store::Error::from)?;
        if self.batch().contains(digest, source.size)? {
            return Ok(());
        }
        let (found, _) = self.batch().put_file(&source, buffer)?;
        if found != *digest {
            let (expected, found) = (Box::new(*digest), Box::new(found));
            return Err(ObjectError::Digest { path, expected, found }.into());
        }
        progress.bytes(source.size);
        Ok(())
    }
}
