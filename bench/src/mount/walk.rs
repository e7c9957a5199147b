//! Work on a tree: `ls -lR`, and reading all of it.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, openat};

/// The counts of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walked {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// Names and metadata of everything, as a user would ask for them.
pub(crate) fn ls(root: &Path) -> Result<()> {
    let mut ls = Command::new("ls");
    // From within: the path to the mount point is no part of it.
    ls.arg("-lR").current_dir(root).env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null());
    let status = ls.status().context("cannot run ls")?;
    ensure!(status.success(), "ls -lR {}: {status}", root.display());
    Ok(())
}

/// Reads all names, attributes and symlinks, and returns the paths of the files.
pub(crate) fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut directories) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let path = entry?.path();
            let metadata = std::fs::symlink_metadata(&path)?;
            if metadata.is_dir() {
                directories.push(path);
            } else if metadata.is_file() {
                files.push(path);
            } else if metadata.is_symlink() {
                std::fs::read_link(&path)?;
            }
        }
    }
    Ok(files)
}

/// Every byte of every file, one after the other.
pub(crate) fn read(root: &Path) -> Result<Walked> {
    let mut walked = Walked { entries: 0, bytes: 0 };
    let mut buffer = vec![0; 1 << 20];
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut open = vec![Dir::new(openat(CWD, root, directory, Mode::empty())?)?];
    while let Some(innermost) = open.last_mut() {
        let Some(entry) = innermost.next().transpose()? else {
            open.pop();
            continue;
        };
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        walked.entries += 1;
        match entry.file_type() {
            FileType::Directory => {
                let inner = openat(innermost.fd()?, name, directory, Mode::empty())?;
                open.push(Dir::new(inner)?);
            }
            FileType::RegularFile => {
                let file = openat(innermost.fd()?, name, file, Mode::empty());
                walked.bytes +=
                    file.and_then(|file| drain(&file, &mut buffer)).context(name.to_string_lossy().into_owned())?;
            }
            _ => {}
        }
    }
    Ok(walked)
}

fn drain(file: impl AsFd, buffer: &mut [u8]) -> rustix::io::Result<u64> {
    let mut bytes = 0;
    loop {
        match rustix::io::read(&file, &mut *buffer)? {
            0 => return Ok(bytes),
            len => bytes += len as u64,
        }
    }
}
