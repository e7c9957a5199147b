//! Trees of images for other uses than a pull: to be read like an image, and to find out how a digest came about.

use std::collections::HashSet;
use std::io::{self, BufRead};
use std::sync::Mutex;

use libcomposefs_content::mutex::{into_inner, lock};
use libcomposefs_image::policy::FileContents;
use libcomposefs_image::tree::Tree;
use libcomposefs_image::verity::Hasher;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_repo::Repository;
use libcomposefs_store::{Error, ObjectError};

use super::layers::{self, ReadLayers};
use super::{PullError, PullOptions, PullProgress, PullWarning, blob_reader};
use crate::layer::{HashOnly, LayerSink, PieceSink, WhiteoutRule, XattrFilter, each_piece};
use crate::manifest::{DOCUMENT_MAX, ImageConfig, Manifest, ManifestError, Platform};
use crate::source::{ImageSource, find_manifest};
use crate::stored::StoredImage;

/// The trees that the layers of an image describe, with all extended attributes, and without the changes to the root
/// and to `/run` that images get.
#[derive(Debug)]
pub struct PlainTrees {
    /// The tree if a whiteout removes entries of its own layer too.
    pub in_order: Tree,
    /// The tree if a whiteout hides lower layers only; `None` if it is the same.
    pub lower_layers: Option<Tree>,
    /// Small contents, and digests of the other algorithm.
    pub contents: FileContents,
}

/// What [`plain_trees`] collects beside the trees.
#[derive(Clone, Copy, Debug)]
pub struct PlainOptions {
    /// Algorithm of the digests in the trees.
    pub algorithm: Algorithm,
    /// Whether contents are hashed by the other algorithm too.
    pub both: bool,
    /// Size up to which contents are kept, in bytes.
    pub keep_max: u64,
}

/// Reads and checks the manifest and the configuration.
///
/// # Errors
///
/// If the source has no such image, or a document breaks a rule.
pub fn read_documents(source: &dyn ImageSource, options: &PullOptions) -> Result<(Manifest, ImageConfig), PullError> {
    let platform = options.platform.clone().unwrap_or_else(Platform::of_machine);
    let manifest = find_manifest(source, &platform)?;
    let what = format!("manifest {}", manifest.digest);
    let malformed = |error| PullError::Manifest { what: what.clone(), error };
    if manifest.config.size > DOCUMENT_MAX {
        return Err(malformed(ManifestError::Size(manifest.config.size)));
    }
    let raw = blob_reader::read_whole(source, &manifest.config, DOCUMENT_MAX)?;
    let config = manifest.parse_config(raw).map_err(malformed)?;
    // An index knows the platform of its images better: configurations are often copied.
    if let Some(wanted) = &options.platform
        && source.root()?.digest == Some(manifest.digest)
    {
        wanted.check(&config).map_err(malformed)?;
    }
    Ok((manifest, config))
}

/// Returns the tree of the composefs image of an OCI image, and stores nothing.
///
/// # Errors
///
/// If the image cannot be read or breaks a rule.
pub fn source_tree(
    source: &dyn ImageSource,
    algorithm: Algorithm,
    options: &PullOptions,
    progress: &dyn PullProgress,
) -> Result<(Tree, Vec<PullWarning>), PullError> {
    let (manifest, config) = read_documents(source, options)?;
    let layers = layers::hash_layers(&HashOnly(algorithm), source, &manifest, &config, options, progress)?;
    let built = layers::tree_of(algorithm, &layers, None, options)?;
    let warnings = layers.distinct.into_iter().flat_map(|layer| layer.warnings);
    Ok((built.tree, warnings.chain(built.warnings.into_iter().map(PullWarning::Layer)).collect()))
}

/// Reads the layers of an image once, and returns the trees that they describe.
///
/// # Errors
///
/// If the image cannot be read or breaks a rule.
pub fn plain_trees(
    source: &dyn ImageSource,
    plain: PlainOptions,
    options: &PullOptions,
    progress: &dyn PullProgress,
) -> Result<PlainTrees, PullError> {
    let (manifest, config) = read_documents(source, options)?;
    let sink = CollectingSink::new(plain);
    let layers = layers::hash_layers(&sink, source, &manifest, &config, options, progress)?;
    plain_trees_of(&layers, None, sink, options)
}

/// Returns the trees that the layers of an image of the repository describe, with digests of its algorithm. Objects are
/// read only if their contents, or digests of the other algorithm, are needed.
///
/// # Errors
///
/// If a layer or object is missing or damaged.
pub fn stored_plain_trees(
    repository: &Repository,
    image: &StoredImage,
    plain: PlainOptions,
) -> Result<PlainTrees, PullError> {
    let both = plain.both || plain.algorithm != repository.algorithm();
    let plain = PlainOptions { algorithm: repository.algorithm(), both, ..plain };
    let layers = ReadLayers::of_repository(repository, &image.manifest, &image.config)?;
    let sink = CollectingSink::new(plain);
    let objects = layers.distinct.iter().flat_map(|layer| &layer.objects);
    for digest in objects.filter(|_| plain.both || plain.keep_max > 0) {
        let object = repository.object(digest)?;
        if !plain.both && object.size() > plain.keep_max || lock(&sink.contents).knows(digest) {
            continue;
        }
        let mut collected = sink.begin();
        object
            .copy_verified(digest, |piece| collected.bytes(piece).map_err(|source| io_error(&object, source)))
            .map_err(libcomposefs_repo::RepositoryError::from)?;
        sink.end(collected);
    }
    plain_trees_of(&layers, Some(repository), sink, &PullOptions::default())
}

