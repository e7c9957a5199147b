//! A content object: its metadata and its bytes.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;
use libcomposefs_image::tree::Kind;
use libcomposefs_sys::resolve_beneath::open_directory_beneath;
use libcomposefs_sys::xattr::{self, Target, entry_path};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::config::Mode;
use crate::error::Error;
use crate::id::Id;
use crate::objects::{FileHeader, MAX_HEADER, MAX_TARGET, Metadata};
use crate::repo::Repo;

/// The xattr with the metadata of a file in a bare-user repository.
const OSTREE_META: &std::ffi::CStr = c"user.ostreemeta";

/// A content object found in a repository.
#[derive(Debug)]
pub struct ContentObject {
    /// Checksum that names the object.
    pub id: Id,
    /// Metadata of the file; for a symlink also the target.
    pub header: FileHeader,
    /// Length of the file in bytes.
    pub size: u64,
    path: PathBuf,
    /// The bytes, if it is a regular file.
    bytes: Option<ContentBytes>,
}

#[derive(Debug)]
enum ContentBytes {
    /// The bytes are stored as they are.
    Plain(File),
    /// The bytes are deflated, from this offset on.
    Deflated(File, u64),
}

impl Repo {
    /// Finds a content object. A symlink is compared with its checksum at once, a file when it is read.
    ///
    /// # Errors
    ///
    /// The object does not exist, or is neither a file nor a symlink.
    pub fn content(&self, id: &Id) -> Result<ContentObject, Error> {
        let extension = |repo: &Repo| if repo.mode == Mode::Archive { "filez" } else { "file" };
        for repo in self.chain() {
            let found = match repo.mode {
                Mode::Archive => repo.archived(id)?,
                Mode::BareUser => repo.with_metadata_in_xattr(id)?,
                Mode::Bare | Mode::BareUserOnly => repo.bare(id)?,
            };
            let Some(content) = found else { continue };
            return content.checked();
        }
        Err(Error::io(self.path_of(id, extension(self)), Errno::NOENT))
    }

    #[expect(clippy::big_endian_bytes, reason = "the numbers of ostree are big-endian")]
    fn archived(&self, id: &Id) -> Result<Option<ContentObject>, Error> {
        let Some(file) = self.open_object(&id.path("filez"))? else { return Ok(None) };
        let path = self.path_of(id, "filez");
        let mut head = [0; 8];
        file.read_exact_at(&mut head, 0).map_err(|error| Error::io(&path, error))?;
        let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        if u64::from(len) > MAX_HEADER {
            return Err(Error::malformed(path, format!("a header of {len} bytes: at most {MAX_HEADER} are accepted")));
        }
        let mut header = vec![0; len as usize];
        file.read_exact_at(&mut header, 8).map_err(|error| Error::io(&path, error))?;
        let (header, size) = FileHeader::parse_archived(&header).map_err(|reason| Error::malformed(&path, reason))?;
        let bytes = Some(ContentBytes::Deflated(file, 8 + u64::from(len)));
        Ok(Some(ContentObject { id: *id, header, size, path, bytes }))
    }

    fn with_metadata_in_xattr(&self, id: &Id) -> Result<Option<ContentObject>, Error> {
        let Some(file) = self.open_object(&id.path("file"))? else { return Ok(None) };
        let path = self.path_of(id, "file");
        let mut value = Vec::new();
        let found =
            xattr::get(Target::File(file.as_fd()), OSTREE_META, &mut value).map_err(|error| Error::io(&path, error))?;
        if !found {
            return Err(Error::malformed(path, format!("no attribute {}", OSTREE_META.to_string_lossy())));
        }
        let metadata = Metadata::parse(&value).map_err(|reason| Error::malformed(&path, reason))?;
        let size = file.metadata().map_err(|error| Error::io(&path, error))?.size();
        let mut header = FileHeader { metadata, target: String::new() };
        if Kind::from_mode(header.metadata.mode) == Some(Kind::Symlink) {
            file.take(MAX_TARGET as u64 + 2)
                .read_to_string(&mut header.target)
                .map_err(|error| Error::io(&path, error))?;
            // The target is stored as a C string.
            if header.target.ends_with('\0') {
                header.target.pop();
            }
            return Ok(Some(ContentObject { id: *id, header, size: 0, path, bytes: None }));
        }
        Ok(Some(ContentObject { id: *id, header, size, path, bytes: Some(ContentBytes::Plain(file)) }))
    }

