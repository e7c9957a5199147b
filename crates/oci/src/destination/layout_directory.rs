//! An OCI image layout in a directory: a new one, or one that gets another image.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use libcomposefs_content::mutex::lock;
use libcomposefs_sys::tempfile::Temporary;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fsync, open, openat, renameat};
use rustix::io::Errno;

use super::hashed_copy::copy_hashed;
use super::index_json::{OCI_LAYOUT, with_image};
use super::layout_stage::{DIRECTORY, LayoutStage, PREFIX, open_or_make, write_file};
use super::{BlobContent, BlobOutcome, BlobPlace, DestinationError, ImageDestination, check_name};
use crate::manifest::{DOCUMENT_MAX, ImageConfig, Manifest};
use crate::source::{DirectoryFiles, SourceFiles};
use crate::{BlobDigest, BlobHasher};

/// A layout that gets an image. Nothing of the image is in it before it is complete.
#[derive(Debug)]
pub struct LayoutDirectory {
    path: PathBuf,
    name: Option<String>,
    /// The directory, if it exists already.
    existing: Option<Arc<OwnedFd>>,
    stage: Mutex<LayoutStage>,
    blobs: Arc<OwnedFd>,
    /// The blobs of the image that were written.
    written: Mutex<BTreeSet<String>>,
}

