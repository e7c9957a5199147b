//! The newc cpio archive, as the kernel unpacks it from an initramfs
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! Archives may simply follow one another in one file, each padded to four bytes: the base image and a run's payload
//! are written apart and joined.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// Writes an archive; parents are made as they are needed, everything belongs to root.
pub(crate) struct Archive<W> {
    out: W,
    next_inode: u32,
    directories: BTreeSet<PathBuf>,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, next_inode: 1, directories: BTreeSet::new() }
    }

    /// A directory and those above it, once each.
    pub(crate) fn directory(&mut self, path: &Path) -> io::Result<()> {
        let path = relative(path);
        let mut missing: Vec<_> = path.ancestors().filter(|p| !p.as_os_str().is_empty()).collect();
        missing.retain(|p| !self.directories.contains(*p));
        for dir in missing.into_iter().rev() {
            self.header(dir, DIRECTORY | 0o755, 0)?;
            self.directories.insert(dir.to_owned());
        }
        Ok(())
    }

    /// A symbolic link. One that stands for a directory must come before anything is put below it.
    pub(crate) fn symlink(&mut self, path: &Path, target: &str) -> io::Result<()> {
        self.parent_of(path)?;
        self.header(&relative(path), SYMLINK | 0o777, target.len() as u64)?;
        self.content(&mut target.as_bytes(), target.len() as u64)
    }

    /// A regular file of these bytes.
    pub(crate) fn bytes(&mut self, path: &Path, permissions: u32, data: &[u8]) -> io::Result<()> {
        self.parent_of(path)?;
        self.header(&relative(path), REGULAR | permissions, data.len() as u64)?;
        self.content(&mut &*data, data.len() as u64)
    }

    /// A regular file with the content and the time of one on the host.
    pub(crate) fn file(&mut self, path: &Path, permissions: u32, source: &Path) -> io::Result<()> {
        let source = File::open(source)?;
        let metadata = source.metadata()?;
        let len = metadata.len();
        self.parent_of(path)?;
        let time = u32::try_from(metadata.mtime()).unwrap_or(0);
        self.header_with_time(&relative(path), REGULAR | permissions, len, time)?;
        self.content(&mut source.take(len), len)
    }

    /// All that is in a directory on the host: directories, regular files and symbolic links.
    pub(crate) fn tree(&mut self, path: &Path, source: &Path) -> io::Result<()> {
        self.directory(path)?;
        let mut entries = fs::read_dir(source)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (to, from, kind) = (path.join(entry.file_name()), entry.path(), entry.file_type()?);
            if kind.is_dir() {
                self.tree(&to, &from)?;
            } else if kind.is_symlink() {
                self.symlink(&to, &fs::read_link(&from)?.to_string_lossy())?;
            } else if kind.is_file() {
                self.file(&to, entry.metadata()?.permissions().mode() & 0o7777, &from)?;
            }
        }
        Ok(())
    }

    /// Writes the end of the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.header(Path::new("TRAILER!!!"), 0, 0)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn parent_of(&mut self, path: &Path) -> io::Result<()> {
        relative(path).parent().map_or(Ok(()), |parent| self.directory(parent))
    }

    fn header(&mut self, path: &Path, mode: u32, len: u64) -> io::Result<()> {
        self.header_with_time(path, mode, len, 0)
    }

    fn header_with_time(&mut self, path: &Path, mode: u32, len: u64, time: u32) -> io::Result<()> {
        let len = u32::try_from(len).map_err(|_| io::Error::other("a cpio member ends at 4 GiB"))?;
        let name = path.as_os_str().as_bytes();
        // Magic, inode, mode, owner, group, links, time, length, four device numbers, length of the name, checksum.
        let fields = [self.next_inode, mode, 0, 0, 1, time, len, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        self.next_inode += 1;
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08X}"));
        }
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(name)?;
        self.out.write_all(b"\0")?;
        self.pad(header.len() as u64 + name.len() as u64 + 1)
    }

    fn content(&mut self, data: &mut impl Read, len: u64) -> io::Result<()> {
        if io::copy(data, &mut self.out)? != len {
            return Err(io::Error::other("a file shrank while it was packed"));
        }
        self.pad(len)
    }

    fn pad(&mut self, written: u64) -> io::Result<()> {
        let rest = written.wrapping_neg() % 4;
        self.out.write_all(&[0; 4][..rest as usize])
    }
}

fn relative(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_aligned_and_parents_come_first() {
        let mut archive = Archive::new(Vec::new());
        archive.bytes(Path::new("/a/b/c"), 0o644, b"12345").unwrap();
        archive.bytes(Path::new("a/b/d"), 0o755, b"").unwrap();
        archive.symlink(Path::new("l"), "a").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let names = ["a\0", "a/b\0", "a/b/c\0", "a/b/d\0", "l\0", "TRAILER!!!\0"];
        let mut at = 0;
        for name in names {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let hex = |i: usize| {
                let text = std::str::from_utf8(&bytes[at + 6 + 8 * i..at + 14 + 8 * i]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            let (len, name_len) = (hex(6), hex(11));
            assert_eq!(&bytes[at + 110..at + 110 + name_len], name.as_bytes());
            at = (at + 110 + name_len).next_multiple_of(4) + len.next_multiple_of(4);
        }
        assert_eq!(at, bytes.len());
    }
}
