//! The file of the table, in a directory of the repository.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use libcomposefs_image::Algorithm;
use libcomposefs_sys::tempfile::Temporary;
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock, fstat, openat};
use rustix::io::{Errno, retry_on_intr};

use super::ContentTable;
use super::bytes::FILE_MAX;

/// The name of the file.
pub const TABLE_NAME: &str = "contents";

/// Reads the table in a directory. The table is empty if the file is missing, damaged or of another version.
///
/// # Errors
///
/// If the file exists but cannot be read.
pub fn load(directory: &OwnedFd, algorithm: Algorithm) -> io::Result<ContentTable> {
    let empty = ContentTable::new(algorithm);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(directory, TABLE_NAME, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP) => return Ok(empty),
        Err(errno) => return Err(errno.into()),
    };
    let stat = fstat(&file)?;
    let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || size > FILE_MAX {
        return Ok(empty);
    }
    let mut bytes = Vec::with_capacity(size);
    File::from(file).take(FILE_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(ContentTable::parse(&bytes, algorithm).unwrap_or(empty))
}

/// Reads the table, changes it and writes it, while no other process does the same. `change` returns false if there is
/// nothing to write.
///
/// # Errors
///
/// If the table cannot be read or written, or the directory cannot be locked.
pub fn update(
    directory: &Arc<OwnedFd>,
    algorithm: Algorithm,
    change: impl FnOnce(&mut ContentTable) -> bool,
) -> io::Result<()> {
    // The lock ends with this descriptor. Without it an update could be lost, and nothing else.
    let lock = openat(directory, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive))?;
    let mut table = load(directory, algorithm)?;
    if change(&mut table) { save(directory, &table) } else { Ok(()) }
}

/// Writes the table into a directory, in place of an older one. It is not synced: after a power cut it may be damaged,
/// which [`load`] notices.
///
/// # Errors
///
/// If the file cannot be written.
pub fn save(directory: &Arc<OwnedFd>, table: &ContentTable) -> io::Result<()> {
    let temporary = Temporary::create(directory, 0o600)?;
    File::from(temporary.as_fd().try_clone_to_owned()?).write_all(&table.to_bytes())?;
    temporary.replace(directory.as_fd(), TABLE_NAME)
}
