//! Marking of streams, and of what they need.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;

use libcomposefs_image::Digest;
use libcomposefs_sys::copy::fill;
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use super::MarkSet;
use crate::broken_ref::{BrokenRef, WRONG_DIGEST};
use crate::digest_set::DigestSet;
use crate::named_parts::NamedParts;
use crate::stream::{self, StreamTables};
use crate::stream_file::StreamFile;
use crate::streams::{StreamLink, Streams};
use crate::{Repository, RepositoryError, io_error, layout};

/// Offset and bytes of the magic number of an EROFS image (`EROFS_SUPER_MAGIC_V1`).
const EROFS_MAGIC: (u64, [u8; 4]) = (1024, 0xe0f5_e1e2_u32.to_le_bytes());

/// What the digests in a stream may be those of.
struct Known<'s> {
    /// All objects, and all images that have a link.
    present: DigestSet,
    /// Images that have a link.
    images: BTreeSet<Digest>,
    /// Streams that have a link.
    streams: BTreeMap<Digest, &'s StreamLink>,
    /// All links of streams, and those of parts of OCI images.
    links: &'s [StreamLink],
    parts: NamedParts,
}

impl<'s> Known<'s> {
    fn list(repository: &Repository, streams: &'s Streams) -> Result<Self, RepositoryError> {
        let images: BTreeSet<Digest> = repository.image_links()?.0.into_iter().collect();
        let mut present = DigestSet::new(repository.algorithm());
        for digest in repository.objects.list() {
            present.insert(&digest?);
        }
        for digest in &images {
            present.insert(digest);
        }
        let by_digest = streams.links.iter().map(|link| (link.digest, link)).collect();
        Ok(Self { present, images, streams: by_digest, links: &streams.links, parts: NamedParts::of(streams) })
    }
}

/// A stream to be read.
struct Waiting {
    /// Path below `streams` of the link that led to it, for messages.
    name: String,
    digest: Digest,
    /// True if the object must be a stream.
    must_be: bool,
}

impl MarkSet {
    /// Returns whether a stream must be marked.
    pub(crate) fn lacks_stream(&self, repository: &Repository, digest: &Digest) -> bool {
        !self.streams.contains(digest) && repository.objects.try_stat(digest).is_ok()
    }

    /// Marks some of the streams and what they need: the streams, objects and images in their tables, and, because
    /// other programs write the format too, every digest of an object or image of the repository at any offset of the
    /// stream.
    pub(crate) fn streams(
        &mut self,
        repository: &Repository,
        streams: &Streams,
        wanted: &[&StreamLink],
    ) -> Result<(), RepositoryError> {
        self.unclear.extend(streams.unclear.iter().cloned());
        let new = wanted.iter().filter(|link| !self.streams.contains(&link.digest));
        let mut waiting: Vec<Waiting> =
            new.map(|link| Waiting { name: link.name.clone(), digest: link.digest, must_be: true }).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let known = Known::list(repository, streams)?;
        while let Some(next) = waiting.pop() {
            self.objects.insert(&next.digest);
            if !self.streams.insert(next.digest) {
                continue;
            }
            match repository.open_stream(&next.digest)? {
                Ok(Some(stream)) => self.read_stream(repository, &known, &next, &stream, &mut waiting)?,
                Ok(None) => {
                    self.streams.remove(&next.digest);
                    self.lost_stream(repository, &known, &next)?;
                }
                Err(found) => drop(self.unclear.insert(repository.unclear_stream(&next.name, found))),
            }
        }
        Ok(())
    }

