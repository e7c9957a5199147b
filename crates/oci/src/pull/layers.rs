//! The layers of a pull: read in parallel, each once, then applied in their order.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use libcomposefs_content::mutex::{into_inner, lock};
use libcomposefs_image::tree::Tree;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_repo::{Repository, Transaction};
use libcomposefs_store::Batch;

use super::blob_reader::{BlobRead, read_archive};
use super::keep::{KeepError, KeptStream, LayerToKeep, MadeBlob, find_kept, keep_while_reading, protect_made};
use super::keep_blobs::KeepBlobs;
use super::known::KnownContents;
use super::partial::{self, PartialLayer, PartialPull};
use super::whole_blob::WholeBlob;
use super::{LayerOutcome, PullError, PullOptions, PullProgress, PullWarning};
use crate::layer::{
    ExpandedFiles, FileData, ImageTree, ImportedLayer, LayerReadError, LayerSink, LayerWarning, Stored, apply_stream,
    expand, import_layer,
};
use crate::manifest::{BlobRef, ImageConfig, Manifest};
use crate::source::{ImageSource, LayerRequest};
use crate::stored::{STREAM_MAX, StoredError, stream_name, verify_layer};
use crate::stream::{ContentType, StreamKind, StreamReader};
use crate::tar::{Limits, SparseMap};
use crate::zstd_chunked::ChunkedImport;
use crate::{BlobDigest, stream};

/// Largest size of an archive whose blob is empty, in bytes.
const ARCHIVE_MIN: u64 = 1 << 30;
/// Largest ratio of the size of an archive to that of its blob, beside the constant.
const RATIO_MAX: u64 = 100;

/// The layers of an image.
#[derive(Debug)]
pub(super) struct ReadLayers {
    /// Each layer once, in the order in which they occur first.
    pub(super) distinct: Vec<ReadLayer>,
    /// The number of each layer of the image in `distinct`.
    order: Vec<usize>,
}

impl ReadLayers {
    /// Returns the layers of the image, the lowest first.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &ReadLayer> {
        self.order.iter().map(|number| &self.distinct[*number])
    }

    /// Reads the streams of an image of a repository. Their contents are not compared with the diff IDs.
    pub(super) fn of_repository(
        repository: &Repository,
        manifest: &Manifest,
        config: &ImageConfig,
    ) -> Result<Self, PullError> {
        each_layer(manifest, config, &PullOptions::default(), |LayerJob { blob, diff_id, .. }| {
            let stored = |error: StoredError| PullError::StoredImage(Box::new(error));
            let name = stream_name(StreamKind::Layer(diff_id));
            let digest = repository.stream(&name)?.ok_or_else(|| stored(StoredError::NoStream(name)))?;
            let file = repository.read_object(&digest, STREAM_MAX)?;
            ReadLayer::of_stream(repository, blob.digest, diff_id, (digest, file))
        })
    }
}

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
    /// Number and size of the new objects of a layer that was published by itself.
    pub(super) new: (u64, u64),
    /// What is kept of its blob, if that is new.
    pub(super) kept: Option<KeptStream>,
    /// The expanded sparse files, if the layer was read now.
    expanded: Option<ExpandedFiles>,
}

impl ReadLayer {
    /// Returns a layer that the repository has: `stream` is the digest and the file of its stream.
    fn of_stream(
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
        let (warnings, new, kept, expanded) = (Vec::new(), (0, 0), None, None);
        Ok(Self { blob, diff_id, file, stream, objects, size, outcome, warnings, new, kept, expanded })
    }
}

/// One layer to be read.
#[derive(Clone, Copy)]
struct LayerJob<'a> {
    number: usize,
    count: usize,
    blob: &'a BlobRef,
    diff_id: BlobDigest,
}