impl LayoutDirectory {
    /// Opens a layout, or begins a new one in a directory that is missing or empty.
    ///
    /// # Errors
    ///
    /// If the directory has other files, cannot be written, or the name of the image is not valid.
    pub fn open(path: &Path, name: Option<&str>) -> Result<Self, DestinationError> {
        name.map_or(Ok(()), check_name)?;
        let failed = |source| DestinationError::Io { path: path.display().to_string(), source };
        let existing = match open_layout(path) {
            Ok(directory) => Some(directory),
            Err(DestinationError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let stage = match &existing {
            Some(directory) => LayoutStage::make(Arc::clone(directory), path),
            None => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let directory = open(parent, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
                LayoutStage::make(Arc::new(directory), parent)
            }
        };
        let stage = stage.map_err(failed)?;
        let blobs = Arc::clone(stage.blobs());
        let (name, path) = (name.map(str::to_owned), path.to_owned());
        Ok(Self { path, name, existing, stage: Mutex::new(stage), blobs, written: Mutex::default() })
    }

    fn failed(&self, source: io::Error) -> DestinationError {
        DestinationError::Io { path: self.path.display().to_string(), source }
    }

    fn write(&self, digest: &BlobDigest, size: u64, content: &dyn BlobContent) -> Result<(), DestinationError> {
        let hex = digest.hex();
        let failed = |error| self.failed(error);
        let mut temporary = Temporary::create(&self.blobs, 0o666).map_err(failed)?;
        let mut file = File::from(temporary.as_fd().try_clone_to_owned().map_err(failed)?);
        copy_hashed(content, digest, size, &mut file, &self.path.display().to_string())?;
        fsync(&temporary).map_err(|errno| failed(errno.into()))?;
        match temporary.link(self.blobs.as_fd(), hex.as_str()) {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::EXIST) => return Err(failed(error)),
            _ => {}
        }
        lock(&self.written).insert(hex);
        Ok(())
    }

    /// Moves the blobs into the layout, and replaces its index at last.
    fn add_to(&self, directory: &Arc<OwnedFd>, manifest: &Manifest) -> Result<(), DestinationError> {
        let failed = |error: io::Error| self.failed(error);
        let errno = |errno: Errno| self.failed(errno.into());
        // Another export to the same layout waits here, so that neither entry is lost.
        let locked = openat(directory, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let locked = locked.map_err(errno)?;
        flock(&locked, FlockOperation::LockExclusive).map_err(errno)?;
        let old = read_small(&self.path, "index.json")?;
        let malformed = |reason| DestinationError::NoLayout { path: self.path.display().to_string(), reason };
        let index = with_image(old.as_deref(), manifest, self.name.as_deref()).map_err(malformed)?;
        let all = open_or_make(directory, "blobs").map_err(failed)?;
        let blobs = open_or_make(&all, "sha256").map_err(failed)?;
        for hex in lock(&self.written).iter() {
            renameat(&*self.blobs, hex, &blobs, hex).map_err(errno)?;
        }
        fsync(&blobs).map_err(errno)?;
        fsync(&all).map_err(errno)?;
        if read_small(&self.path, "oci-layout")?.is_none() {
            write_file(directory, "oci-layout", OCI_LAYOUT.as_bytes()).map_err(failed)?;
        }
        write_file(directory, "index.json", &index).map_err(failed)?;
        fsync(&**directory).map_err(errno)
    }
}

/// Opens the directory of a layout, or an empty one.
fn open_layout(path: &Path) -> Result<Arc<OwnedFd>, DestinationError> {
    let directory = open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| DestinationError::Io { path: path.display().to_string(), source: errno.into() })?;
    check_layout(path)?;
    check_directories(&directory, path)?;
    Ok(Arc::new(directory))
}

/// Reads a file at the top of the layout; `None` if it is missing.
fn read_small(path: &Path, name: &str) -> Result<Option<Vec<u8>>, DestinationError> {
    let failed = |source| DestinationError::Io { path: path.join(name).display().to_string(), source };
    let files = DirectoryFiles::open(path).map_err(failed)?;
    match files.open(name) {
        Ok((file, _)) => {
            let mut bytes = Vec::new();
            file.take(DOCUMENT_MAX).read_to_end(&mut bytes).map_err(failed)?;
            Ok(Some(bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Refuses a directory that is neither empty nor a layout.
fn check_layout(path: &Path) -> Result<(), DestinationError> {
    let failed = |source| DestinationError::Io { path: path.display().to_string(), source };
    let no_layout = |reason: &str| DestinationError::NoLayout {
        path: path.display().to_string(),
        reason: format!("it has files, but {reason}"),
    };
    let Some(layout) = read_small(path, "oci-layout")? else {
        let names: io::Result<Vec<OsString>> =
            std::fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
        let is_foreign = |name: &OsString| !name.as_encoded_bytes().starts_with(PREFIX.as_bytes());
        let is_empty = !names.map_err(failed)?.iter().any(is_foreign);
        return if is_empty { Ok(()) } else { Err(no_layout("no oci-layout")) };
    };
    let layout: serde_json::Value = serde_json::from_slice(&layout).unwrap_or_default();
    match layout["imageLayoutVersion"].as_str() {
        Some("1.0.0") => Ok(()),
        _ => Err(no_layout("its oci-layout does not say version 1.0.0")),
    }
}

/// Refuses a layout whose directories of blobs are symlinks: blobs would be written outside of the layout.
fn check_directories(directory: &OwnedFd, path: &Path) -> Result<(), DestinationError> {
    let open = |parent: &OwnedFd, name: &str, shown: &str| match openat(parent, name, DIRECTORY, Mode::empty()) {
        Ok(opened) => Ok(Some(opened)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::LOOP | Errno::NOTDIR) => Err(DestinationError::NoLayout {
            path: path.display().to_string(),
            reason: format!(
                "{shown} is no directory, or a symlink, which is not followed: put a directory in its place"
            ),
        }),
        Err(errno) => Err(DestinationError::Io { path: path.join(shown).display().to_string(), source: errno.into() }),
    };
    match open(directory, "blobs", "blobs")? {
        Some(blobs) => open(&blobs, "sha256", "blobs/sha256").map(drop),
        None => Ok(()),
    }
}

impl ImageDestination for LayoutDirectory {
    fn describe(&self) -> String {
        format!("oci:{}", self.path.display())
    }

    fn needs_oci_manifest(&self) -> bool {
        true
    }

    fn find(&self, digest: &BlobDigest, size: u64) -> Result<BlobPlace, DestinationError> {
        if self.existing.is_none() {
            return Ok(BlobPlace::Missing);
        }
        // A damaged blob is written anew.
        let is_here = || -> io::Result<bool> {
            let path = format!("blobs/sha256/{}", digest.hex());
            let files = DirectoryFiles::open(&self.path)?;
            let (mut file, found) = match files.open(&path) {
                Ok((_, found)) if found != size => return Ok(false),
                Ok((file, found)) => (file, found),
                Err(_) => return Ok(false),
            };
            let (mut hasher, mut buffer, mut left) = (BlobHasher::default(), vec![0; 256 << 10], found);
            while left > 0 {
                match file.read(&mut buffer)? {
                    0 => return Ok(false),
                    len => {
                        hasher.update(&buffer[..len]);
                        left = left.saturating_sub(len as u64);
                    }
                }
            }
            Ok(hasher.finish() == *digest)
        };
        Ok(if is_here().map_err(|error| self.failed(error))? { BlobPlace::Here } else { BlobPlace::Missing })
    }

    fn put(
        &self,
        digest: &BlobDigest,
        size: u64,
        content: Option<&dyn BlobContent>,
    ) -> Result<BlobOutcome, DestinationError> {
        let Some(content) = content else {
            return Err(DestinationError::NotMounted { destination: self.describe(), digest: *digest });
        };
        self.write(digest, size, content)?;
        Ok(BlobOutcome::Sent)
    }

    fn publish(&self, manifest: &Manifest, _: &ImageConfig) -> Result<(), DestinationError> {
        self.write(&manifest.digest, manifest.raw.len() as u64, &manifest.raw.as_slice())?;
        if let Some(directory) = &self.existing {
            return self.add_to(directory, manifest);
        }
        let malformed = |reason| DestinationError::NoLayout { path: self.path.display().to_string(), reason };
        let index = with_image(None, manifest, self.name.as_deref()).map_err(malformed)?;
        let name = self.path.file_name().map(Path::new).unwrap_or(&self.path);
        let published = lock(&self.stage).become_layout(name, OCI_LAYOUT, &index);
        match published {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::EXIST) => {
                // Another export has made it meanwhile. All blobs are in the stage, as the directory was missing.
                self.add_to(&open_layout(&self.path)?, manifest)
            }
            published => published.map_err(|error| self.failed(error)),
        }
    }
}
