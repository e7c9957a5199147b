//! The received part of a blob: it is kept in a file while a large blob is read from a network, so that a pull that is
//! repeated continues where the first one ended (`docs/format/oci.md`, section 3.4).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use libcomposefs_repo::Repository;
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, fstat, openat, statat, unlinkat};
use rustix::io::{Errno, retry_on_intr};

use super::PullError;
use crate::layer::LayerReadError;
use crate::manifest::BlobRef;
use crate::source::ImageSource;

/// Smallest size of a blob whose received part is kept, in bytes. A smaller one is fetched again.
const SIZE_MIN: u64 = 32 << 20;
/// A blob that arrives within this time, by the rate of its first bytes, is fetched again too: its file would cost more
/// than a cut does.
const FAST: Duration = Duration::from_secs(2);
/// Number of bytes after which the rate is known. Fewer may have waited in the buffers of the connection.
const RATED_MIN: u64 = 8 << 20;
/// End of the names of the files.
const SUFFIX: &str = ".partial";

/// A blob of an image, as a stream whose caller checks it.
pub(super) type BlobInput<'b> = Box<dyn Read + Send + 'b>;

/// The file with the received part of a blob. It is locked, and never trusted: the digest of the blob is computed of
/// what the file gives too.
#[derive(Debug)]
pub(super) struct ReceivedPart {
    file: File,
    directory: OwnedFd,
    name: String,
    /// Number of bytes that an earlier pull has received.
    len: u64,
}

impl ReceivedPart {
    /// Opens or makes the file for a blob from a network. `None` if the blob is small, another process receives it, or
    /// the file cannot be made: the pull does without it.
    pub(super) fn open(repository: &Repository, source: &dyn ImageSource, blob: &BlobRef) -> Option<Self> {
        if !source.is_remote() || blob.size < SIZE_MIN {
            return None;
        }
        let directory = repository.make_cache().ok()?;
        let name = format!("{}{SUFFIX}", blob.digest.hex());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&directory, &name, flags, Mode::RUSR | Mode::WUSR).ok()?;
        let len = lock_named(&file, &directory, &name)?;
        // More than the whole blob is damage.
        let len = if len > blob.size { 0 } else { len };
        let file = File::from(file);
        if len == 0 {
            file.set_len(0).ok()?;
        }
        Some(Self { file, directory, name, len })
    }

    /// Reads the blob with `read`: from the file, then from the source, from where the file ends. If the content turns
    /// out wrong, the file is removed, and the blob is read once more without it.
    pub(super) fn read<T>(
        self,
        source: &dyn ImageSource,
        blob: &BlobRef,
        read: impl Fn(Option<BlobInput<'_>>) -> Result<T, PullError>,
    ) -> Result<T, PullError> {
        let rest = if self.len < blob.size { source.blob_from(blob, self.len)? } else { Box::new(io::empty()) };
        let has_failed = AtomicBool::new(false);
        let (begun, is_kept) = (Instant::now(), true);
        let input = ReceivedBlob { part: &self, at: 0, size: blob.size, begun, rest, is_kept, has_failed: &has_failed };
        match read(Some(Box::new(input))) {
            // The source may give the rest the next time.
            Err(error) if has_failed.load(Ordering::Relaxed) || !is_about_content(&error) => Err(error),
            Err(_) if self.len > 0 => {
                self.remove();
                read(None)
            }
            result => {
                self.remove();
                result
            }
        }
    }

    /// Removes the file, while it is locked. If that fails, the next pull reads it in vain, and nothing else.
    fn remove(&self) {
        let _ = unlinkat(&self.directory, &self.name, AtFlags::empty());
    }
}

/// Locks a file of the directory and returns its size. `None` if it is locked, has another name or is no file.
fn lock_named(file: &OwnedFd, directory: &OwnedFd, name: &str) -> Option<u64> {
    retry_on_intr(|| flock(file, FlockOperation::NonBlockingLockExclusive)).ok()?;
    let stat = fstat(file).ok()?;
    // The process that had the lock may have removed the file.
    let named = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let is_named = (stat.st_dev, stat.st_ino) == (named.st_dev, named.st_ino);
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    u64::try_from(stat.st_size).ok().filter(|_| is_named && is_file)
}

