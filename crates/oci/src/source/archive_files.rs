//! The files of a layout in an uncompressed tar archive, read in place.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::SourceFiles;
use crate::compression::Compression;
use crate::tar::{BLOCK, EntryKind, Limits, TarParser, TarStep};

/// Largest number of members of an archive of images.
const MEMBERS_MAX: u64 = 1 << 20;

/// An archive with the files of a layout.
#[derive(Debug)]
pub struct ArchiveFiles {
    file: File,
    /// Offset and size of each regular file, by its path without a leading `./`.
    members: HashMap<Vec<u8>, (u64, u64)>,
    /// Paths of symlinks and hard links, with the path of their target.
    links: HashMap<Vec<u8>, Vec<u8>>,
}

impl ArchiveFiles {
    /// Opens an archive and reads the headers of its members.
    ///
    /// # Errors
    ///
    /// If it is no regular file, compressed, or no tar archive.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut archive = Self { file, members: HashMap::new(), links: HashMap::new() };
        archive.index()?;
        Ok(archive)
    }

    fn index(&mut self) -> io::Result<()> {
        let wrong = |error: crate::tar::TarError| io::Error::new(io::ErrorKind::InvalidData, error);
        let len = self.file.metadata()?.len();
        let limits = Limits { entries: MEMBERS_MAX, ..Limits::default() };
        let mut parser = TarParser::new(limits);
        let (mut at, mut block) = (0u64, [0; BLOCK]);
        loop {
            let read = read_at(&self.file, &mut block, at)?;
            if at == 0 && Compression::of(&block[..read]) != Compression::None {
                let error = "it is compressed: decompress it first, with gunzip or zstd -d";
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            if read < BLOCK {
                return parser.end_of_input(&block[..read]).map_err(wrong);
            }
            at += BLOCK as u64;
            let data = match parser.header(&block).map_err(wrong)? {
                TarStep::Header => 0,
                TarStep::End => return Ok(()),
                TarStep::Extension(size) => {
                    let mut data = vec![0; usize::try_from(size).unwrap_or_default()];
                    self.file.read_exact_at(&mut data, at)?;
                    parser.extension(&data).map_err(wrong)?;
                    size
                }
                TarStep::Entry(entry) => {
                    let path = plain(&entry.path);
                    match entry.kind {
                        EntryKind::File if entry.sparse.is_none() => {
                            if at.checked_add(entry.stored_size).is_none_or(|end| end > len) {
                                return Err(io::ErrorKind::UnexpectedEof.into());
                            }
                            self.members.insert(path, (at, entry.stored_size));
                        }
                        EntryKind::Symlink => {
                            let folder = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
                            let target = resolve(&path[..folder], &entry.link);
                            self.links.insert(path, target);
                        }
                        EntryKind::HardLink => drop(self.links.insert(path, plain(&entry.link))),
                        _ => {}
                    }
                    entry.stored_size
                }
            };
            let padded = data.checked_next_multiple_of(BLOCK as u64).and_then(|padded| at.checked_add(padded));
            at = padded.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        }
    }
}

impl SourceFiles for ArchiveFiles {
    fn open(&self, path: &str) -> io::Result<(Box<dyn Read + Send + '_>, u64)> {
        let mut path = plain(path.as_bytes());
        // `docker save` once wrote a layer that occurs twice as a link to the first.
        if let Some(target) = self.links.get(&path) {
            path.clone_from(target);
        }
        let (offset, size) = *self.members.get(&path).ok_or(io::ErrorKind::NotFound)?;
        Ok((Box::new(ArchiveMember { file: &self.file, at: offset, left: size }), size))
    }
}

/// A member of an archive, being read.
struct ArchiveMember<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for ArchiveMember<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buffer[..len], self.at)?;
        if read == 0 && len > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read_at(&mut buffer[len..], offset + len as u64)? {
            0 => break,
            read => len += read,
        }
    }
    Ok(len)
}

/// Drops empty names and dots of a path.
fn plain(path: &[u8]) -> Vec<u8> {
    resolve(b"", path)
}

/// Joins a directory of the archive and a relative path; a `..` never leads out of the archive.
fn resolve(folder: &[u8], path: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in folder.split(|byte| *byte == b'/').chain(path.split(|byte| *byte == b'/')) {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join(&b'/')
}
