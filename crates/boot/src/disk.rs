//! The disk: its repository, the image in it, and the state of the image.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use libcomposefs_image::Digest;
use libcomposefs_mount::ImageFile;
use libcomposefs_sys::in_root::open_directory_in_root;
use libcomposefs_sys::resolve_beneath::{open_beneath, open_directory_beneath};
use libcomposefs_sys::verity::{self, Measurement};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;

use crate::error::BootError;
use crate::steps::{SHARED_VAR, StateFacts, StateKind, state_directory};
use crate::words::BootImage;

/// Most images that a message lists.
const LISTED: usize = 4;

/// The disk, opened before anything is mounted over it.
#[derive(Debug)]
pub struct BootDisk {
    pub(crate) root: OwnedFd,
    pub(crate) path: PathBuf,
}

/// The repository of the disk.
#[derive(Debug)]
pub struct BootRepository {
    directory: OwnedFd,
    path: PathBuf,
    /// True if `meta.json` has fs-verity: then every image must have it.
    pub demands_verity: bool,
}

/// An image that was found.
#[derive(Debug)]
pub struct FoundImage {
    /// File of the image, open for reading.
    pub file: ImageFile,
    /// Digest by which the command line names the image.
    pub digest: Digest,
    /// Path of the directory of objects.
    pub objects: PathBuf,
}

impl BootDisk {
    /// Opens the disk that is mounted at `path`.
    ///
    /// # Errors
    ///
    /// If there is no such directory.
    pub fn open(path: &Path) -> Result<Self, BootError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| BootError::Io { doing: format!("opening the disk at {}", path.display()), errno })?;
        Ok(Self { root, path: path.to_owned() })
    }

    /// Opens the repository, without following symlinks.
    ///
    /// # Errors
    ///
    /// If the disk has no repository, or the verity of its settings cannot be found out.
    pub fn repository(&self) -> Result<BootRepository, BootError> {
        let path = self.path.join("composefs");
        let open = |errno| BootError::NoRepository { path: path.clone(), errno };
        let directory = open_directory_beneath(self.root.as_fd(), b"composefs").map_err(open)?;
        let demands_verity = match open_beneath(directory.as_fd(), b"meta.json") {
            Ok(meta) => verity::is_enabled(&meta).map_err(|error| BootError::Io {
                doing: "asking for the verity of meta.json".into(),
                errno: errno(&error),
            })?,
            // Repositories of old bootc systems have none; without it only the command line decides.
            Err(Errno::NOENT) => false,
            Err(errno) => return Err(BootError::Io { doing: "opening meta.json of the repository".into(), errno }),
        };
        Ok(BootRepository { directory, path, demands_verity })
    }

    /// Finds out what the disk has for an image.
    ///
    /// # Errors
    ///
    /// If a directory exists and cannot be read.
    pub fn state(&self, digest: &Digest) -> Result<StateFacts, BootError> {
        let directory = state_directory(digest);
        let kind = |path: String| {
            let path = path.as_bytes();
            // Without symlinks on the way it is the same directory, also where openat2 is missing.
            let opened = match open_directory_beneath(self.root.as_fd(), path) {
                Err(Errno::LOOP) => open_directory_in_root(self.root.as_fd(), path),
                opened => opened,
            };
            match opened.and_then(|directory| kind_of(&directory)) {
                // A symlink to nothing is not missing.
                Err(Errno::NOENT) if !self.exists(path) => Ok(StateKind::Missing),
                Ok(kind) => Ok(kind),
                Err(errno) => Err(io(&format!("reading the state {}", String::from_utf8_lossy(path)), errno)),
            }
        };
        let stat = rustix::fs::fstatvfs(&self.root).map_err(|errno| io("asking for the mount of the disk", errno))?;
        Ok(StateFacts {
            etc: kind(format!("{directory}/etc"))?,
            var: kind(format!("{directory}/var"))?,
            has_shared_var: open_directory_in_root(self.root.as_fd(), SHARED_VAR.as_bytes()).is_ok(),
            is_read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
        })
    }

    fn exists(&self, path: &[u8]) -> bool {
        rustix::fs::statat(&self.root, OsStr::from_bytes(path), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }
}