/// Returns true for errors that other bytes may not have.
fn is_about_content(error: &PullError) -> bool {
    match error {
        PullError::Blob { .. } | PullError::DiffId { .. } => true,
        PullError::Layer { error, .. } => {
            matches!(**error, LayerReadError::Tar { .. } | LayerReadError::Read(_) | LayerReadError::TooLarge(_))
        }
        _ => false,
    }
}

/// The blob: what the file has, then what the source sends, which is appended to the file.
struct ReceivedBlob<'b> {
    part: &'b ReceivedPart,
    at: u64,
    /// Size of the blob.
    size: u64,
    begun: Instant,
    rest: BlobInput<'b>,
    /// False after bytes that could not be appended, and for a blob that arrives fast.
    is_kept: bool,
    /// Set when the source has failed.
    has_failed: &'b AtomicBool,
}

impl Read for ReceivedBlob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.part.len - self.at.min(self.part.len);
        if left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let len = self.part.file.read_at(&mut buffer[..most], self.at)?;
            if len == 0 && most > 0 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the received part of the blob has shrunk"));
            }
            self.at += len as u64;
            return Ok(len);
        }
        let read = self.rest.read(buffer);
        let len = read.inspect_err(|error| {
            let is_failure = error.kind() != io::ErrorKind::Interrupted;
            self.has_failed.fetch_or(is_failure, Ordering::Relaxed);
        })?;
        // A full disk ends the pull elsewhere, if it does.
        self.is_kept = self.is_kept && self.part.file.write_all_at(&buffer[..len], self.at).is_ok();
        self.at += len as u64;
        if self.is_kept && self.is_fast() {
            // The name stays, with the lock: another pull of this blob still does without the file.
            self.is_kept = self.part.file.set_len(0).is_err();
        }
        Ok(len)
    }
}

impl ReceivedBlob<'_> {
    /// Returns true if the whole blob arrives within a short time, at the rate so far.
    fn is_fast(&self) -> bool {
        let whole = || self.begun.elapsed().mul_f64(self.size as f64 / self.at as f64);
        // An earlier pull was cut.
        self.part.len == 0 && self.at >= RATED_MIN && whole() <= FAST
    }
}

/// Removes the received parts of blobs to which nothing was added for `age`, except those that a process has open.
///
/// # Errors
///
/// If the directory cannot be read, or a file cannot be removed.
pub fn prune_received(repository: &Repository, age: Duration) -> io::Result<()> {
    let Some(directory) = repository.cache().map_err(io::Error::other)? else { return Ok(()) };
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if name.ends_with(SUFFIX) {
            prune_one(&directory, &name, age)?;
        }
    }
    Ok(())
}

fn prune_one(directory: &OwnedFd, name: &str, age: Duration) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(directory, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    if lock_named(&file, directory, name).is_none() {
        return Ok(());
    }
    let modified = File::from(file.as_fd().try_clone_to_owned()?).metadata()?.modified()?;
    // A time in the future says nothing of the age.
    let is_old = SystemTime::now().duration_since(modified).map_or(true, |since| since >= age);
    if is_old {
        unlinkat(directory, name, AtFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a blob of 9 MiB, of which `earlier` bytes were received before, and returns the size of its file then.
    fn kept_of(earlier: u64, begun: Instant) -> u64 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob.partial");
        std::fs::write(&path, vec![1; usize::try_from(earlier).unwrap()]).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let directory = File::open(dir.path()).unwrap().into();
        let part = ReceivedPart { file, directory, name: "blob.partial".to_owned(), len: earlier };
        let size = 9 << 20;
        let (rest, has_failed) = (Box::new(io::repeat(2).take(size - earlier)), AtomicBool::new(false));
        let mut blob = ReceivedBlob { part: &part, at: 0, size, begun, rest, is_kept: true, has_failed: &has_failed };
        assert_eq!(io::copy(&mut blob, &mut io::sink()).unwrap(), size);
        std::fs::metadata(path).unwrap().len()
    }

    #[test]
    fn a_blob_that_arrives_fast_is_not_kept() {
        let (fast, slow) = (Instant::now() + Duration::from_secs(3600), Instant::now() - Duration::from_secs(60));
        assert_eq!(kept_of(0, fast), 0);
        assert_eq!(kept_of(0, slow), 9 << 20);
        // The connection was cut before.
        assert_eq!(kept_of(1 << 20, fast), 9 << 20);
    }
}
