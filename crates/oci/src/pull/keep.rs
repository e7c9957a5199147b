//! Keeping what gives the compressed blobs of layers back: a record made while the blob is read, or the blob itself.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use libcomposefs_image::Digest;
use libcomposefs_repo::{RepositoryError, Transaction};

use super::added_objects::AddedObjects;
use super::blob_spool::{BlobSpool, SpooledInput};
use super::keep_blobs::KeepBlobs;
use super::until_interrupted::UntilInterrupted;
use crate::blob::{CheckedBlob, LayerArchive, open_object, rebuilt};
use crate::blob_record::make_record;
use crate::compression::{Compression, LayerDecoder};
use crate::layer::LayerSink;
use crate::manifest::BlobRef;
use crate::source::{GivenBlob, ImageSource, SourceError};
use crate::stored::{StoredError, stream_name};
use crate::stream::{ContentType, StreamKind, StreamWriter};
use crate::{BlobDigest, BlobHasher};

/// Size of the pieces of a blob that wait for the thread that keeps it, in bytes, and their number.
const PIECE: usize = 64 << 10;
const PIECES: usize = 16;

/// What was made of a blob and stored, but has no name yet.
#[derive(Debug)]
pub(super) enum MadeBlob {
    /// A record: its object and size, and a copy of the blob if that would have to be fetched again.
    Record(Digest, u64, Option<BlobSpool>),
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
    /// The blob is not that of the layer.
    #[error(
        "it is no archive of this layer, compressed or not: the manifest names the blob of another layer, and is not \
         to be trusted"
    )]
    OtherArchive,
    /// The layer cannot be read back.
    #[error(transparent)]
    Stored(#[from] StoredError),
}

/// The form in which a blob is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeping {
    pub(super) keep: KeepBlobs,
    /// The blob comes from a network, and is read only once: there is a copy of it until the record is verified.
    pub(super) is_remote: bool,
}

