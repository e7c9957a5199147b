//! Keeping what gives the compressed blobs of layers back: a record made while the blob is read, or the blob itself.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use libcomposefs_image::Digest;
use libcomposefs_repo::{RepositoryError, Transaction};

use super::keep_blobs::KeepBlobs;

use crate::BlobDigest;
use crate::blob::{BlobKind, CheckedBlob, KeptBlob, LayerArchive, blob_kind, rebuilt};
use crate::blob_record::make_record;
use crate::compression::Compression;
use crate::layer::LayerSink;
use crate::manifest::BlobRef;
use crate::source::{ImageSource, SourceError};
use crate::stored::{StoredError, stream_name};
use crate::stream::{ContentType, StreamKind, StreamWriter};

/// Size of the pieces of a blob that wait for the thread that keeps it, in bytes, and their number.
const PIECE: usize = 64 << 10;
const PIECES: usize = 16;

/// What was made of a blob and stored, but has no name yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MadeBlob {
    /// A record: its object and size.
    Record(Digest, u64),
    /// The blob: its object.
    Whole(Digest),
    /// Nothing: the blob is the archive.
    Archive,
    /// Nothing: there is no record for it.
    NoRecord,
}

/// The reasons why a blob cannot be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// The blob cannot be read again.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The blob cannot be read, or the record or blob cannot be stored.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The repository cannot be written.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The layer cannot be read back.
    #[error(transparent)]
    Stored(#[from] StoredError),
}

/// Reads a blob by `read`, while another thread makes the part of it that the repository keeps. Both see the same bytes
/// once.
pub(super) fn keep_while_reading<T>(
    keep: KeepBlobs,
    own: &Transaction<'_>,
    input: Box<dyn Read + Send + '_>,
    blob: &BlobRef,
    read: impl FnOnce(Box<dyn Read + Send + '_>) -> T,
) -> (T, Result<MadeBlob, KeepError>) {
    let (sender, receiver) = sync_channel(PIECES);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| make(keep, own, BlobPieces { receiver, piece: Vec::new(), at: 0 }, blob));
        let result = read(Box::new(TeeBlob { input, sender: Some(sender) }));
        let failed = |_| Err(io::Error::other("the thread that keeps the blob has failed").into());
        (result, thread.join().unwrap_or_else(failed))
    })
}

/// Makes what is kept of a blob, and stores its object.
pub(super) fn make(
    keep: KeepBlobs,
    own: &Transaction<'_>,
    input: impl Read,
    blob: &BlobRef,
) -> Result<MadeBlob, KeepError> {
    let mut input = BufReader::with_capacity(PIECE, input);
    // Other programs decide by the first bytes too. One read may give fewer.
    let mut head = Vec::new();
    (&mut input).take(4).read_to_end(&mut head)?;
    let compression = Compression::of(&head);
    let mut input = Cursor::new(head).chain(input);
    let is_record = keep == KeepBlobs::Record && compression == Compression::Gzip;
    if compression == Compression::None {
        return Ok(MadeBlob::Archive);
    }
    if !is_record {
        return store_whole(own, &mut input, blob).map(MadeBlob::Whole);
    }
    match make_record(input, blob.size) {
        Ok(record) => {
            let (object, _) = own.batch().put_bytes(&record).map_err(RepositoryError::from)?;
            Ok(MadeBlob::Record(object, record.len() as u64))
        }
        // The blob may be malformed, or cannot be read; the other reader of it says so.
        Err(_) => Ok(MadeBlob::NoRecord),
    }
}

/// Stores a blob as an object. Its digest is compared by the caller.
fn store_whole(own: &Transaction<'_>, input: &mut dyn BufRead, blob: &BlobRef) -> Result<Digest, KeepError> {
    Ok(own.batch().put(blob.size, input).map_err(RepositoryError::from)?)
}

/// What is kept of a blob: its stream, and the object of that.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeptStream {
    pub(super) stream: Digest,
    pub(super) object: Digest,
}

/// A layer whose objects are in the repository, and its blob.
#[derive(Clone, Copy)]
pub(super) struct LayerToKeep<'a> {
    pub(super) source: &'a dyn ImageSource,
    pub(super) blob: &'a BlobRef,
    pub(super) diff_id: BlobDigest,
    /// The object of the layer's stream.
    pub(super) stream: Digest,
}