    /// Marks what one stream needs. Streams that must be read next are added to `waiting`.
    fn read_stream(
        &mut self,
        repository: &Repository,
        known: &Known<'_>,
        this: &Waiting,
        stream: &StreamFile,
        waiting: &mut Vec<Waiting>,
    ) -> Result<(), RepositoryError> {
        let tables = match stream.tables(repository.algorithm())? {
            Ok(tables) => {
                if this.must_be && !stream.has_digest(&this.digest)? {
                    self.unclear.insert(repository.unclear_stream(&this.name, WRONG_DIGEST));
                }
                tables
            }
            Err(found) => {
                if this.must_be {
                    self.unclear.insert(repository.unclear_stream(&this.name, found));
                }
                StreamTables::default()
            }
        };
        let mut next = Vec::new();
        let mut refer = |raw: &[u8], in_table| -> Result<(), RepositoryError> {
            let Some(digest) = Digest::new(repository.algorithm(), raw) else { return Ok(()) };
            if let ObjectKind::Stream = self.of_stream(repository, known, digest, in_table)? {
                let name = known.streams.get(&digest).map_or(&this.name, |link| &link.name);
                next.push(Waiting { name: name.clone(), digest, must_be: in_table });
            }
            Ok(())
        };
        let len = repository.algorithm().digest_len();
        stream.each_digest(tables.streams.clone(), len, |raw| refer(raw, true))?;
        stream.each_digest(tables.objects.clone(), len, |raw| refer(raw, false))?;
        for raw in stream.windows(len, |window| known.present.contains_raw(window))? {
            refer(&raw, false)?;
        }
        waiting.append(&mut next);
        let named = match known.parts.named_by(repository, &this.name, stream, &tables)? {
            Ok(named) => named,
            Err(found) => {
                // Another program may have removed the stream and its text meanwhile.
                let link = known.links.iter().find(|link| link.name == this.name);
                if link.map_or(Ok(true), |link| repository.has_stream_link(link))? {
                    self.unclear.insert(repository.unclear_stream(&this.name, found));
                }
                Vec::new()
            }
        };
        for link in named.into_iter().filter_map(|place| known.links.get(place)) {
            waiting.push(Waiting { name: link.name.clone(), digest: link.digest, must_be: true });
        }
        Ok(())
    }

    /// Marks a digest in a stream: an object, which may be an image, or a stream to be read next. `in_table` says that
    /// it is in the table of streams and images.
    fn of_stream(
        &mut self,
        repository: &Repository,
        known: &Known<'_>,
        digest: Digest,
        in_table: bool,
    ) -> Result<ObjectKind, RepositoryError> {
        let is_new = self.objects.insert(&digest);
        if known.images.contains(&digest) {
            self.image(repository, &digest);
            return Ok(ObjectKind::Other);
        }
        let kind = if is_new || in_table { repository.kind_of(&digest)? } else { ObjectKind::Other };
        Ok(match kind {
            ObjectKind::Erofs if in_table => {
                // The link of the image is gone, and this may be the only entry that keeps the objects of it.
                self.image(repository, &digest);
                ObjectKind::Other
            }
            ObjectKind::Missing if in_table && known.streams.contains_key(&digest) => ObjectKind::Stream,
            kind => kind,
        })
    }

    /// Notes a needed stream whose object is missing: what it needs is not known, and it may be restored. A stream
    /// without a link is gone for good.
    fn lost_stream(
        &mut self,
        repository: &Repository,
        known: &Known<'_>,
        lost: &Waiting,
    ) -> Result<(), RepositoryError> {
        let Some(link) = known.streams.get(&lost.digest) else { return Ok(()) };
        // Another program may have removed both meanwhile.
        if repository.has_stream_link(link)? && repository.objects.try_stat(&link.digest).is_err() {
            self.unclear.insert(repository.unclear_stream(&link.name, "has no object"));
        }
        Ok(())
    }

    /// Notes a stream that nothing needs and that cannot be interpreted.
    pub(crate) fn expect_clear(&mut self, repository: &Repository, link: &StreamLink) -> Result<(), RepositoryError> {
        let found = match repository.open_stream(&link.digest)? {
            Ok(Some(stream)) => stream.tables(repository.algorithm())?.err(),
            Ok(None) => None,
            Err(found) => Some(found),
        };
        self.unclear.extend(found.map(|found| repository.unclear_stream(&link.name, found)));
        Ok(())
    }
}

/// Kind of an object, according to its first bytes.
enum ObjectKind {
    Stream,
    Erofs,
    Missing,
    Other,
}

impl Repository {
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
        BrokenRef::of_stream(self.dir.path.join(layout::STREAMS).join(name), found)
    }

    /// Returns whether an object exists and begins like an image.
    pub(crate) fn is_image(&self, digest: &Digest) -> Result<bool, RepositoryError> {
        Ok(matches!(self.kind_of(digest)?, ObjectKind::Erofs))
    }

    /// Reads the first bytes of an object.
    fn kind_of(&self, digest: &Digest) -> Result<ObjectKind, RepositoryError> {
        let path = || self.objects.path_of(digest);
        let file = match self.objects.try_open(digest) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(ObjectKind::Missing),
            Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => return Ok(ObjectKind::Other),
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
