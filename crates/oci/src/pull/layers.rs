//! The layers of a pull: read in parallel, each once, then applied in their order.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use libcomposefs_content::mutex::{into_inner, lock};
use libcomposefs_image::tree::Tree;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_repo::{Repository, RepositoryError, Transaction};

use super::added_objects::AddedObjects;
use super::checkpoints::{Checkpoints, FinishedLayer};
use super::found_blob::{FoundBlob, find_kept, known_size};
use super::keep::{KeepError, Keeping, KeptStream, LayerToKeep, protect_made};
use super::keep_blobs::KeepBlobs;
use super::known::KnownContents;
use super::read_layer::{LayerJob, ReadLayer, fetch_layer, hash_layer};
use super::{LayerOutcome, PullError, PullOptions, PullProgress, PullWarning};
use crate::BlobDigest;
use crate::layer::{
    ExpandedFiles, FileData, ImageTree, LayerReadError, LayerSink, LayerWarning, Stored, apply_stream, expand,
};
use crate::manifest::{BlobRef, ImageConfig, Manifest};
use crate::source::ImageSource;
use crate::stored::{STREAM_MAX, StoredError, stream_name, verify_layer};
use crate::stream::StreamKind;
use crate::tar::SparseMap;

/// The layers of an image.
#[derive(Debug)]
pub(super) struct ReadLayers {
    /// Each layer once, in the order in which they occur first.
    pub(super) distinct: Vec<ReadLayer>,
    /// The number of each layer of the image in `distinct`.
    order: Vec<usize>,
    /// What is kept of further blobs of the distinct layers.
    pub(super) other_kept: Vec<(BlobDigest, KeptStream)>,
    /// The objects that were added for layers and blobs by transactions of their own.
    pub(super) added: AddedObjects,
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
    let (checkpoints, added) = (Checkpoints::new(transaction), AddedObjects::default());
    let read = std::thread::scope(|scope| {
        // If no thread can be started, finished layers get their names at the end.
        let _ = std::thread::Builder::new().spawn_scoped(scope, || checkpoints.run());
        let _end = checkpoints.ended_on_drop();
        each_layer(manifest, config, options, |job| {
            progress.layer(job.number, &job.diff_id, job.blob.size);
            let mut warnings = Vec::new();
            if let Some(mut present) = find_layer(transaction, job, &mut warnings)? {
                expect_size(transaction.repository(), job, present.size)?;
                present.kept = keep_present((transaction, &added), source, job, options, present.stream)?;
                progress.done(job.number, LayerOutcome::Present);
                return Ok(present);
            }
            let mut layer = store_layer((transaction, &checkpoints, &added), source, job, options, known, progress)?;
            layer.warnings.append(&mut warnings);
            progress.done(job.number, layer.outcome);
            Ok(layer)
        })
    });
    let mut layers = match read {
        Ok(layers) => layers,
        Err(error) => {
            checkpoints.publish_rest();
            return Err(error);
        }
    };
    checkpoints.finish()?;
    layers.other_kept = keep_other_blobs((transaction, &added), source, manifest, &layers, options)?;
    layers.added = added;
    Ok(layers)
}

