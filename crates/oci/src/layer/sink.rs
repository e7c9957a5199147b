//! Where the contents of layers go: into a store, or nowhere.

use std::io::{self, BufRead, Read, Write};

use libcomposefs_image::verity::Hasher;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_store::{Batch, Error};

use super::apply::FileData;
use super::entries::INLINE_MAX;

/// Contents up to this length are read whole, so that the store can be searched for them before anything is written.
const WHOLE_MAX: u64 = 1 << 20;

/// Receives the contents of the files of layers, from several threads at once.
pub trait LayerSink: Sync {
    /// Returns the algorithm of the digests.
    fn algorithm(&self) -> Algorithm;

    /// Receives a content of `size` bytes. `content` ends early only if it cannot be read.
    ///
    /// # Errors
    ///
    /// If the content cannot be read or stored.
    fn put(&self, size: u64, content: &mut dyn BufRead) -> Result<Digest, Error>;

    /// Receives a content in pieces, from a function that writes them, with holes between.
    ///
    /// # Errors
    ///
    /// If the content cannot be made or stored.
    fn put_pieces(&self, write: &mut dyn FnMut(&mut dyn PieceSink) -> io::Result<()>) -> Result<Digest, Error>;

    /// Is told of a content that becomes no object, because it is so short that the stream and the image hold it.
    fn short(&self, _content: &[u8]) {}
}

/// Receives the pieces of a content.
pub trait PieceSink {
    /// Receives bytes.
    ///
    /// # Errors
    ///
    /// If the bytes cannot be stored.
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Receives a hole.
    fn zeros(&mut self, len: u64);
}

/// Computes digests and stores nothing.
#[derive(Clone, Copy, Debug)]
pub struct HashOnly(pub Algorithm);

impl PieceSink for Hasher {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.update(bytes);
        Ok(())
    }

    fn zeros(&mut self, len: u64) {
        self.update_zeros(len);
    }
}

/// A content in memory, for one that the image holds itself.
impl PieceSink for Vec<u8> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, len: u64) {
        self.resize(self.len() + usize::try_from(len).unwrap_or_default(), 0);
    }
}

impl LayerSink for HashOnly {
    fn algorithm(&self) -> Algorithm {
        self.0
    }

    fn put(&self, size: u64, content: &mut dyn BufRead) -> Result<Digest, Error> {
        let mut hasher = Hasher::new(self.0);
        each_piece(size, content, |piece| {
            hasher.update(piece);
            Ok(())
        })?;
        Ok(hasher.finish())
    }

    fn put_pieces(&self, write: &mut dyn FnMut(&mut dyn PieceSink) -> io::Result<()>) -> Result<Digest, Error> {
        let mut hasher = Hasher::new(self.0);
        write(&mut hasher)?;
        Ok(hasher.finish())
    }
}

/// Writes and hashes pieces.
struct WritingHasher<'w, 'f> {
    hasher: Hasher,
    out: &'w mut libcomposefs_store::SparseWriter<'f>,
}

impl PieceSink for WritingHasher<'_, '_> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }

    fn zeros(&mut self, len: u64) {
        self.hasher.update_zeros(len);
        self.out.skip(len);
    }
}

impl LayerSink for Batch<'_> {
    fn algorithm(&self) -> Algorithm {
        self.store().algorithm()
    }

    fn put(&self, size: u64, content: &mut dyn BufRead) -> Result<Digest, Error> {
        if size <= WHOLE_MAX {
            let len = usize::try_from(size).unwrap_or(usize::MAX);
            let buffered = content.fill_buf()?;
            if let Some(whole) = buffered.get(..len) {
                let (digest, _) = self.put_bytes(whole)?;
                content.consume(len);
                return Ok(digest);
            }
            let mut whole = Vec::with_capacity(len);
            content.take(size).read_to_end(&mut whole)?;
            if whole.len() < len {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            return Ok(self.put_bytes(&whole)?.0);
        }
        self.put_pieces(&mut |sink| each_piece(size, content, |piece| sink.bytes(piece)))
    }

    fn put_pieces(&self, write: &mut dyn FnMut(&mut dyn PieceSink) -> io::Result<()>) -> Result<Digest, Error> {
        let (digest, _) = self.put_written(|out| {
            let mut sink = WritingHasher { hasher: Hasher::new(self.store().algorithm()), out };
            write(&mut sink)?;
            Ok(sink.hasher.finish())
        })?;
        Ok(digest)
    }
}

/// Passes `size` bytes piece by piece.
pub(crate) fn each_piece(
    size: u64,
    content: &mut dyn BufRead,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut left = size;
    while left > 0 {
        let piece = content.fill_buf()?;
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        take(&piece[..len])?;
        content.consume(len);
        left -= len as u64;
    }
    Ok(())
}

/// Makes the data of a file of `size` bytes from the pieces that a function writes: inline if the image holds it.
pub(super) fn file_data(
    size: u64,
    sink: &dyn LayerSink,
    write: &mut dyn FnMut(&mut dyn PieceSink) -> io::Result<()>,
) -> Result<FileData, Error> {
    if size > INLINE_MAX {
        return Ok(FileData::Object(sink.put_pieces(write)?, size));
    }
    let mut content = Vec::new();
    write(&mut content)?;
    Ok(FileData::Inline(content))
}