    /// Finds a file or symlink that is stored as such.
    fn bare(&self, id: &Id) -> Result<Option<ContentObject>, Error> {
        let (name, path) = (id.path("file"), self.path_of(id, "file"));
        let failed = |error: io::Error| Error::io(&path, error);
        let (folder, rest) = name.split_once('/').unwrap_or_default();
        let folder = match open_directory_beneath(self.objects.as_fd(), folder.as_bytes()) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed(errno.into())),
        };
        let stat = match rustix::fs::statat(&folder, rest, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed(errno.into())),
        };
        let mut metadata = Metadata { mode: stat.st_mode, ..Metadata::default() };
        let is_canonical = self.mode == Mode::BareUserOnly;
        if !is_canonical {
            (metadata.uid, metadata.gid) = (stat.st_uid, stat.st_gid);
        }
        if Kind::from_mode(stat.st_mode) == Some(Kind::Symlink) {
            let target = rustix::fs::readlinkat(&folder, rest, Vec::new()).map_err(|errno| failed(errno.into()))?;
            let target = target.into_string().map_err(|_| Error::malformed(&path, "a target that is not UTF-8"))?;
            if !is_canonical {
                let (mut at, name) = (Vec::new(), std::ffi::CString::new(rest).unwrap_or_default());
                entry_path(folder.as_fd(), &name, &mut at);
                let at = std::ffi::CStr::from_bytes_until_nul(&at).unwrap_or_default();
                metadata.xattrs = all_xattrs(Target::Path(at)).map_err(failed)?;
            }
            return Ok(Some(ContentObject {
                id: *id,
                header: FileHeader { metadata, target },
                size: 0,
                path,
                bytes: None,
            }));
        }
        let Some(file) = self.open_object(&name)? else { return Ok(None) };
        let own = file.metadata().map_err(failed)?;
        metadata.mode = own.mode();
        if !is_canonical {
            (metadata.uid, metadata.gid) = (own.uid(), own.gid());
            metadata.xattrs = all_xattrs(Target::File(file.as_fd())).map_err(failed)?;
        }
        let header = FileHeader { metadata, target: String::new() };
        Ok(Some(ContentObject { id: *id, header, size: own.size(), path, bytes: Some(ContentBytes::Plain(file)) }))
    }
}

fn all_xattrs(target: Target<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut all = Vec::new();
    xattr::Reader::default().each(
        target,
        |_| true,
        |name, value| {
            all.push((name.to_bytes().to_vec(), value.to_vec()));
            Ok::<_, io::Error>(())
        },
    )?;
    Ok(all)
}

impl ContentObject {
    /// Returns the path of the object, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns true if it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        Kind::from_mode(self.header.metadata.mode) == Some(Kind::Regular)
    }

    /// Returns the open file, if it has the bytes as they are.
    #[must_use]
    pub fn plain(&self) -> Option<BorrowedFd<'_>> {
        match &self.bytes {
            Some(ContentBytes::Plain(file)) => Some(file.as_fd()),
            _ => None,
        }
    }

    fn checked(mut self) -> Result<Self, Error> {
        match Kind::from_mode(self.header.metadata.mode) {
            Some(Kind::Regular) if self.bytes.is_some() && self.header.target.is_empty() => Ok(self),
            Some(Kind::Symlink) if self.header.target.is_empty() || self.header.target.len() > MAX_TARGET => {
                let len = self.header.target.len();
                let reason = format!("a symlink target of {len} bytes: 1 to {MAX_TARGET} are allowed");
                Err(Error::malformed(&self.path, reason))
            }
            Some(Kind::Symlink) => {
                (self.size, self.bytes) = (0, None);
                self.expect(self.hasher()?)?;
                Ok(self)
            }
            _ => Err(Error::malformed(
                &self.path,
                format!("mode {:o}: neither a file nor a symlink", self.header.metadata.mode),
            )),
        }
    }

    fn hasher(&self) -> Result<Sha256, Error> {
        self.header.hasher().map_err(|reason| Error::malformed(&self.path, reason))
    }

    fn expect(&self, hasher: Sha256) -> Result<(), Error> {
        let found = Id::new(hasher.finalize().into());
        if found == self.id { Ok(()) } else { Err(Error::WrongId { path: self.path.clone(), found }) }
    }

    /// Reads a whole file, passes each piece to `show`, and compares it with its checksum. The bytes passed to `show`
    /// must not be trusted before this returns.
    ///
    /// # Errors
    ///
    /// [`Error::WrongId`], or the file cannot be read, or `show` failed.
    pub fn read(&self, buffer: &mut [u8], mut show: impl FnMut(&[u8]) -> io::Result<()>) -> Result<(), Error> {
        let mut hasher = self.hasher()?;
        let mut read = 0;
        let mut take = |piece: &[u8]| {
            read += piece.len() as u64;
            // A deflated stream could be endless.
            if read > self.size {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("more than the expected {} bytes", self.size),
                ));
            }
            hasher.update(piece);
            show(piece)
        };
        let done = match &self.bytes {
            None => Ok(()),
            Some(ContentBytes::Plain(file)) => {
                libcomposefs_sys::copy::read_all(file.as_fd(), buffer, |_, piece| take(piece)).map(drop)
            }
            Some(ContentBytes::Deflated(file, offset)) => inflate(file, *offset, buffer, &mut take),
        };
        done.map_err(|error| Error::io(&self.path, error))?;
        if read != self.size {
            return Err(Error::malformed(&self.path, format!("{read} bytes, expected {}", self.size)));
        }
        self.expect(hasher)
    }
}

fn inflate(
    file: &File,
    offset: u64,
    buffer: &mut [u8],
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut from = DeflateDecoder::new(BufReader::with_capacity(64 << 10, OffsetReader { file, offset }));
    loop {
        match from.read(buffer)? {
            0 => return Ok(()),
            len => take(&buffer[..len])?,
        }
    }
}

/// Reads a file from an offset on, without using the file's own offset.
struct OffsetReader<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for OffsetReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read_at(buffer, self.offset)?;
        self.offset += len as u64;
        Ok(len)
    }
}
