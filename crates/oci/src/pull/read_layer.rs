//! Reading one layer: its missing contents alone, or its whole blob, once.

use std::io::Read;

use libcomposefs_image::Digest;
use libcomposefs_repo::{Repository, Transaction};
use libcomposefs_store::Batch;

use super::blob_reader::{BlobRead, read_archive};
use super::keep::{KeepError, Keeping, KeptStream, MadeBlob, keep_while_reading};
use super::known::KnownContents;
use super::partial::{self, PartialLayer, PartialPull};
use super::received::{BlobInput, ReceivedPart};
use super::whole_blob::WholeBlob;
use super::{LayerOutcome, PullError, PullOptions, PullProgress, PullWarning};
use crate::layer::{
    EntryLog, ExpandedFiles, FileData, ImportedLayer, LayerReadError, LayerSink, LoggedLayer, import_layer, log_layer,
};
use crate::manifest::BlobRef;
use crate::source::{ImageSource, LayerRequest};
use crate::stored::STREAM_MAX;
use crate::stream::{ContentType, StreamReader};
use crate::tar::Limits;
use crate::zstd_chunked::ChunkedImport;
use crate::{BlobDigest, stream};

/// Largest size of an archive whose blob is empty, in bytes.
const ARCHIVE_MIN: u64 = 1 << 30;
/// Largest ratio of the size of an archive to that of its blob, beside the constant.
const RATIO_MAX: u64 = 100;

/// A layer that was read and verified.
#[derive(Debug)]
pub(super) struct ReadLayer {
    /// The digest of its blob in the manifest.
    pub(super) blob: BlobDigest,
    /// The digest of its archive.
    pub(super) diff_id: BlobDigest,
    /// The file of its stream.
    pub(super) file: Vec<u8>,
    /// The digest of that file, if it is in the repository or its batch.
    pub(super) stream: Option<Digest>,
    /// The objects of the layer.
    pub(super) objects: Vec<Digest>,
    pub(super) size: u64,
    pub(super) outcome: LayerOutcome,
    pub(super) warnings: Vec<PullWarning>,
    /// What is kept of its blob, if that is new.
    pub(super) kept: Option<KeptStream>,
    /// The expanded sparse files, if the layer was read now.
    pub(super) expanded: Option<ExpandedFiles>,
    /// The entries in place of a stream, of a layer that is not stored.
    pub(super) log: Option<EntryLog>,
}

impl ReadLayer {
    /// Returns a layer that the repository has: `stream` is the digest and the file of its stream.
    pub(super) fn of_stream(
        repository: &Repository,
        blob: BlobDigest,
        diff_id: BlobDigest,
        (digest, file): (Digest, Vec<u8>),
    ) -> Result<Self, PullError> {
        let stream = StreamReader::new(&file, repository.algorithm())
            .map_err(|error| PullError::Stored(Box::new(error.into())))?;
        let (objects, size) = (stream.objects().to_vec(), stream.size());
        drop(stream);
        let (outcome, stream) = (LayerOutcome::Present, Some(digest));
        let (warnings, kept, expanded) = (Vec::new(), None, None);
        Ok(Self { blob, diff_id, file, stream, objects, size, outcome, warnings, kept, expanded, log: None })
    }
}

/// One layer to be read.
#[derive(Clone, Copy)]
pub(super) struct LayerJob<'a> {
    pub(super) number: usize,
    pub(super) count: usize,
    pub(super) blob: &'a BlobRef,
    pub(super) diff_id: BlobDigest,
}

impl LayerJob<'_> {
    pub(super) fn not_kept(&self, error: KeepError) -> PullError {
        let (number, count, blob) = (self.number + 1, self.count, self.blob.digest);
        PullError::Keep { number, count, blob, error: Box::new(error) }
    }

    /// Returns the largest size of the archive, in bytes.
    pub(super) fn size_max(&self, options: &PullOptions) -> u64 {
        let by_blob = || self.blob.size.saturating_mul(RATIO_MAX).saturating_add(ARCHIVE_MIN);
        options.layer_size_max.unwrap_or_else(by_blob)
    }

    /// Compares the digest of the archive with the configuration.
    fn check_diff_id(&self, found: BlobDigest) -> Result<(), PullError> {
        let (number, count, blob, expected) = (self.number + 1, self.count, self.blob.digest, self.diff_id);
        if found == expected { Ok(()) } else { Err(PullError::DiffId { number, count, blob, expected, found }) }
    }

    /// Returns a function that says of an error which layer has it.
    pub(super) fn failed(&self) -> impl Fn(LayerReadError) -> PullError + use<> {
        let (number, count, blob) = (self.number + 1, self.count, self.blob.digest);
        let media_type = (!is_of_layer(&self.blob.media_type)).then(|| self.blob.media_type.clone());
        move |error| {
            let media_type = media_type.clone();
            PullError::Layer { number, count, blob, media_type, error: Box::new(error) }
        }
    }
}