impl LayerJob<'_> {
    fn not_kept(&self, error: KeepError) -> PullError {
        let (number, count, blob) = (self.number + 1, self.count, self.blob.digest);
        PullError::Keep { number, count, blob, error: Box::new(error) }
    }

    /// Returns the largest size of the archive, in bytes.
    fn size_max(&self, options: &PullOptions) -> u64 {
        let by_blob = || self.blob.size.saturating_mul(RATIO_MAX).saturating_add(ARCHIVE_MIN);
        options.layer_size_max.unwrap_or_else(by_blob)
    }

    /// Returns a function that says of an error which layer has it.
    fn failed(&self) -> impl Fn(LayerReadError) -> PullError + use<> {
        let (number, count, blob) = (self.number + 1, self.count, self.blob.digest);
        move |error| PullError::Layer { number, count, blob, error: Box::new(error) }
    }
}

/// Reads the layers into the repository, several at once.
pub(super) fn pull_layers(
    transaction: &Transaction<'_>,
    source: &dyn ImageSource,
    manifest: &Manifest,
    config: &ImageConfig,
    options: &PullOptions,
    known: &KnownContents<'_>,
    progress: &dyn PullProgress,
) -> Result<ReadLayers, PullError> {
    each_layer(manifest, config, options, |job| {
        progress.layer(job.number, &job.diff_id, job.blob.size);
        let mut warnings = Vec::new();
        if let Some(mut present) = find_layer(transaction, job, &mut warnings)? {
            present.kept = keep_present(transaction, source, job, options, present.stream)?;
            progress.done(job.number, LayerOutcome::Present);
            return Ok(present);
        }
        let has_other_blob = source.has_blobs() && job.blob.digest != job.diff_id;
        let keep = if has_other_blob { options.keep_blobs } else { KeepBlobs::No };
        let mut layer = if source.is_remote() || keep != KeepBlobs::No {
            let mut own = transaction.repository().transaction()?;
            let keeping = (keep != KeepBlobs::No).then_some(keep);
            let (mut layer, made) = fetch_layer((&own, keeping), known, source, job, options, progress)?;
            let digest = if source.is_remote() {
                let name = stream_name(StreamKind::Layer(job.diff_id));
                own.add_stream(name, &layer.file, layer.objects.clone(), Vec::new())?
            } else {
                own.batch().put_bytes(&layer.file).map_err(libcomposefs_repo::RepositoryError::from)?.0
            };
            // Before the other lease ends.
            transaction.protect(&[digest])?;
            // The expanded forms of sparse files are not in the table of the stream.
            transaction.protect(&layer.objects)?;
            if let Some(made) = made {
                protect_made(transaction, made)?;
            }
            let committed = own.commit()?;
            layer.stream = Some(digest);
            if let Some(made) = made {
                let to_keep = LayerToKeep { source, blob: job.blob, diff_id: job.diff_id, stream: digest };
                layer.kept = to_keep.store(transaction, made).map_err(|error| job.not_kept(error))?;
            }
            layer.new = (committed.objects.new, committed.objects.bytes_written);
            layer
        } else {
            let (mut layer, _) = fetch_layer((transaction, None), known, source, job, options, progress)?;
            let stored = transaction.batch().put_bytes(&layer.file);
            layer.stream = Some(stored.map_err(libcomposefs_repo::RepositoryError::from)?.0);
            layer
        };
        layer.warnings.append(&mut warnings);
        progress.done(job.number, layer.outcome);
        Ok(layer)
    })
}

/// Reads the layers, and stores nothing but what `sink` keeps.
pub(super) fn hash_layers(
    sink: &dyn LayerSink,
    source: &dyn ImageSource,
    manifest: &Manifest,
    config: &ImageConfig,
    options: &PullOptions,
    progress: &dyn PullProgress,
) -> Result<ReadLayers, PullError> {
    each_layer(manifest, config, options, |job| {
        progress.layer(job.number, &job.diff_id, job.blob.size);
        let (layer, _) = read_layer(Destination::Hash(sink), source, WholeRead::default(), job, options, progress)?;
        progress.done(job.number, LayerOutcome::Pulled);
        Ok(layer)
    })
}

