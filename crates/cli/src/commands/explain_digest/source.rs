//! Reads the source once, with all data that any policy needs.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context;
use libcomposefs_image::Algorithm;
use libcomposefs_image::policy::{FileContents, Inline};
use libcomposefs_image::tree::{MAX_INLINE, Tree};
use libcomposefs_oci::layer::WhiteoutRule;
use libcomposefs_oci::pull::{PlainOptions, PlainTrees, stored_plain_trees};
use libcomposefs_scan::{CollectAll, Options, scan};

use crate::input::{Input, InputKind};
use crate::inspect::names::shell_word;
use crate::operand::{Operand, Operands, RepositoryImage};
use crate::scan_progress::ScanProgress;

/// The source and its properties.
#[derive(Debug)]
pub(super) struct DigestSource {
    /// Path by which every program can read the source: that of the object for an image of the repository.
    pub(super) path: PathBuf,
    /// Words by which this program reads the source.
    pub(super) words: String,
    pub(super) form: InputKind,
    pub(super) tree: Tree,
    pub(super) contents: FileContents,
    /// Inline limits to try, the usual one first.
    pub(super) limits: Vec<Inline>,
    /// The effect of whiteouts, if it makes a difference for this OCI image.
    pub(super) whiteouts: Option<WhiteoutRule>,
}

/// Options for reading a source.
#[derive(Clone, Copy, Debug)]
pub(super) struct SourceOptions<'a> {
    /// Digest algorithm, if only one is of interest.
    pub(super) algorithm: Option<Algorithm>,
    /// Inline limits to try in addition to the usual ones.
    pub(super) limits: &'a [u64],
    pub(super) threads: Option<NonZeroUsize>,
}

/// Inline limits of known tools: that of the C tools and cfsctl, and no inline contents at all.
const LIMITS: [u64; 2] = [64, 0];

impl DigestSource {
    /// Reads a source of any kind. The layers of an OCI image may be read in two ways.
    pub(super) fn read(
        path: &Path,
        operands: &Operands<'_>,
        wanted: SourceOptions<'_>,
    ) -> anyhow::Result<(Self, Option<Self>)> {
        let limits = LIMITS.iter().chain(wanted.limits).map(|&limit| Inline::UpTo(limit));
        let found = operands.find(path)?;
        if let Operand::Image(RepositoryImage { digest, oci: Some(image), .. }) = &found {
            let words = operands.words(path, Some(*digest));
            let trees = stored_plain_trees(operands.repository()?, image, plain(wanted))?;
            return Ok(Self::of_layers(path, words, trees, limits.collect()));
        }
        let (source, digest) = operands.open_found(path, found)?;
        let object = digest.and_then(|digest| operands.object_path(&digest));
        let words = object.as_deref().map_or_else(|| operands.words(path, None), shell_word);
        let whiteouts = None;
        match source {
            Input::Directory(path) => {
                let (tree, contents) = scan_all(&path, wanted)?;
                let (form, limits) = (InputKind::Directory, limits.collect());
                Ok((Self { path, words, form, tree, contents, limits, whiteouts }, None))
            }
            Input::Source(source) => {
                Ok(Self::of_layers(path, words, source.plain_trees(plain(wanted))?, limits.collect()))
            }
            // Inline contents of an image or dump are kept, unless another limit is given.
            other => {
                let options = Options { algorithm: wanted.algorithm.unwrap_or_default(), ..Options::default() };
                let loaded = other.load(&options)?;
                let limits = [Inline::AsGiven].into_iter().chain(limits).collect();
                let path = object.unwrap_or_else(|| path.to_owned());
                let contents = FileContents::default();
                Ok((Self { path, words, form: loaded.form, tree: loaded.tree, contents, limits, whiteouts }, None))
            }
        }
    }

    fn of_layers(path: &Path, words: String, trees: PlainTrees, limits: Vec<Inline>) -> (Self, Option<Self>) {
        let PlainTrees { in_order, lower_layers, contents } = trees;
        let differs = lower_layers.is_some();
        let reading = |tree, rule| Self {
            path: path.to_owned(),
            words: words.clone(),
            form: InputKind::Source,
            tree,
            contents: contents.clone(),
            limits: limits.clone(),
            whiteouts: differs.then_some(rule),
        };
        (reading(in_order, WhiteoutRule::InOrder), lower_layers.map(|tree| reading(tree, WhiteoutRule::LowerLayers)))
    }
}

/// Returns what must be known of the contents of layers.
fn plain(wanted: SourceOptions<'_>) -> PlainOptions {
    // Layers keep contents of up to 64 bytes in any case.
    let keep_max = wanted.limits.iter().copied().max().unwrap_or(0);
    PlainOptions {
        algorithm: wanted.algorithm.unwrap_or_default(),
        both: wanted.algorithm.is_none(),
        keep_max: keep_max.min(MAX_INLINE as u64),
    }
}

/// Reads a directory, each file once, with everything that a policy may leave out or change.
fn scan_all(path: &Path, wanted: SourceOptions<'_>) -> anyhow::Result<(Tree, FileContents)> {
    let algorithm = wanted.algorithm.unwrap_or_default();
    let largest = LIMITS.iter().chain(wanted.limits).max().map_or(0, |&limit| limit as usize);
    let threads = wanted.threads;
    let options =
        Options { algorithm, inline_max: 0, hardlinks: true, follow_root: true, threads, ..Options::default() };
    let sink = CollectAll::new(algorithm, wanted.algorithm.is_none(), largest.min(MAX_INLINE));
    let progress = ScanProgress::start();
    let tree = scan(path, &options, &sink, &progress).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((tree, sink.into_contents()))
}