/// Reports whether a media type is that of a layer, in an image of OCI or of docker, compressed or not.
fn is_of_layer(media_type: &str) -> bool {
    let layers = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];
    media_type.is_empty() || layers.iter().any(|start| media_type.starts_with(start))
}

/// Stores a layer: fetches only its missing contents where that is possible, and else reads its blob, and makes what is
/// kept of it at the same time.
pub(super) fn fetch_layer(
    (transaction, keeping): (&Transaction<'_>, Option<Keeping>),
    known: &KnownContents<'_>,
    source: &dyn ImageSource,
    job: LayerJob<'_>,
    options: &PullOptions,
    progress: &dyn PullProgress,
) -> Result<(ReadLayer, Option<MadeBlob>), PullError> {
    let mut warnings = Vec::new();
    let mut body = None;
    let positions = partial::positions(job.blob, &mut warnings);
    if let Some(positions) = &positions {
        let LayerJob { number, blob, diff_id, .. } = job;
        let layer = PartialLayer { number, blob, diff_id, positions, size_max: job.size_max(options) };
        match partial::pull_parts(transaction, known, source, layer, options, progress, &mut warnings)? {
            PartialPull::Whole(begun) => body = begun,
            PartialPull::Imported(import) => {
                let ChunkedImport { imported, fetched, reused, .. } = *import;
                let outcome = LayerOutcome::Partial { fetched, reused };
                return Ok((ReadLayer { outcome, warnings, ..finish_layer(imported, job)? }, None));
            }
        }
    }
    let keeping = keeping.map(|keep| (keep, transaction));
    let read = |body: Option<BlobInput<'_>>| {
        let watched = positions.and_then(|positions| WholeBlob::new(transaction.batch(), positions));
        let whole = WholeRead { body, watched: watched.as_ref(), keeping };
        let read = read_layer(transaction.batch(), source, whole, job, options, progress)?;
        if let Some(watched) = watched {
            known.add(|table| watched.add_to(table));
        }
        Ok(read)
    };
    let (mut layer, made) = match (body, ReceivedPart::open(transaction.repository(), source, job.blob)) {
        (None, Some(part)) => part.read(source, job.blob, read)?,
        (body, _) => read(body.map(|body| body as BlobInput<'_>))?,
    };
    layer.warnings.append(&mut warnings);
    Ok((layer, made))
}

/// How a whole blob is read.
#[derive(Default)]
pub(super) struct WholeRead<'w> {
    /// A reader of the blob, if one was opened before.
    pub(super) body: Option<BlobInput<'w>>,
    /// What is told of the blob and its contents.
    pub(super) watched: Option<&'w WholeBlob<'w>>,
    /// What is kept of the blob, and the transaction that stores it.
    pub(super) keeping: Option<(Keeping, &'w Transaction<'w>)>,
}

/// Reads the blob of a layer once: both digests are checked before anything refers to what was stored. What is kept of
/// the blob is made at the same time.
pub(super) fn read_layer(
    batch: &Batch<'_>,
    source: &dyn ImageSource,
    whole: WholeRead<'_>,
    job: LayerJob<'_>,
    options: &PullOptions,
    progress: &dyn PullProgress,
) -> Result<(ReadLayer, Option<MadeBlob>), PullError> {
    let LayerJob { number, blob, diff_id, .. } = job;
    let size_max = job.size_max(options);
    let request = LayerRequest { number, diff_id, sink: batch, batch: Some(batch), size_max };
    let failed = job.failed();
    let mut made = None;
    let (imported, has_garbage) = match source.import_layer(request) {
        Some(imported) => (imported?, false),
        None => {
            let input = whole.body.map_or_else(|| source.blob(blob), Ok)?;
            let (input, sink) = match whole.watched {
                Some(watched) => (watched.reader(input), watched as &dyn LayerSink),
                None => (input, batch as &dyn LayerSink),
            };
            let read = |input: Box<dyn Read + Send + '_>| {
                read_archive(input, blob, (number, progress), options.window_log, |archive| {
                    import_layer(archive, sink, Limits::default(), size_max)
                })
            };
            let ((imported, read), kept) = match whole.keeping {
                Some((keep, own)) => keep_while_reading(keep, own, input, blob, read),
                None => (read(input), Ok(MadeBlob::Archive)),
            };
            let imported = imported.map_err(&failed)?;
            let read = read.map_err(|error| failed(LayerReadError::Read(error)))?;
            if source.has_blobs() {
                check_blob(&read, job)?;
            }
            made = Some(kept.map_err(|error| job.not_kept(error))?);
            (imported, read.has_garbage)
        }
    };
    let mut layer = finish_layer(imported, job)?;
    layer.warnings.extend(has_garbage.then_some(PullWarning::Garbage(blob.digest)));
    Ok((layer, made.filter(|_| whole.keeping.is_some())))
}