/// Runs `read` for each distinct layer, on several threads, and returns the results in the order of the manifest. The
/// first error ends it.
fn each_layer(
    manifest: &Manifest,
    config: &ImageConfig,
    options: &PullOptions,
    read: impl Fn(LayerJob<'_>) -> Result<ReadLayer, PullError> + Sync,
) -> Result<ReadLayers, PullError> {
    let count = manifest.layers.len();
    let mut jobs: Vec<LayerJob<'_>> = Vec::new();
    let mut job_of: HashMap<BlobDigest, usize> = HashMap::new();
    let mut order = Vec::new();
    for (number, (blob, diff_id)) in manifest.layers.iter().zip(&config.diff_ids).enumerate() {
        let next = jobs.len();
        let job = *job_of.entry(*diff_id).or_insert(next);
        if job == next {
            jobs.push(LayerJob { number, count, blob, diff_id: *diff_id });
        }
        order.push(job);
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results: Mutex<Vec<Option<Result<ReadLayer, PullError>>>> = Mutex::new(jobs.iter().map(|_| None).collect());
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(number) else { return };
            let result = read(*job);
            if result.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            lock(&results)[number] = Some(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..options.parallel.min(jobs.len()) {
            // If no thread can be started, the others do the work.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    // An error of an earlier layer stands for those of later ones.
    let distinct: Result<Vec<_>, _> = into_inner(results).into_iter().flatten().collect();
    Ok(ReadLayers { distinct: distinct?, order })
}

/// Finds a layer in the repository and verifies its content.
fn find_layer(
    transaction: &Transaction<'_>,
    LayerJob { blob: BlobRef { digest: blob, .. }, diff_id, .. }: LayerJob<'_>,
    warnings: &mut Vec<PullWarning>,
) -> Result<Option<ReadLayer>, PullError> {
    let repository = transaction.repository();
    let name = stream_name(StreamKind::Layer(diff_id));
    let Some(digest) = repository.stream(&name)? else { return Ok(None) };
    transaction.protect(&[digest])?;
    // A gc may have removed it before it was protected.
    if repository.stream(&name)? != Some(digest) {
        return Ok(None);
    }
    match verify_layer(repository, &digest, &diff_id) {
        Ok(file) => ReadLayer::of_stream(repository, *blob, diff_id, (digest, file)).map(Some),
        Err(error) => {
            // Other programs store layers without this check, and a disk may fail.
            warnings.push(PullWarning::Replaced { diff_id, reason: error.to_string() });
            Ok(None)
        }
    }
}

/// Where the contents of a layer go.
#[derive(Clone, Copy)]
enum Destination<'b> {
    Batch(&'b Batch<'b>),
    Hash(&'b dyn LayerSink),
}

impl<'b> Destination<'b> {
    fn sink(&self) -> &dyn LayerSink {
        match self {
            Self::Batch(batch) => *batch,
            Self::Hash(sink) => *sink,
        }
    }

    fn batch(&self) -> Option<&'b Batch<'b>> {
        match self {
            Self::Batch(batch) => Some(batch),
            Self::Hash(_) => None,
        }
    }
}

/// Stores a layer: fetches only its missing contents where that is possible, and else reads its blob, and makes what is
/// kept of it at the same time.
fn fetch_layer(
    (transaction, keeping): (&Transaction<'_>, Option<KeepBlobs>),
    known: &KnownContents<'_>,
    source: &dyn ImageSource,
    job: LayerJob<'_>,
    options: &PullOptions,
    progress: &dyn PullProgress,
) -> Result<(ReadLayer, Option<MadeBlob>), PullError> {
    let mut warnings = Vec::new();
    let (mut body, mut watched) = (None, None);
    if let Some(positions) = partial::positions(job.blob, &mut warnings) {
        let LayerJob { number, blob, diff_id, .. } = job;
        let layer = PartialLayer { number, blob, diff_id, positions: &positions, size_max: job.size_max(options) };
        match partial::pull_parts(transaction, known, source, layer, options, progress, &mut warnings)? {
            PartialPull::Whole(begun) => body = begun,
            PartialPull::Imported(import) => {
                let ChunkedImport { imported, fetched, reused, .. } = *import;
                let outcome = LayerOutcome::Partial { fetched, reused };
                return Ok((ReadLayer { outcome, warnings, ..finish_layer(imported, job)? }, None));
            }
        }
        watched = WholeBlob::new(transaction.batch(), positions);
    }
    let keeping = keeping.map(|keep| (keep, transaction));
    let whole = WholeRead { body, watched: watched.as_ref(), keeping };
    let (mut layer, made) = read_layer(Destination::Batch(transaction.batch()), source, whole, job, options, progress)?;
    if let Some(watched) = watched {
        known.add(|table| watched.add_to(table));
    }
    layer.warnings.append(&mut warnings);
    Ok((layer, made))
}

/// How a whole blob is read.
#[derive(Default)]
struct WholeRead<'w> {
    /// A reader of the blob, if one was opened before.
    body: Option<Box<dyn Read + Send>>,
    /// What is told of the blob and its contents.
    watched: Option<&'w WholeBlob<'w>>,
    /// What is kept of the blob, and the transaction that stores it.
    keeping: Option<(KeepBlobs, &'w Transaction<'w>)>,
}

/// Reads the blob of a layer once: both digests are checked before anything refers to what was stored. What is kept of
/// the blob is made at the same time.
fn read_layer(
    destination: Destination<'_>,
    source: &dyn ImageSource,
    whole: WholeRead<'_>,
    job: LayerJob<'_>,
    options: &PullOptions,
    progress: &dyn PullProgress,
) -> Result<(ReadLayer, Option<MadeBlob>), PullError> {
    let LayerJob { number, blob, diff_id, .. } = job;
    let size_max = job.size_max(options);
    let sink = destination.sink();
    let request = LayerRequest { number, diff_id, sink, batch: destination.batch(), size_max };
    let failed = job.failed();
    let mut made = None;
    let (imported, has_garbage) = match source.import_layer(request) {
        Some(imported) => (imported?, false),
        None => {
            let body = whole.body.map(|body| body as Box<dyn Read + Send + '_>);
            let input = body.map_or_else(|| source.blob(blob), Ok)?;
            let (input, sink) = match whole.watched {
                Some(watched) => (watched.reader(input), watched as &dyn LayerSink),
                None => (input, sink),
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

/// Compares the diff ID of an imported layer, and makes its stream.
fn finish_layer(imported: ImportedLayer, job: LayerJob<'_>) -> Result<ReadLayer, PullError> {
    let LayerJob { number, count, blob, diff_id } = job;
    let failed = job.failed();
    let number = number + 1;
    let ImportedLayer { diff_id: found, size, stream, expanded, .. } = imported;
    if found != diff_id {
        return Err(PullError::DiffId { number, count, blob: blob.digest, expected: diff_id, found });
    }
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
        new: (0, 0),
        kept: None,
        expanded: Some(expanded),
    })
}

/// Keeps the blob of a layer that the repository has, if the source has it at hand and nothing was kept of it.
fn keep_present(
    transaction: &Transaction<'_>,
    source: &dyn ImageSource,
    job: LayerJob<'_>,
    options: &PullOptions,
    stream: Option<Digest>,
) -> Result<Option<KeptStream>, PullError> {
    let Some(stream) = stream.filter(|_| options.keep_blobs != KeepBlobs::No) else { return Ok(None) };
    if source.is_remote() || !source.has_blobs() {
        return Ok(None);
    }
    let found = find_kept(transaction, job.blob, &job.diff_id).map_err(PullError::Kept)?;
    if found {
        return Ok(None);
    }
    let layer = LayerToKeep { source, blob: job.blob, diff_id: job.diff_id, stream };
    match layer.keep_again(options.keep_blobs, transaction) {
        // The image needs no blob that the source cannot give.
        Err(KeepError::Source(_)) => Ok(None),
        Ok(kept) => Ok(kept),
        Err(error) => Err(job.not_kept(error)),
    }
}

/// Compares the size and the digest of a blob with the manifest.
fn check_blob(read: &BlobRead, job: LayerJob<'_>) -> Result<(), PullError> {
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

/// The tree of an image.
#[derive(Debug)]
pub(super) struct BuiltTree {
    pub(super) tree: Tree,
    pub(super) warnings: Vec<LayerWarning>,
}

/// Applies the layers in their order.
pub(super) fn tree(
    transaction: &Transaction<'_>,
    layers: &ReadLayers,
    options: &PullOptions,
) -> Result<BuiltTree, PullError> {
    let algorithm = transaction.repository().algorithm();
    tree_of(algorithm, layers, Some((transaction.repository(), transaction.batch())), options)
}

/// Applies the layers in their order. Sparse files of layers that were not read now are expanded from the objects of
/// the repository.
pub(super) fn tree_of(
    algorithm: Algorithm,
    layers: &ReadLayers,
    store: Option<(&Repository, &dyn LayerSink)>,
    options: &PullOptions,
) -> Result<BuiltTree, PullError> {
    let tree = apply(algorithm, layers, store, options)?;
    let warnings = tree.warnings().to_vec();
    Ok(BuiltTree { tree: tree.finish()?, warnings })
}

/// Applies the layers in their order, as [`tree_of`] does.
pub(super) fn apply(
    algorithm: Algorithm,
    layers: &ReadLayers,
    store: Option<(&Repository, &dyn LayerSink)>,
    options: &PullOptions,
) -> Result<ImageTree, PullError> {
    let mut tree = ImageTree::new(algorithm, options.xattrs, options.whiteouts)?;
    let count = layers.order.len();
    for (number, layer) in layers.in_order().enumerate() {
        if number > 0 {
            tree.next_layer();
        }
        let applied = match (&layer.expanded, store) {
            (Some(expanded), _) => apply_stream(&mut tree, &layer.file, algorithm, &mut &*expanded),
            (None, Some((repository, sink))) => {
                apply_stream(&mut tree, &layer.file, algorithm, &mut FromObjects { repository, sink })
            }
            (None, None) => apply_stream(&mut tree, &layer.file, algorithm, &mut &ExpandedFiles::new()),
        };
        applied.map_err(|error| match error {
            error @ (LayerReadError::Entry { .. } | LayerReadError::Tar { .. }) => {
                PullError::Layer { number: number + 1, count, blob: layer.blob, error: Box::new(error) }
            }
            error => PullError::Stored(Box::new(error)),
        })?;
    }
    Ok(tree)
}

/// Expands sparse files from the objects of a repository.
struct FromObjects<'a> {
    repository: &'a Repository,
    sink: &'a dyn LayerSink,
}

impl crate::layer::Expander for FromObjects<'_> {
    fn expand(&mut self, _: u64, map: &SparseMap, stored: Stored<'_>) -> Result<FileData, LayerReadError> {
        match stored {
            Stored::Inline(bytes) => expand(map, bytes.len() as u64, &mut &bytes[..], self.sink),
            Stored::Object(digest, size) => {
                // Verified before: the whole layer was compared with its diff ID.
                let file = self.repository.objects().open_object(&digest)?;
                let missing = || LayerReadError::Read(std::io::ErrorKind::NotFound.into());
                expand(map, size, &mut std::fs::File::from(file.ok_or_else(missing)?), self.sink)
            }
        }
    }
}