/// Reads a blob by `read`, while another thread makes the part of it that the repository keeps. Both see the same bytes
/// once.
pub(super) fn keep_while_reading<T>(
    keep: Keeping,
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
    Keeping { keep, is_remote }: Keeping,
    own: &Transaction<'_>,
    input: impl Read,
    blob: &BlobRef,
) -> Result<MadeBlob, KeepError> {
    let mut input = BufReader::with_capacity(PIECE, UntilInterrupted { input, transaction: own });
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
    let spool = if is_remote { Some(BlobSpool::create(own.repository())?) } else { None };
    let mut input = SpooledInput { input, spool };
    match make_record(&mut input, blob.size) {
        Ok(record) => {
            let (object, _) = own.batch().put_bytes(&record).map_err(RepositoryError::from)?;
            Ok(MadeBlob::Record(object, record.len() as u64, input.spool))
        }
        // The blob may be malformed, or cannot be read; the other reader of it says so.
        Err(_) => match input.finish()? {
            Some(spool) => store_whole(own, &mut spool.reader()?, blob).map(MadeBlob::Whole),
            None => Ok(MadeBlob::NoRecord),
        },
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
    /// The largest window of Zstandard, as a power of two.
    pub(super) window_log: u32,
    /// Counts the objects of what is kept.
    pub(super) added: &'a AddedObjects,
}

impl LayerToKeep<'_> {
    /// Stores the stream of what was made of the blob, after the blob was rebuilt from the layer in the repository. If
    /// that fails, the blob is read again, from its copy or the source, and kept whole. `transaction` protects the
    /// result. The stream of a layer from a network has a link at once, as the layer has.
    pub(super) fn store(&self, transaction: &Transaction<'_>, made: MadeBlob) -> Result<Option<KeptStream>, KeepError> {
        let repository = transaction.repository();
        let mut own = repository.transaction()?;
        let (object, size, content_type) = match made {
            MadeBlob::Archive => return Ok(None),
            MadeBlob::Whole(object) => (object, self.blob.size, ContentType::KEPT_BLOB),
            MadeBlob::Record(object, size, _) if self.is_rebuilt(transaction, &object)? => {
                (object, size, ContentType::RECORD)
            }
            MadeBlob::Record(_, _, Some(spool)) => {
                let object = self.store_checked(&own, spool.reader()?)?;
                (object, self.blob.size, ContentType::KEPT_BLOB)
            }
            MadeBlob::Record(_, _, None) | MadeBlob::NoRecord => {
                let object = self.store_checked(&own, self.source.blob(self.blob)?)?;
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
        self.added.commit(own)?;
        Ok(Some(KeptStream { stream, object }))
    }

    /// Stores the blob as an object, and compares its digest.
    fn store_checked(&self, own: &Transaction<'_>, input: impl Read) -> Result<Digest, KeepError> {
        let blob = CheckedBlob::of_source(input, self.blob.digest, self.blob.size);
        store_whole(own, &mut BufReader::with_capacity(PIECE, blob), self.blob)
    }

    /// Copies what the source has kept of the blob, and compares it: a record by rebuilding the blob.
    pub(super) fn copy_kept(
        &self,
        transaction: &Transaction<'_>,
        given: GivenBlob<'_>,
    ) -> Result<Option<KeptStream>, KeepError> {
        let own = transaction.repository().transaction()?;
        let made = match given {
            GivenBlob::Record(record) => {
                let (object, _) = own.batch().put_bytes(&record).map_err(RepositoryError::from)?;
                MadeBlob::Record(object, record.len() as u64, None)
            }
            GivenBlob::Whole(blob) => MadeBlob::Whole(self.store_checked(&own, blob)?),
        };
        protect_made(transaction, &made)?;
        self.added.commit(own)?;
        self.store(transaction, made)
    }

    /// Reads the blob of a layer that the repository has had, and keeps it.
    pub(super) fn keep_again(
        &self,
        keep: KeepBlobs,
        transaction: &Transaction<'_>,
    ) -> Result<Option<KeptStream>, KeepError> {
        let own = transaction.repository().transaction()?;
        let mut blob = CheckedBlob::of_source(self.source.blob(self.blob)?, self.blob.digest, self.blob.size);
        let keeping = Keeping { keep, is_remote: self.source.is_remote() };
        let made = make(keeping, &own, &mut blob, self.blob)?;
        // To the end, where the digest is compared.
        io::copy(&mut UntilInterrupted { input: blob, transaction }, &mut io::sink())?;
        if matches!(made, MadeBlob::Archive) {
            return if self.blob.digest == self.diff_id { Ok(None) } else { Err(KeepError::OtherArchive) };
        }
        protect_made(transaction, &made)?;
        self.added.commit(own)?;
        if let MadeBlob::Whole(object) = made {
            self.expect_archive(transaction, &object)?;
        }
        self.store(transaction, made)
    }

    /// Decompresses a blob that was kept whole, and compares its archive with the layer.
    fn expect_archive(&self, transaction: &Transaction<'_>, object: &Digest) -> Result<(), KeepError> {
        let input = open_object(transaction.repository(), object)?;
        let input = BufReader::with_capacity(PIECE, UntilInterrupted { input, transaction });
        let mut archive = LayerDecoder::new(input, self.window_log)?;
        let (mut hasher, mut buffer) = (BlobHasher::default(), vec![0; PIECE]);
        loop {
            match archive.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => hasher.update(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    transaction.proceed()?;
                    return Err(KeepError::OtherArchive);
                }
            }
        }
        if hasher.finish() == self.diff_id { Ok(()) } else { Err(KeepError::OtherArchive) }
    }

    /// Rebuilds the blob from the record that the repository has, and keeps it whole. `None` if the blob does not come
    /// back.
    pub(super) fn replace_record(
        &self,
        transaction: &Transaction<'_>,
        record: &Digest,
    ) -> Result<Option<KeptStream>, KeepError> {
        let Some(input) = self.rebuilt(transaction, record)? else { return Ok(None) };
        let own = transaction.repository().transaction()?;
        let object = match store_whole(&own, &mut BufReader::with_capacity(PIECE, input), self.blob) {
            Ok(object) => object,
            Err(error) => {
                transaction.proceed()?;
                let is_damaged = |kind| matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
                return match error {
                    KeepError::Io(error) if is_damaged(error.kind()) => Ok(None),
                    error => Err(error),
                };
            }
        };
        transaction.protect(&[object])?;
        self.added.commit(own)?;
        self.store(transaction, MadeBlob::Whole(object))
    }

    /// Begins to rebuild the blob. `None` if the record is damaged.
    fn rebuilt<'t>(
        &self,
        transaction: &'t Transaction<'_>,
        record: &Digest,
    ) -> Result<Option<impl Read + use<'t>>, KeepError> {
        let repository = transaction.repository();
        let input = LayerArchive::of_stream(repository, &self.diff_id, &self.stream)?;
        match rebuilt(repository, self.blob, record, UntilInterrupted { input, transaction }) {
            Ok(rebuilt) => Ok(Some(CheckedBlob::new(rebuilt, self.blob.digest, self.blob.size))),
            Err(StoredError::Record { .. } | StoredError::Repository(RepositoryError::Object(_))) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns whether the blob comes back from its record.
    fn is_rebuilt(&self, transaction: &Transaction<'_>, record: &Digest) -> Result<bool, KeepError> {
        let Some(mut rebuilt) = self.rebuilt(transaction, record)? else { return Ok(false) };
        let Err(error) = io::copy(&mut rebuilt, &mut io::sink()) else { return Ok(true) };
        transaction.proceed()?;
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Ok(false),
            _ => Err(error.into()),
        }
    }
}

