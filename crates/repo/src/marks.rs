//! The set of needed images, objects and streams.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use libcomposefs_image::Digest;
use libcomposefs_image::erofs::read::{ImageReader, load};
use libcomposefs_image::tree::Tree;
use libcomposefs_sys::copy::fill;
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use super::digest_set::DigestSet;
use super::dir::LinkEntry;
use super::stream::{self, StreamTables};
use super::stream_file::StreamFile;
use super::streams::Streams;
use super::{Leads, Repository, RepositoryError, io_error, layout};
use crate::broken_ref::BrokenRef;

/// Offset and bytes of the magic number of an EROFS image (`EROFS_SUPER_MAGIC_V1`).
const EROFS_MAGIC: (u64, [u8; 4]) = (1024, 0xe0f5_e1e2_u32.to_le_bytes());

/// The needed images, objects and streams that were found so far.
#[derive(Debug)]
pub(crate) struct MarkSet {
    /// Needed objects, those of the images themselves included.
    pub(crate) objects: DigestSet,
    /// Images that are needed.
    pub(crate) images: BTreeSet<Digest>,
    /// Images whose object exists and cannot be read. The objects that they need are unknown.
    pub(crate) unreadable: Vec<(Digest, RepositoryError)>,
    /// Images whose object was missing when it was looked for. It may be stored later.
    pub(crate) missing: BTreeSet<Digest>,
    /// Streams that were read.
    pub(crate) streams: BTreeSet<Digest>,
    /// Entries that cannot be interpreted, so that their target is unknown.
    pub(crate) unclear: BTreeSet<BrokenRef>,
}

impl MarkSet {
    pub(crate) fn new(repository: &Repository) -> Self {
        Self {
            objects: DigestSet::new(repository.algorithm()),
            images: BTreeSet::new(),
            unreadable: Vec::new(),
            missing: BTreeSet::new(),
            streams: BTreeSet::new(),
            unclear: BTreeSet::new(),
        }
    }

    /// Returns whether an image must be marked. A missing image is looked for again.
    pub(crate) fn lacks_image(&self, repository: &Repository, digest: &Digest) -> bool {
        !self.images.contains(digest) && (!self.missing.contains(digest) || repository.objects.try_stat(digest).is_ok())
    }

    /// Returns whether a stream must be marked.
    pub(crate) fn lacks_stream(&self, repository: &Repository, digest: &Digest) -> bool {
        !self.streams.contains(digest) && repository.objects.try_stat(digest).is_ok()
    }

    /// Marks an image and all objects that it needs.
    pub(crate) fn image(&mut self, repository: &Repository, digest: &Digest) {
        if !self.lacks_image(repository, digest) {
            return;
        }
        self.objects.insert(digest);
        match repository.objects_of_image(digest, |object| {
            self.objects.insert(object);
        }) {
            Ok(()) => drop(self.images.insert(*digest)),
            Err(error) => match repository.objects.open_object(digest) {
                // Without a link the image was never published, or is no longer. With a link it may come back, and the
                // objects that it needs are unknown.
                Ok(None) if repository.has_image(digest).is_ok_and(|has_link| !has_link) => {
                    self.missing.insert(*digest);
                }
                _ => {
                    self.images.insert(*digest);
                    self.unreadable.push((*digest, error));
                }
            },
        }
    }

    /// Returns whether an entry that is not in this program's form must be marked.
    pub(crate) fn lacks_broken(&self, repository: &Repository, entry: &BrokenRef) -> bool {
        match &entry.leads {
            Leads::To(digest) => self.lacks_image(repository, digest),
            Leads::Entry(_) => false,
            Leads::Unclear => !self.unclear.contains(entry),
        }
    }

    /// Marks the targets of entries that are not in this program's form.
    pub(crate) fn broken(&mut self, repository: &Repository, broken: &[BrokenRef]) {
        for entry in broken {
            match &entry.leads {
                Leads::To(digest) => self.image(repository, digest),
                Leads::Entry(_) => {}
                Leads::Unclear => drop(self.unclear.insert(entry.clone())),
            }
        }
    }

    /// Marks everything that is kept by something other than refs in this program's form.
    pub(crate) fn all_but_names(&mut self, repository: &Repository) -> Result<(), RepositoryError> {
        self.broken(repository, &repository.refs()?.broken);
        self.streams(repository, &repository.streams()?)
    }

