//! New blobs of layers: the archive is compressed into a temporary file, in the same way in each run.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use flate2::GzBuilder;
use libcomposefs_sys::tempfile::Temporary;
use rustix::fs::{Mode, OFlags, open};
use std::os::fd::AsFd;

use crate::destination::BlobContent;
use crate::{BlobDigest, BlobHasher};

/// The compression of new blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerCompression {
    /// The archive itself.
    None,
    /// gzip, with a level from 1 to 9.
    Gzip(u32),
    /// Zstandard, with a level from 1 to 19: the window is then one that all programs read.
    Zstd(i32),
}

impl LayerCompression {
    /// Returns the media type of a layer in an OCI manifest.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip(_) => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd(_) => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

impl Default for LayerCompression {
    fn default() -> Self {
        Self::Gzip(6)
    }
}

impl FromStr for LayerCompression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no compression: expected none, gzip[:1-9] or zstd[:1-19]");
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level.parse::<u32>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        match (name, level) {
            ("none", None) => Ok(Self::None),
            ("gzip", None) => Ok(Self::default()),
            ("gzip", Some(level @ 1..=9)) => Ok(Self::Gzip(level)),
            ("zstd", None) => Ok(Self::Zstd(3)),
            ("zstd", Some(level @ 1..=19)) => Ok(Self::Zstd(level.cast_signed())),
            _ => Err(wrong()),
        }
    }
}

impl std::fmt::Display for LayerCompression {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => out.write_str("none"),
            Self::Gzip(level) => write!(out, "gzip:{level}"),
            Self::Zstd(level) => write!(out, "zstd:{level}"),
        }
    }
}

/// A new blob, in a temporary file without a name.
#[derive(Debug)]
pub(super) struct NewBlob {
    file: Temporary,
    pub(super) digest: BlobDigest,
    pub(super) size: u64,
}

/// Writes bytes to a file, and computes their digest and size.
struct HashedFile {
    out: BufWriter<File>,
    hasher: BlobHasher,
    size: u64,
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.out.write(bytes)?;
        self.hasher.update(&bytes[..len]);
        self.size += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Compresses an archive into a temporary file in `directory`. Returns the blob and the digest of what was compressed.
pub(super) fn compress(
    archive: &dyn BlobContent,
    compression: LayerCompression,
    directory: &Path,
) -> io::Result<(NewBlob, BlobDigest)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let file = Temporary::create(&Arc::new(open(directory, flags, Mode::empty())?), 0o600)?;
    let out = BufWriter::with_capacity(256 << 10, File::from(file.as_fd().try_clone_to_owned()?));
    let out = HashedFile { out, hasher: BlobHasher::default(), size: 0 };
    let reader = archive.open()?;
    let (out, found) = match compression {
        LayerCompression::None => copy(reader, out)?,
        LayerCompression::Gzip(level) => {
            // No time and no name: the header is always the same.
            let (encoder, found) = copy(reader, GzBuilder::new().write(out, flate2::Compression::new(level)))?;
            (encoder.finish()?, found)
        }
        LayerCompression::Zstd(level) => {
            let (encoder, found) = copy(reader, zstd::stream::write::Encoder::new(out, level)?)?;
            (encoder.finish()?, found)
        }
    };
    let HashedFile { mut out, hasher, size } = out;
    out.flush()?;
    Ok((NewBlob { file, digest: hasher.finish(), size }, found))
}

fn copy<W: Write>(mut reader: Box<dyn Read + Send + '_>, mut out: W) -> io::Result<(W, BlobDigest)> {
    let (mut buffer, mut hasher) = (vec![0; 256 << 10], BlobHasher::default());
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((out, hasher.finish())),
            Ok(len) => {
                hasher.update(&buffer[..len]);
                out.write_all(&buffer[..len])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl BlobContent for NewBlob {
    fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        let file = File::from(self.file.as_fd().try_clone_to_owned()?);
        Ok(Box::new(NewBlobReader { file, at: 0 }))
    }
}

/// Reads a new blob. Several may read the same file.
struct NewBlobReader {
    file: File,
    at: u64,
}

impl Read for NewBlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read_at(buffer, self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions_are_parsed_and_shown() {
        for (text, shown) in [("none", "none"), ("gzip", "gzip:6"), ("zstd", "zstd:3"), ("zstd:19", "zstd:19")] {
            assert_eq!(text.parse::<LayerCompression>().unwrap().to_string(), shown);
        }
        for text in ["", "gzip:0", "gzip:10", "zstd:20", "zstd:-1", "none:1", "xz"] {
            assert!(text.parse::<LayerCompression>().is_err(), "{text}");
        }
    }
}