/// Protects the object of what was made from gc.
pub(super) fn protect_made(transaction: &Transaction<'_>, made: &MadeBlob) -> Result<(), RepositoryError> {
    match made {
        MadeBlob::Record(object, ..) | MadeBlob::Whole(object) => transaction.protect(&[*object]),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use libcomposefs_image::Algorithm;
    use libcomposefs_repo::{Format, Repository, Settings};

    use super::*;
    use crate::source::RootDocument;

    fn blob_of(bytes: &[u8]) -> BlobRef {
        let (media_type, annotations) = (String::new(), Default::default());
        BlobRef { digest: BlobDigest::of(bytes), size: bytes.len() as u64, media_type, annotations }
    }

    /// A source that has nothing.
    struct NoSource;

    impl ImageSource for NoSource {
        fn describe(&self) -> String {
            "nothing".into()
        }

        fn root(&self) -> Result<RootDocument, SourceError> {
            Err(self.blob(&blob_of(b"")).err().unwrap())
        }

        fn manifest(&self, blob: &BlobRef) -> Result<Vec<u8>, SourceError> {
            Err(self.blob(blob).err().unwrap())
        }

        fn blob(&self, _: &BlobRef) -> Result<Box<dyn Read + Send + '_>, SourceError> {
            Err(SourceError::Io { path: "nothing".into(), source: io::ErrorKind::NotFound.into() })
        }
    }

    #[test]
    fn verifying_a_record_ends_when_the_pull_is_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { algorithm: Algorithm::Sha256, demands_verity: false, format: Format::One };
        let (repository, _) = Repository::init(&dir.path().join("repo"), settings).unwrap();
        let flag = Arc::new(AtomicBool::new(false));
        let repository = repository.interrupted_by(Arc::clone(&flag));
        let archive = [7; 100_000];
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        io::Write::write_all(&mut encoder, &archive).unwrap();
        let bytes = encoder.finish().unwrap();
        let blob = blob_of(&bytes);

        let mut own = repository.transaction().unwrap();
        let mut stream = StreamWriter::new(repository.algorithm()).unwrap();
        stream.inline(&archive).unwrap();
        let file = stream.finish(ContentType::LAYER, &[]).unwrap();
        let diff_id = BlobDigest::of(&archive);
        let stream = own.add_stream(stream_name(StreamKind::Layer(diff_id)), &file, vec![], vec![]).unwrap();
        let keeping = Keeping { keep: KeepBlobs::Record, is_remote: false };
        let MadeBlob::Record(record, ..) = make(keeping, &own, &bytes[..], &blob).unwrap() else { panic!("no record") };
        own.commit().unwrap();

        let transaction = repository.transaction().unwrap();
        let layer = LayerToKeep {
            source: &NoSource,
            blob: &blob,
            diff_id,
            stream,
            window_log: crate::compression::WINDOW_LOG,
            added: &AddedObjects::default(),
        };
        assert!(layer.is_rebuilt(&transaction, &record).unwrap());
        flag.store(true, Ordering::Relaxed);
        let error = layer.is_rebuilt(&transaction, &record).unwrap_err();
        let interrupted = RepositoryError::Store(libcomposefs_store::Error::Interrupted).to_string();
        assert_eq!(error.to_string(), interrupted);
    }
}