    /// Marks streams and what they need: the streams, objects and images in their tables, and, because the format is
    /// another program's, every digest of an object or image of the repository at any offset of the stream.
    pub(crate) fn streams(&mut self, repository: &Repository, streams: &Streams) -> Result<(), RepositoryError> {
        self.unclear.extend(streams.unclear.iter().cloned());
        let new = |(_, digest): &&(String, Digest)| self.lacks_stream(repository, digest);
        // The path for messages, the stream, and whether it must be one.
        let mut waiting: Vec<(String, Digest, bool)> =
            streams.links.iter().filter(new).map(|(name, digest)| (name.clone(), *digest, true)).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let mut present = DigestSet::new(repository.algorithm());
        for digest in repository.objects.list() {
            present.insert(&digest?);
        }
        let links: BTreeSet<Digest> = repository.image_links()?.0.into_iter().collect();
        for digest in &links {
            present.insert(digest);
        }
        while let Some((name, digest, must_be)) = waiting.pop() {
            self.objects.insert(&digest);
            if !self.streams.insert(digest) {
                continue;
            }
            let stream = match repository.open_stream(&digest)? {
                Ok(Some(stream)) => stream,
                Ok(None) => {
                    self.streams.remove(&digest);
                    continue;
                }
                Err(found) => {
                    self.unclear.insert(repository.unclear_stream(&name, found));
                    continue;
                }
            };
            let tables = match stream.tables(repository.algorithm())? {
                Ok(tables) => tables,
                Err(found) => {
                    if must_be {
                        self.unclear.insert(repository.unclear_stream(&name, found));
                    }
                    StreamTables::default()
                }
            };
            let mut next = Vec::new();
            let mut refer = |raw: &[u8], in_table| -> Result<(), RepositoryError> {
                let Some(digest) = Digest::new(repository.algorithm(), raw) else { return Ok(()) };
                if let ObjectKind::Stream = self.of_stream(repository, &links, digest, in_table)? {
                    next.push((name.clone(), digest, in_table));
                }
                Ok(())
            };
            let len = repository.algorithm().digest_len();
            stream.each_digest(tables.streams, len, |raw| refer(raw, true))?;
            stream.each_digest(tables.objects, len, |raw| refer(raw, false))?;
            for raw in stream.windows(len, |window| present.contains_raw(window))? {
                refer(&raw, false)?;
            }
            waiting.append(&mut next);
        }
        Ok(())
    }

    /// Marks a digest in a stream: an object, which may be an image, or a stream to be read next. `in_table` says
    /// that it is in the table of streams and images.
    fn of_stream(
        &mut self,
        repository: &Repository,
        links: &BTreeSet<Digest>,
        digest: Digest,
        in_table: bool,
    ) -> Result<ObjectKind, RepositoryError> {
        let is_new = self.objects.insert(&digest);
        if links.contains(&digest) {
            self.image(repository, &digest);
            return Ok(ObjectKind::Other);
        }
        let kind = if is_new || in_table { repository.kind_of(&digest)? } else { ObjectKind::Other };
        if matches!(kind, ObjectKind::Erofs) && in_table {
            // The link of the image is gone, and this may be the only entry that keeps the objects of it.
            self.image(repository, &digest);
        }
        Ok(kind)
    }
}

/// Kind of an object, according to its first bytes.
enum ObjectKind {
    Stream,
    Erofs,
    Other,
}

impl Repository {
    /// Passes each object that an image needs to `show`, once for each file that needs it. Checks the digest of the
    /// image before.
    pub(crate) fn objects_of_image(
        &self,
        digest: &Digest,
        mut show: impl FnMut(&Digest),
    ) -> Result<(), RepositoryError> {
        let tree = self.tree_of_image(digest)?;
        tree.objects().for_each(|object| show(&object.digest));
        Ok(())
    }

    /// Reads the tree of an image, and checks the digest of the image.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::ImageObject`], [`RepositoryError::Image`]
    pub fn tree_of_image(&self, digest: &Digest) -> Result<Tree, RepositoryError> {
        let image = self.read_image(digest)?;
        let wrong = |source| RepositoryError::Image { digest: Box::new(*digest), source };
        let reader = ImageReader::new(&image.bytes).map_err(wrong)?;
        Ok(load(&reader, &[]).map_err(wrong)?.tree)
    }

    /// Opens a stream. Returns `None` if it is missing, or the reason why it cannot be a stream.
    pub(crate) fn open_stream(
        &self,
        digest: &Digest,
    ) -> Result<Result<Option<StreamFile>, &'static str>, RepositoryError> {
        let path = self.objects.path_of(digest);
        let file = match self.objects.try_open(digest) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(Ok(None)),
            Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => {
                return Ok(Err("leads to an object that is no regular file"));
            }
            Err(errno) => return Err(io_error("open", &path)(errno)),
        };
        let stat = fstat(&file).map_err(io_error("stat", &path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(Err("leads to an object that is no regular file"));
        }
        Ok(Ok(Some(StreamFile::new(file.into(), u64::try_from(stat.st_size).unwrap_or_default(), path))))
    }

    /// Returns the entry of a stream that cannot be interpreted.
    fn unclear_stream(&self, name: &str, found: &str) -> BrokenRef {
        let path = self.dir.path.join(layout::STREAMS).join(name);
        BrokenRef { path, found: format!("is a stream that {found}"), leads: Leads::Unclear, seen: LinkEntry::Other }
    }

    /// Reads the first bytes of an object.
    fn kind_of(&self, digest: &Digest) -> Result<ObjectKind, RepositoryError> {
        let path = || self.objects.path_of(digest);
        let file = match self.objects.try_open(digest) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::NODEV) => return Ok(ObjectKind::Other),
            Err(errno) => return Err(io_error("open", path())(errno)),
        };
        let stat = fstat(&file).map_err(io_error("stat", path()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(ObjectKind::Other);
        }
        let mut head = [0; stream::HEAD_LEN];
        let len = fill(file.as_fd(), &mut head, 0).map_err(io_error("read", path()))?;
        if stream::has_magic(&head[..len]) {
            return Ok(ObjectKind::Stream);
        }
        let mut magic = [0; 4];
        let len = fill(file.as_fd(), &mut magic, EROFS_MAGIC.0).map_err(io_error("read", path()))?;
        Ok(if len == 4 && magic == EROFS_MAGIC.1 { ObjectKind::Erofs } else { ObjectKind::Other })
    }
}
