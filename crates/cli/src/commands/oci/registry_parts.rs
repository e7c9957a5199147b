//! Parts of a blob in a registry, as one stream: a thread sends the requests, and waits when nothing reads.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use libcomposefs_content::mutex::lock;
use libcomposefs_oci::source::BlobParts;
use libcomposefs_oci::zstd_chunked::{ByteRange, RangeFetcher};
use libcomposefs_remote::{BlobReader, Error, ErrorKind, RangesAnswer, RegistryDigest, RemoteRepository};

/// Number of pieces that wait. A piece is what the connection gives at once, at most some 10 KiB.
const PIECES: usize = 16;

/// Fetches parts of one blob.
#[derive(Debug)]
pub(super) struct RegistryParts {
    repository: RemoteRepository,
    digest: RegistryDigest,
    size: u64,
    /// The whole blob, once the registry has sent it in place of parts.
    whole: Arc<Mutex<Option<Box<BlobReader>>>>,
}

impl RegistryParts {
    pub(super) fn new(repository: RemoteRepository, digest: RegistryDigest, size: u64) -> Self {
        Self { repository, digest, size, whole: Arc::default() }
    }
}

impl RangeFetcher for RegistryParts {
    fn ranges_per_request(&self) -> usize {
        self.repository.ranges_per_request()
    }

    fn fetch<'f>(&'f mut self, requests: &'f [Vec<ByteRange>]) -> io::Result<Box<dyn Read + 'f>> {
        let (sender, receiver) = sync_channel(PIECES);
        let ranges: Vec<_> = requests.iter().flatten().map(|range| range.start..range.end).collect();
        let (repository, digest, size) = (self.repository.clone(), self.digest.clone(), self.size);
        let whole = Arc::clone(&self.whole);
        // Without a reader the thread ends at the next piece.
        std::thread::Builder::new().spawn(move || {
            let mut next = InOrder { ranges: ranges.clone().into_iter(), at: 0..0 };
            let mut sink = |at: u64, bytes: &[u8]| {
                next.expect(at, bytes.len() as u64)?;
                sender.send(Ok(bytes.to_vec())).map_err(|_| io::ErrorKind::BrokenPipe.into())
            };
            let error = match repository.ranges(&digest, size, &ranges, &mut sink) {
                Ok(RangesAnswer::Done) => return,
                Ok(RangesAnswer::WholeBody(reader)) => {
                    *lock(&whole) = Some(reader);
                    io::Error::new(io::ErrorKind::InvalidData, "the registry sends the whole blob")
                }
                Err(error) => parts_error(error),
            };
            let _: Result<(), _> = SyncSender::send(&sender, Err(error));
        })?;
        Ok(Box::new(Pieces { receiver, piece: Vec::new(), at: 0 }))
    }
}

impl BlobParts for RegistryParts {
    fn take_whole(&mut self) -> Option<Box<dyn Read + Send>> {
        // The pull computes the digest too.
        lock(&self.whole).take().map(|reader| Box::new(reader.unverified()) as Box<dyn Read + Send>)
    }
}

/// Marks the errors that a pull of the whole blob may not meet.
fn parts_error(error: Error) -> io::Error {
    match error.kind() {
        ErrorKind::Range { .. }
        | ErrorKind::Status(_)
        | ErrorKind::Protocol { .. }
        | ErrorKind::TooLong { .. }
        | ErrorKind::Size { .. } => io::Error::new(io::ErrorKind::InvalidData, error),
        ErrorKind::Local(local) if local.kind() == io::ErrorKind::InvalidData => {
            io::Error::new(io::ErrorKind::InvalidData, error)
        }
        _ => io::Error::other(error),
    }
}

/// Checks that the bytes arrive in the order of the ranges: a server may send the parts of an answer in another one.
struct InOrder<I> {
    ranges: I,
    /// The rest of the present range.
    at: std::ops::Range<u64>,
}

impl<I: Iterator<Item = std::ops::Range<u64>>> InOrder<I> {
    fn expect(&mut self, at: u64, len: u64) -> io::Result<()> {
        if self.at.is_empty() {
            self.at = self.ranges.next().unwrap_or_default();
        }
        if self.at.start != at {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the parts are not in the order of the request"));
        }
        self.at.start += len;
        Ok(())
    }
}

/// The bytes, as the thread sends them.
struct Pieces {
    receiver: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            // Without a sender everything has arrived.
            let Ok(piece) = self.receiver.recv() else { return Ok(0) };
            (self.piece, self.at) = (piece?, 0);
        }
        let piece = self.piece.get(self.at..).unwrap_or_default();
        let len = piece.len().min(buffer.len());
        buffer[..len].copy_from_slice(&piece[..len]);
        self.at += len;
        Ok(len)
    }
}