/// Reads the layers of an image, and keeps the contents with these digests, of at most 8 MiB each.
///
/// # Errors
///
/// If the image cannot be read or breaks a rule.
pub fn keep_contents(
    source: &dyn ImageSource,
    wanted: &[Digest],
    contents: &mut FileContents,
    options: &PullOptions,
    progress: &dyn PullProgress,
) -> Result<(), PullError> {
    let Some(algorithm) = wanted.first().map(Digest::algorithm) else { return Ok(()) };
    let (manifest, config) = read_documents(source, options)?;
    let plain = PlainOptions { algorithm, both: false, keep_max: KEPT_MAX };
    let sink = CollectingSink { only: Some(wanted.iter().copied().collect()), ..CollectingSink::new(plain) };
    layers::hash_layers(&sink, source, &manifest, &config, options, progress)?;
    let found = into_inner(sink.contents);
    for digest in wanted {
        if let Some(content) = found.content(digest) {
            contents.keep(*digest, content);
        }
    }
    Ok(())
}

/// Largest content that [`keep_contents`] keeps, in bytes.
const KEPT_MAX: u64 = 8 << 20;

fn io_error(object: &libcomposefs_store::Object, source: io::Error) -> ObjectError {
    ObjectError::Io { step: "read", path: object.path().to_owned(), source }
}

fn plain_trees_of(
    layers: &ReadLayers,
    repository: Option<&Repository>,
    sink: CollectingSink,
    options: &PullOptions,
) -> Result<PlainTrees, PullError> {
    let algorithm = sink.plain.algorithm;
    let store = repository.map(|repository| (repository, &sink as &dyn LayerSink));
    let tree = |whiteouts| {
        let options = PullOptions { xattrs: XattrFilter::All, whiteouts, ..options.clone() };
        layers::apply(algorithm, layers, store, &options)
    };
    let in_order = tree(WhiteoutRule::InOrder)?;
    let is_same = in_order.warnings().is_empty();
    let lower_layers = if is_same { None } else { Some(tree(WhiteoutRule::LowerLayers)?.finish_unchanged()?) };
    let in_order = in_order.finish_unchanged()?;
    Ok(PlainTrees { in_order, lower_layers, contents: into_inner(sink.contents) })
}

/// Keeps small contents and the digests of both algorithms, and stores nothing.
#[derive(Debug)]
struct CollectingSink {
    plain: PlainOptions,
    /// The only contents that are kept, if not all small ones are.
    only: Option<HashSet<Digest>>,
    contents: Mutex<FileContents>,
}

/// A content that is being collected.
struct Collected {
    hasher: Hasher,
    other: Option<Hasher>,
    /// The content so far; `None` once it is too large to be kept.
    kept: Option<Vec<u8>>,
    keep_max: u64,
}

impl CollectingSink {
    fn new(plain: PlainOptions) -> Self {
        Self { plain, only: None, contents: Mutex::default() }
    }

    fn begin(&self) -> Collected {
        let PlainOptions { algorithm, both, keep_max } = self.plain;
        let other = Algorithm::ALL.into_iter().find(|other| both && *other != algorithm);
        Collected { hasher: Hasher::new(algorithm), other: other.map(Hasher::new), kept: Some(Vec::new()), keep_max }
    }

    fn end(&self, collected: Collected) -> Digest {
        let digest = collected.hasher.finish();
        let mut contents = lock(&self.contents);
        let is_wanted = self.only.as_ref().is_none_or(|only| only.contains(&digest));
        if let Some(kept) = collected.kept.filter(|_| is_wanted) {
            contents.keep(digest, &kept);
        }
        if let Some(other) = collected.other {
            contents.note(digest, other.finish());
        }
        digest
    }
}

impl PieceSink for Collected {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.other.iter_mut().for_each(|other| other.update(bytes));
        let max = self.keep_max;
        self.kept = self.kept.take().filter(|kept| (kept.len() + bytes.len()) as u64 <= max);
        self.kept.iter_mut().for_each(|kept| kept.extend_from_slice(bytes));
        Ok(())
    }

    fn zeros(&mut self, len: u64) {
        self.hasher.update_zeros(len);
        self.other.iter_mut().for_each(|other| other.update_zeros(len));
        let max = self.keep_max;
        self.kept = self.kept.take().filter(|kept| (kept.len() as u64).saturating_add(len) <= max);
        self.kept.iter_mut().for_each(|kept| PieceSink::zeros(kept, len));
    }
}

impl LayerSink for CollectingSink {
    fn algorithm(&self) -> Algorithm {
        self.plain.algorithm
    }

    fn put(&self, size: u64, content: &mut dyn BufRead) -> Result<Digest, Error> {
        let mut collected = self.begin();
        each_piece(size, content, |piece| collected.bytes(piece))?;
        Ok(self.end(collected))
    }

    fn put_pieces(&self, write: &mut dyn FnMut(&mut dyn PieceSink) -> io::Result<()>) -> Result<Digest, Error> {
        let mut collected = self.begin();
        write(&mut collected)?;
        Ok(self.end(collected))
    }
}