/// Reads the blob of a layer once, as [`read_layer`] does, and stores nothing but what `sink` keeps.
pub(super) fn hash_layer(
    sink: &dyn LayerSink,
    source: &dyn ImageSource,
    job: LayerJob<'_>,
    options: &PullOptions,
    progress: &dyn PullProgress,
) -> Result<ReadLayer, PullError> {
    let LayerJob { number, blob, diff_id, .. } = job;
    let (size_max, failed) = (job.size_max(options), job.failed());
    let request = LayerRequest { number, diff_id, sink, batch: None, size_max };
    if let Some(imported) = source.import_layer(request) {
        return finish_layer(imported?, job);
    }
    let (logged, read) = read_archive(source.blob(blob)?, blob, (number, progress), options.window_log, |archive| {
        log_layer(archive, sink, Limits::default(), size_max)
    });
    let LoggedLayer { diff_id: found, size, log } = logged.map_err(&failed)?;
    let read = read.map_err(|error| failed(LayerReadError::Read(error)))?;
    if source.has_blobs() {
        check_blob(&read, job)?;
    }
    job.check_diff_id(found)?;
    let warnings = read.has_garbage.then_some(PullWarning::Garbage(blob.digest)).into_iter().collect();
    let (file, objects, outcome) = (Vec::new(), Vec::new(), LayerOutcome::Pulled);
    let (stream, kept, expanded, log) = (None, None, None, Some(log));
    let blob = blob.digest;
    Ok(ReadLayer { blob, diff_id, file, stream, objects, size, outcome, warnings, kept, expanded, log })
}

/// Compares the diff ID of an imported layer, and makes its stream.
pub(super) fn finish_layer(imported: ImportedLayer, job: LayerJob<'_>) -> Result<ReadLayer, PullError> {
    let LayerJob { blob, diff_id, .. } = job;
    let failed = job.failed();
    let ImportedLayer { diff_id: found, size, stream, expanded, .. } = imported;
    job.check_diff_id(found)?;
    let mut objects = stream.objects().to_vec();
    objects.extend(expanded.values().filter_map(|data| match data {
        FileData::Object(digest, _) => Some(*digest),
        FileData::Inline(_) => None,
    }));
    let file = stream.finish(ContentType::LAYER, &[]).map_err(|error| failed(LayerReadError::Read(error)))?;
    if file.len() as u64 > STREAM_MAX {
        return Err(failed(LayerReadError::Stream(stream::StreamError::Damaged("its headers are too large"))));
    }
    Ok(ReadLayer {
        blob: blob.digest,
        diff_id,
        file,
        stream: None,
        objects,
        size,
        outcome: LayerOutcome::Pulled,
        warnings: Vec::new(),
        kept: None,
        expanded: Some(expanded),
        log: None,
    })
}

/// Compares the size and the digest of a blob with the manifest.
pub(super) fn check_blob(read: &BlobRead, job: LayerJob<'_>) -> Result<(), PullError> {
    let LayerJob { number, count, blob, .. } = job;
    let wrong = |found| PullError::Blob { number: number + 1, count, expected: blob.digest, found };
    if read.size != blob.size {
        return Err(wrong(format!("has {} bytes, but the manifest says {}", read.size, blob.size)));
    }
    if read.digest != blob.digest {
        return Err(wrong(format!("has the digest {}", read.digest)));
    }
    Ok(())
}
