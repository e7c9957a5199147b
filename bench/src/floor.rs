//! The lower bound for reading a tree: every file is asked for its metadata and attributes, opened, read, closed, and
//! its bytes are hashed, on all cores, from a list made beforehand.

use std::ffi::CString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use libcomposefs_hash::{BLOCK_SIZE, Family, hash_blocks};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, flistxattr, open, statat};
use rustix::io::read;

/// The regular files below a directory, by path.
pub(crate) fn list(root: &Path) -> Result<Vec<CString>> {
    let (mut files, mut waiting) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() {
                files.push(CString::new(entry.path().into_os_string().into_vec())?);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Does it, and returns the number of bytes.
pub(crate) fn walk(files: &[CString]) -> Result<usize> {
    const BATCH: usize = 64;
    let (next, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || -> Result<()> {
        let (mut buffer, mut hashes, mut names) = (vec![0u8; 1 << 20], Vec::new(), vec![0u8; 4096]);
        loop {
            let start = next.fetch_add(BATCH, Ordering::Relaxed);
            let Some(batch) = files.get(start..files.len().min(start + BATCH)).filter(|b| !b.is_empty()) else {
                return Ok(());
            };
            for path in batch {
                let stat = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_size == 0 {
                    continue;
                }
                let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
                flistxattr(&file, &mut names[..])?;
                let mut left = usize::try_from(stat.st_size)?;
                bytes.fetch_add(left, Ordering::Relaxed);
                while left > 0 {
                    let len = read(&file, &mut buffer)?;
                    if len == 0 {
                        break;
                    }
                    left = left.saturating_sub(len);
                    let whole = len.div_ceil(BLOCK_SIZE) * BLOCK_SIZE;
                    hashes.clear();
                    hash_blocks(Family::Sha256, &buffer[..whole], &mut hashes);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..std::thread::available_parallelism()?.get()).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    Ok(bytes.into_inner())
}
