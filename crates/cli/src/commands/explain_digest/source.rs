//! Reads the source once, with all data that any policy needs.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context;
use libcomposefs_image::Algorithm;
use libcomposefs_image::policy::{FileContents, Inline};
use libcomposefs_image::tree::{MAX_INLINE, Tree};
use libcomposefs_scan::{CollectAll, Options, scan};

use crate::input::{Input, InputKind};
use crate::operand::Operands;
use crate::scan_progress::ScanProgress;

/// The source and its properties.
#[derive(Debug)]
pub(super) struct DigestSource {
    /// Path by which every program can read the source: that of the object for an image of the repository.
    pub(super) path: PathBuf,
    pub(super) form: InputKind,
    pub(super) tree: Tree,
    pub(super) contents: FileContents,
    /// Inline limits to try, the usual one first.
    pub(super) limits: Vec<Inline>,
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
    /// Reads a source of any kind.
    pub(super) fn read(path: &Path, operands: &Operands<'_>, wanted: SourceOptions<'_>) -> anyhow::Result<Self> {
        let limits = LIMITS.iter().chain(wanted.limits).map(|&limit| Inline::UpTo(limit));
        let (source, digest) = operands.open(path)?;
        let object = digest.and_then(|digest| operands.object_path(&digest));
        match source {
            Input::Directory(path) => {
                let (tree, contents) = scan_all(&path, wanted)?;
                Ok(Self { path, form: InputKind::Directory, tree, contents, limits: limits.collect() })
            }
            // Inline contents of an image or dump are kept, unless another limit is given.
            other => {
                let options = Options { algorithm: wanted.algorithm.unwrap_or_default(), ..Options::default() };
                let loaded = other.load(&options)?;
                let limits = [Inline::AsGiven].into_iter().chain(limits).collect();
                let path = object.unwrap_or_else(|| path.to_owned());
                Ok(Self { path, form: loaded.form, tree: loaded.tree, contents: FileContents::default(), limits })
            }
        }
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
