//! Parts of a blob in a registry, as one stream: threads send the requests, and wait when nothing reads.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use libcomposefs_content::mutex::lock;
use libcomposefs_oci::source::BlobParts;
use libcomposefs_oci::zstd_chunked::{ByteRange, RangeFetcher};
use libcomposefs_remote::{BlobReader, Error, ErrorKind, RangesAnswer, RegistryDigest, RemoteRepository};

/// Number of pieces of a connection that wait. A piece is what the connection gives at once, at most some 10 KiB.
const PIECES: usize = 16;
/// Number of requests at once, so that fewer round trips are waited for. Three layers are pulled at once.
const CONNECTIONS: usize = 2;

/// Fetches parts of one blob.
#[derive(Debug)]
pub(super) struct RegistryParts {
    repository: RemoteRepository,
    digest: RegistryDigest,
    size: u64,
    /// The whole blob, once the registry has sent it in place of parts.
    whole: Arc<Mutex<Option<Box<BlobReader>>>>,
}

/// The bytes of the requests of one thread.
type PieceSender = SyncSender<io::Result<Vec<u8>>>;

impl RegistryParts {
    pub(super) fn new(repository: RemoteRepository, digest: RegistryDigest, size: u64) -> Self {
        Self { repository, digest, size, whole: Arc::default() }
    }

    /// Starts a thread that sends these requests one after the other. It ends early if nothing receives the bytes.
    fn start(&self, requests: Vec<Vec<Range<u64>>>, sender: PieceSender) -> io::Result<()> {
        let (repository, digest, size) = (self.repository.clone(), self.digest.clone(), self.size);
        let whole = Arc::clone(&self.whole);
        let work = move || {
            for ranges in requests {
                let mut order = InOrder { ranges: ranges.clone().into_iter(), at: 0..0 };
                let mut sink = |at: u64, bytes: &[u8]| {
                    order.expect(at, bytes.len() as u64)?;
                    sender.send(Ok(bytes.to_vec())).map_err(|_| io::ErrorKind::BrokenPipe.into())
                };
                let error = match repository.ranges(&digest, size, &ranges, &mut sink) {
                    Ok(RangesAnswer::Done) => continue,
                    Ok(RangesAnswer::WholeBody(reader)) => {
                        *lock(&whole) = Some(reader);
                        io::Error::new(io::ErrorKind::InvalidData, "the registry sends the whole blob")
                    }
                    Err(error) => parts_error(error),
                };
                let _ = sender.send(Err(error));
                return;
            }
        };
        std::thread::Builder::new().spawn(work).map(drop)
    }
}

impl RangeFetcher for RegistryParts {
    fn ranges_per_request(&self) -> usize {
        self.repository.ranges_per_request()
    }

    fn fetch<'f>(&'f mut self, requests: &'f [Vec<ByteRange>]) -> io::Result<Box<dyn Read + 'f>> {
        let threads = CONNECTIONS.min(requests.len()).max(1);
        let mut receivers = Vec::new();
        for thread in 0..threads {
            let own = requests.iter().skip(thread).step_by(threads);
            let ranges = |request: &Vec<ByteRange>| request.iter().map(|range| range.start..range.end).collect();
            let (sender, receiver) = sync_channel(PIECES);
            self.start(own.map(ranges).collect(), sender)?;
            receivers.push(receiver);
        }
        Ok(Box::new(Pieces { receivers, requests, next: 0, left: 0, piece: Vec::new(), at: 0 }))
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
    let is_of_parts = match error.kind() {
        ErrorKind::Range { .. }
        | ErrorKind::Status(_)
        | ErrorKind::Protocol { .. }
        | ErrorKind::TooLong { .. }
        | ErrorKind::Size { .. } => true,
        ErrorKind::Local(local) => local.kind() == io::ErrorKind::InvalidData,
        _ => false,
    };
    io::Error::new(if is_of_parts { io::ErrorKind::InvalidData } else { io::ErrorKind::Other }, error)
}

/// Checks that the bytes arrive in the order of the ranges: a server may send the parts of an answer in another one.
struct InOrder<I> {
    ranges: I,
    /// The rest of the present range.
    at: Range<u64>,
}

impl<I: Iterator<Item = Range<u64>>> InOrder<I> {
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

/// The bytes in the order of the requests, as the threads send them: each has every other request.
struct Pieces<'f> {
    receivers: Vec<Receiver<io::Result<Vec<u8>>>>,
    requests: &'f [Vec<ByteRange>],
    /// The number of the next request.
    next: usize,
    /// Number of bytes of the present request that did not arrive yet.
    left: u64,
    piece: Vec<u8>,
    at: usize,
}

impl Pieces<'_> {
    /// Receives the next piece. Returns false at the end.
    fn receive(&mut self) -> io::Result<bool> {
        while self.left == 0 {
            let Some(request) = self.requests.get(self.next) else { return Ok(false) };
            self.left = request.iter().map(|range| range.len()).sum();
            self.next += 1;
        }
        let thread = (self.next - 1) % self.receivers.len();
        let ended = |_| io::Error::other("the thread that fetches has ended");
        self.piece = self.receivers[thread].recv().map_err(ended)??;
        self.at = 0;
        self.left = self.left.saturating_sub(self.piece.len() as u64);
        Ok(true)
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() && !self.receive()? {
            return Ok(0);
        }
        let piece = self.piece.get(self.at..).unwrap_or_default();
        let len = piece.len().min(buffer.len());
        buffer[..len].copy_from_slice(&piece[..len]);
        self.at += len;
        Ok(len)
    }
}