/// Stores a layer that the repository does not have, and what is kept of its blob.
fn store_layer(
    (transaction, checkpoints, added): (&Transaction<'_>, &Checkpoints<'_, '_>, &AddedObjects),
    source: &dyn ImageSource,
    job: LayerJob<'_>,
    options: &PullOptions,
    known: &KnownContents<'_>,
    progress: &dyn PullProgress,
) -> Result<ReadLayer, PullError> {
    let has_other_blob = source.has_blobs() && job.blob.digest != job.diff_id;
    let keep = if has_other_blob { options.keep_blobs } else { KeepBlobs::No };
    let given = if options.keep_blobs == KeepBlobs::No { None } else { source.kept_blob(job.blob)? };
    if keep == KeepBlobs::No && given.is_none() {
        let (mut layer, _) = fetch_layer((transaction, None), known, source, job, options, progress)?;
        let (stream, _) = transaction.batch().put_bytes(&layer.file).map_err(RepositoryError::from)?;
        layer.stream = Some(stream);
        if source.is_remote() {
            let (diff_id, objects) = (job.diff_id, layer.objects.clone());
            checkpoints.add(FinishedLayer { diff_id, stream, objects });
        }
        return Ok(layer);
    }
    // The blob is rebuilt from the layer in the repository, which therefore gets its objects first.
    let mut own = transaction.repository().transaction()?;
    let keeping = (keep != KeepBlobs::No).then_some(Keeping { keep, is_remote: source.is_remote() });
    let fetch = || fetch_layer((&own, keeping), known, source, job, options, progress);
    let (mut layer, made) = own.batch().commit_aside(fetch)?;
    let digest = if source.is_remote() {
        let name = stream_name(StreamKind::Layer(job.diff_id));
        own.add_stream(name, &layer.file, layer.objects.clone(), Vec::new())?
    } else {
        own.batch().put_bytes(&layer.file).map_err(RepositoryError::from)?.0
    };
    // Before the other lease ends.
    transaction.protect(&[digest])?;
    // The expanded forms of sparse files are not in the table of the stream.
    transaction.protect(&layer.objects)?;
    if let Some(made) = &made {
        protect_made(transaction, made)?;
    }
    added.commit(own)?;
    layer.stream = Some(digest);
    let (stream, window_log) = (digest, options.window_log);
    let to_keep = LayerToKeep { source, blob: job.blob, diff_id: job.diff_id, stream, window_log, added };
    let kept = match (made, given) {
        (Some(made), _) => to_keep.store(transaction, made),
        (None, Some(given)) => to_keep.copy_kept(transaction, given),
        (None, None) => Ok(None),
    };
    layer.kept = kept.map_err(|error| job.not_kept(error))?;
    Ok(layer)
}

/// Keeps the blobs of an image that have the archive of another one of it.
fn keep_other_blobs(
    (transaction, added): (&Transaction<'_>, &AddedObjects),
    source: &dyn ImageSource,
    manifest: &Manifest,
    layers: &ReadLayers,
    options: &PullOptions,
) -> Result<Vec<(BlobDigest, KeptStream)>, PullError> {
    let count = manifest.layers.len();
    let mut seen: HashSet<BlobDigest> = layers.distinct.iter().map(|layer| layer.blob).collect();
    let mut others = Vec::new();
    for (number, (blob, layer)) in manifest.layers.iter().zip(layers.in_order()).enumerate() {
        let job = LayerJob { number, count, blob, diff_id: layer.diff_id };
        if seen.insert(blob.digest)
            && let Some(kept) = keep_present((transaction, added), source, job, options, layer.stream)?
        {
            others.push((blob.digest, kept));
        }
    }
    Ok(others)
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
        let layer = hash_layer(sink, source, job, options, progress)?;
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
    Ok(ReadLayers { distinct: distinct?, order, other_kept: Vec::new(), added: AddedObjects::default() })
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

/// Compares the size that the manifest gives of a blob with the blob that the repository has. It is not compared
/// otherwise, as the blob is not fetched.
fn expect_size(repository: &Repository, job: LayerJob<'_>, archive: u64) -> Result<(), PullError> {
    let is_archive = job.blob.digest == job.diff_id;
    let known = if is_archive { Some(archive) } else { known_size(repository, &job.blob.digest) };
    match known {
        Some(size) if size != job.blob.size => Err(PullError::Blob {
            number: job.number + 1,
            count: job.count,
            expected: job.blob.digest,
            found: format!("has {size} bytes, not {} as its descriptor says", job.blob.size),
        }),
        _ => Ok(()),
    }
}

/// Keeps the blob of a layer that the repository has, if nothing was kept of it, and the source has it at hand or whole
/// blobs are asked for. A whole blob takes the place of a record, but no record that of a whole blob.
fn keep_present(
    (transaction, added): (&Transaction<'_>, &AddedObjects),
    source: &dyn ImageSource,
    job: LayerJob<'_>,
    options: &PullOptions,
    stream: Option<Digest>,
) -> Result<Option<KeptStream>, PullError> {
    let Some(stream) = stream.filter(|_| options.keep_blobs != KeepBlobs::No) else { return Ok(None) };
    let given = source.kept_blob(job.blob)?;
    if !source.has_blobs() && given.is_none() {
        return Ok(None);
    }
    let window_log = options.window_log;
    let layer = LayerToKeep { source, blob: job.blob, diff_id: job.diff_id, stream, window_log, added };
    let found = find_kept(transaction, job.blob, &job.diff_id).map_err(PullError::Kept)?;
    let is_damaged = matches!(found, FoundBlob::Damaged);
    let record = match found {
        FoundBlob::Given(kept) => return Ok(kept),
        FoundBlob::Record(kept) if given.is_some() || options.keep_blobs == KeepBlobs::Record => return Ok(Some(kept)),
        FoundBlob::Record(kept) => Some(kept),
        FoundBlob::Missing | FoundBlob::Damaged => None,
    };
    if let Some(given) = given {
        return layer.copy_kept(transaction, given).map_err(|error| job.not_kept(error));
    }
    if source.is_remote() && !options.whole && !is_damaged {
        let Some(record) = record else { return Ok(None) };
        let whole = layer.replace_record(transaction, &record.object).map_err(|error| job.not_kept(error))?;
        return Ok(whole.or(Some(record)));
    }
    match layer.keep_again(options.keep_blobs, transaction) {
        // The image needs no blob that the source cannot give.
        Err(KeepError::Source(_)) => Ok(record),
        Ok(kept) => Ok(kept),
        Err(error) => Err(job.not_kept(error)),
    }
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
    apply_each(algorithm, layers, store, options, |_| Ok(()))
}

/// Applies the layers in their order, as [`tree_of`] does, and calls `after` after each.
pub(super) fn apply_each(
    algorithm: Algorithm,
    layers: &ReadLayers,
    store: Option<(&Repository, &dyn LayerSink)>,
    options: &PullOptions,
    mut after: impl FnMut(&ImageTree) -> Result<(), PullError>,
) -> Result<ImageTree, PullError> {
    let mut tree = ImageTree::new(algorithm, options.xattrs, options.whiteouts)?;
    let count = layers.order.len();
    for (number, layer) in layers.in_order().enumerate() {
        if number > 0 {
            tree.next_layer();
        }
        let applied = match (&layer.log, &layer.expanded, store) {
            (Some(log), ..) => log.apply(&mut tree),
            (None, Some(expanded), _) => apply_stream(&mut tree, &layer.file, algorithm, &mut &*expanded),
            (None, None, Some((repository, sink))) => {
                apply_stream(&mut tree, &layer.file, algorithm, &mut FromObjects { repository, sink })
            }
            (None, None, None) => apply_stream(&mut tree, &layer.file, algorithm, &mut &ExpandedFiles::new()),
        };
        applied.map_err(|error| match error {
            error @ (LayerReadError::Entry { .. } | LayerReadError::Tar { .. }) => {
                let number = number + 1;
                PullError::Layer { number, count, blob: layer.blob, media_type: None, error: Box::new(error) }
            }
            error => PullError::Stored(Box::new(error)),
        })?;
        after(&tree)?;
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