impl LayerToKeep<'_> {
    /// Stores the stream of what was made of the blob, after the blob was rebuilt from the layer in the repository. If
    /// that fails, the blob is read from the source again and kept whole. `transaction` protects the result. The stream
    /// of a layer from a network has a link at once, as the layer has.
    pub(super) fn store(&self, transaction: &Transaction<'_>, made: MadeBlob) -> Result<Option<KeptStream>, KeepError> {
        let repository = transaction.repository();
        let mut own = repository.transaction()?;
        let (object, size, content_type) = match made {
            MadeBlob::Archive => return Ok(None),
            MadeBlob::Whole(object) => (object, self.blob.size, ContentType::KEPT_BLOB),
            MadeBlob::Record(object, size) if self.is_rebuilt(transaction, &object)? => {
                (object, size, ContentType::RECORD)
            }
            MadeBlob::Record(..) | MadeBlob::NoRecord => {
                let blob = CheckedBlob::of_source(self.source.blob(self.blob)?, self.blob.digest, self.blob.size);
                let object = store_whole(&own, &mut BufReader::with_capacity(PIECE, blob), self.blob)?;
                (object, self.blob.size, ContentType::KEPT_BLOB)
            }
        };
        let mut stream = StreamWriter::new(repository.algorithm())?;
        stream.object(object, size)?;
        let file = stream.finish(content_type, &[])?;
        let name = stream_name(StreamKind::KeptBlob(self.blob.digest));
        let stream = if self.source.is_remote() {
            own.add_stream(name, &file, vec![object], Vec::new())?
        } else {
            own.batch().put_bytes(&file).map_err(RepositoryError::from)?.0
        };
        // Before the other lease ends.
        transaction.protect(&[stream, object])?;
        own.commit()?;
        Ok(Some(KeptStream { stream, object }))
    }

    /// Reads the blob of a layer that the repository has had, and keeps it.
    pub(super) fn keep_again(
        &self,
        keep: KeepBlobs,
        transaction: &Transaction<'_>,
    ) -> Result<Option<KeptStream>, KeepError> {
        let own = transaction.repository().transaction()?;
        let mut blob = CheckedBlob::of_source(self.source.blob(self.blob)?, self.blob.digest, self.blob.size);
        let made = make(keep, &own, &mut blob, self.blob)?;
        if matches!(made, MadeBlob::Archive) {
            return Ok(None);
        }
        // To the end, where the digest is compared.
        io::copy(&mut blob, &mut io::sink())?;
        protect_made(transaction, made)?;
        own.commit()?;
        self.store(transaction, made)
    }

    /// Returns whether the blob comes back from its record.
    fn is_rebuilt(&self, transaction: &Transaction<'_>, record: &Digest) -> Result<bool, KeepError> {
        let repository = transaction.repository();
        let archive = LayerArchive::of_stream(repository, &self.diff_id, &self.stream)?;
        let rebuilt = match rebuilt(repository, self.blob, record, archive) {
            Ok(rebuilt) => rebuilt,
            Err(StoredError::Record { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let mut checked = CheckedBlob::new(rebuilt, self.blob.digest, self.blob.size);
        match io::copy(&mut checked, &mut io::sink()) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Protects the object of what was made from gc.
pub(super) fn protect_made(transaction: &Transaction<'_>, made: MadeBlob) -> Result<(), RepositoryError> {
    match made {
        MadeBlob::Record(object, _) | MadeBlob::Whole(object) => transaction.protect(&[object]),
        MadeBlob::Archive | MadeBlob::NoRecord => Ok(()),
    }
}

/// Gives a copy of what is read to another thread.
struct TeeBlob<'a> {
    input: Box<dyn Read + Send + 'a>,
    /// `None` once the other thread needs no more.
    sender: Option<SyncSender<Vec<u8>>>,
}

impl Read for TeeBlob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buffer)?;
        if let Some(sender) = self.sender.as_ref().filter(|_| len > 0)
            && sender.send(buffer[..len].to_vec()).is_err()
        {
            self.sender = None;
        }
        Ok(len)
    }
}

/// The blob, as the other thread sends it.
struct BlobPieces {
    receiver: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for BlobPieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            let Ok(next) = self.receiver.recv() else { return Ok(0) };
            (self.piece, self.at) = (next, 0);
        }
        let len = buffer.len().min(self.piece.len() - self.at);
        buffer[..len].copy_from_slice(&self.piece[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

/// What the repository can give of the blob of a layer that it has.
#[derive(Clone, Copy, Debug)]
pub(super) enum FoundBlob {
    /// The blob: what was kept of it, or the archive is the blob.
    Given(Option<KeptStream>),
    /// Nothing.
    Missing,
}

/// Finds out whether the repository can give a blob back, and protects what it has kept of it.
pub(super) fn find_kept(
    transaction: &Transaction<'_>,
    blob: &BlobRef,
    diff_id: &BlobDigest,
) -> Result<FoundBlob, StoredError> {
    let repository = transaction.repository();
    let name = stream_name(StreamKind::KeptBlob(blob.digest));
    let stream = repository.stream(&name)?;
    if let Some(digest) = stream {
        // The lease protects what the stream needs.
        transaction.protect(&[digest])?;
    }
    let found = || match blob_kind(repository, blob, diff_id)? {
        BlobKind::None => Ok(FoundBlob::Missing),
        BlobKind::Exact => Ok(FoundBlob::Given(None)),
        BlobKind::Rebuildable(_) | BlobKind::Whole(_) => {
            let kept = stream.zip(KeptBlob::find(repository, &blob.digest)?);
            // Published again: a pull that was cut may have written the link of the stream without its name.
            Ok(FoundBlob::Given(kept.map(|(stream, kept)| KeptStream { stream, object: kept.object() })))
        }
    };
    match found() {
        // A damaged stream is written anew.
        Err(StoredError::Stream { .. } | StoredError::Repository(RepositoryError::Object(_))) => Ok(FoundBlob::Missing),
        other => other,
    }
}
