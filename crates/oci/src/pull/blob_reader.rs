//! Reading a blob: counted, hashed, and decompressed on a thread of its own.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::PullProgress;
use crate::compression::LayerDecoder;
use crate::manifest::BlobRef;
use crate::source::{ImageSource, SourceError};
use crate::{BlobDigest, BlobHasher};

/// Size of the pieces that the two threads of a layer exchange, in bytes.
const PIECE: usize = 256 << 10;
/// Number of pieces that wait.
const PIECES: usize = 4;

/// Reads a small blob, and compares its size and digest.
pub(super) fn read_whole(source: &dyn ImageSource, blob: &BlobRef, max: u64) -> Result<Vec<u8>, SourceError> {
    let what = format!("blob {}", blob.digest);
    let failed = |source| SourceError::Io { path: what.clone(), source };
    let mut bytes = Vec::new();
    let size = blob.size.min(max);
    source.blob(blob)?.take(size + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 != blob.size {
        let found = if bytes.len() as u64 > size { "more".to_owned() } else { bytes.len().to_string() };
        let error = format!("the manifest says that it has {} bytes, but it has {found}", blob.size);
        return Err(failed(io::Error::other(error)));
    }
    let found = BlobDigest::of(&bytes);
    if found != blob.digest {
        return Err(SourceError::Digest { what, expected: blob.digest, found });
    }
    Ok(bytes)
}

/// What was read of a blob.
#[derive(Clone, Debug)]
pub(super) struct BlobRead {
    /// The digest of all bytes.
    pub(super) digest: BlobDigest,
    /// The number of bytes.
    pub(super) size: u64,
    /// Set if bytes other than zeros follow the compressed archive.
    pub(super) has_garbage: bool,
}

/// Counts and hashes a blob. More bytes than the manifest says are an error.
struct CountedBlob<'a> {
    input: Box<dyn Read + Send + 'a>,
    hasher: BlobHasher,
    size: u64,
    expected: u64,
    number: usize,
    progress: &'a dyn PullProgress,
}

impl Read for CountedBlob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buffer)?;
        self.size += len as u64;
        if self.size > self.expected {
            let error = format!("the blob has more than the {} bytes that the manifest says", self.expected);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        self.hasher.update(&buffer[..len]);
        self.progress.bytes(self.number, len as u64);
        Ok(len)
    }
}

/// Reads the archive in a blob on another thread, while `take` reads the archive on this one.
pub(super) fn read_archive<T>(
    input: Box<dyn Read + Send + '_>,
    blob: &BlobRef,
    (number, progress): (usize, &dyn PullProgress),
    window_log: u32,
    take: impl FnOnce(&mut dyn Read) -> T,
) -> (T, io::Result<BlobRead>) {
    let (sender, receiver) = sync_channel(PIECES);
    let (give_back, returned) = sync_channel(PIECES + 2);
    std::thread::scope(|scope| {
        let expected = blob.size;
        let thread = scope.spawn(move || {
            let counted = CountedBlob { input, hasher: BlobHasher::default(), size: 0, expected, number, progress };
            decompress(counted, window_log, &sender, &returned)
        });
        let mut archive = ArchivePieces { receiver, give_back, piece: Vec::new(), at: 0 };
        let taken = take(&mut archive);
        // The other thread ends when nothing receives what it reads.
        drop(archive);
        let read = thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that decompresses has failed")));
        (taken, read)
    })
}

fn decompress(
    blob: CountedBlob<'_>,
    window_log: u32,
    sender: &SyncSender<io::Result<Vec<u8>>>,
    returned: &Receiver<Vec<u8>>,
) -> io::Result<BlobRead> {
    let mut blob = BufReader::with_capacity(64 << 10, blob);
    let has_garbage = match decompress_all(&mut blob, window_log, sender, returned) {
        Ok(has_garbage) => has_garbage,
        Err(error) => {
            let copy = io::Error::new(error.kind(), error.to_string());
            let _ = sender.send(Err(error));
            return Err(copy);
        }
    };
    let blob = blob.into_inner();
    Ok(BlobRead { digest: blob.hasher.finish(), size: blob.size, has_garbage })
}

fn decompress_all(
    blob: &mut impl BufRead,
    window_log: u32,
    sender: &SyncSender<io::Result<Vec<u8>>>,
    returned: &Receiver<Vec<u8>>,
) -> io::Result<bool> {
    let mut decoder = LayerDecoder::new(blob, window_log)?;
    loop {
        let mut piece = returned.try_recv().unwrap_or_default();
        // A piece that comes back is not filled with zeros again: it is as long as it was.
        piece.resize(PIECE, 0);
        let mut len = 0;
        while len < PIECE {
            match decoder.read(&mut piece[len..]) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if len == 0 {
            return decoder.drain();
        }
        piece.truncate(len);
        if sender.send(Ok(piece)).is_err() {
            return Err(io::Error::other("the archive was not read to its end"));
        }
    }
}

/// The archive, as the other thread sends it.
struct ArchivePieces {
    receiver: Receiver<io::Result<Vec<u8>>>,
    give_back: SyncSender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for ArchivePieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            let next = match self.receiver.recv() {
                Ok(next) => next?,
                Err(_) => return Ok(0),
            };
            let _ = self.give_back.try_send(std::mem::replace(&mut self.piece, next));
            self.at = 0;
        }
        let len = buffer.len().min(self.piece.len() - self.at);
        buffer[..len].copy_from_slice(&self.piece[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}