fn kind_of(directory: &OwnedFd) -> Result<StateKind, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(directory, c".", flags, Mode::empty())?;
    let mut kind = StateKind::Empty;
    for entry in Dir::new(readable)? {
        match entry?.file_name().to_bytes() {
            b"." | b".." => {}
            b"upper" | b"work" => kind = StateKind::OverlayDirs,
            _ => return Ok(StateKind::Copy),
        }
    }
    Ok(kind)
}

impl BootRepository {
    /// Opens an image by its link, which must have exactly the form that the repository gives it. `None` if there is
    /// no link.
    ///
    /// # Errors
    ///
    /// If the link has another form, or the image cannot be opened, or has another digest.
    pub fn image(&self, image: &BootImage, needs_verity: bool) -> Result<Option<FoundImage>, BootError> {
        let digest = image.digest;
        let name = format!("images/{}", digest.to_hex());
        let bad = |target: String| BootError::BadLink { digest, target };
        let target = match rustix::fs::readlinkat(&self.directory, &*name, Vec::new()) {
            Ok(target) => target.into_bytes(),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::INVAL) => return Err(bad("it is no symlink".into())),
            Err(errno) => return Err(io(&format!("reading {name}"), errno)),
        };
        let shown = || String::from_utf8_lossy(&target).into_owned();
        let path =
            target.strip_prefix(b"../objects/").filter(|path| is_object_path(path)).ok_or_else(|| bad(shown()))?;
        let file = self.object(path).map_err(|errno| io(&format!("opening the object of {name}"), errno))?;
        let file = ImageFile::from_fd(file, &self.path.join(&name));
        if needs_verity {
            file.check_digest(&digest).map_err(|source| BootError::image(digest, source))?;
        } else {
            // Whatever is known of the image counts: without fs-verity that is its name.
            match verity::measure(&file) {
                Ok(Measurement::Digest(_)) => {
                    file.check_digest(&digest).map_err(|source| BootError::image(digest, source))?;
                }
                _ if digest.has_object_path(path) => {}
                _ => return Err(BootError::OtherImage { digest, target: shown() }),
            }
        }
        Ok(Some(FoundImage { file, digest, objects: self.path.join("objects") }))
    }

    fn object(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let objects = open_directory_beneath(self.directory.as_fd(), b"objects")?;
        open_beneath(objects.as_fd(), path)
    }

    /// Returns whether there is a link of an image.
    #[cfg(feature = "name")]
    pub(crate) fn has_image(&self, digest: &Digest) -> bool {
        let link = format!("images/{}", digest.to_hex());
        rustix::fs::statat(&self.directory, link.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    #[cfg(feature = "name")]
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Returns names of images that are there, for a message.
    #[must_use]
    pub fn some_images(&self) -> Vec<String> {
        names(self.directory.as_fd()).unwrap_or_default()
    }
}

/// `xx/yyyy`: hex digits only, of any length.
fn is_object_path(path: &[u8]) -> bool {
    let is_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    matches!(path.split_at_checked(2), Some((first, [b'/', rest @ ..])) if is_hex(first) && is_hex(rest)
        && matches!(rest.len(), 62 | 126))
}

fn names(repository: BorrowedFd<'_>) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::new(open_directory_beneath(repository, b"images")?)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if Digest::from_hex(name).is_ok() {
            names.push(String::from_utf8_lossy(name).into_owned());
        }
        if names.len() == LISTED {
            break;
        }
    }
    Ok(names)
}

fn io(doing: &str, errno: Errno) -> BootError {
    BootError::Io { doing: doing.to_owned(), errno }
}

pub(crate) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_have_one_form() {
        let rest = "a".repeat(62);
        assert!(is_object_path(format!("ab/{rest}").as_bytes()));
        assert!(is_object_path(format!("ab/{}", "a".repeat(126)).as_bytes()));
        for bad in [format!("ab/{rest}0"), format!("AB/{rest}"), format!("ab/../{}", "a".repeat(59)), "ab".into()] {
            assert!(!is_object_path(bad.as_bytes()), "{bad}");
        }
    }
}
