//! The source: its whole tree, read once, with all that policies may ask of it.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::Context;
use composefs_image::Algorithm;
use composefs_image::policy::{Contents, Inline};
use composefs_image::tree::{MAX_INLINE, Tree};
use composefs_scan::{Everything, Options, scan};

use crate::commands::mkcomposefs::ScanProgress;

/// What is known of the source.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) tree: Tree,
    pub(super) contents: Contents,
    pub(super) kind: SourceKind,
    /// The limits of inline contents worth trying, the usual one first.
    pub(super) inline: Vec<Inline>,
}

/// What a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SourceKind {
    Directory,
    Dump,
    Image,
}

/// The limits that tools in the field have: that of the C tools and cfsctl, then nothing in the image at all.
const LIMITS: [u64; 2] = [64, 0];

impl Known {
    /// Reads a directory, each file once. `only` is the algorithm asked for, if it is one.
    pub(super) fn scan(
        path: &Path,
        only: Option<Algorithm>,
        limits: &[u64],
        threads: Option<NonZeroUsize>,
    ) -> anyhow::Result<Self> {
        let limits = || LIMITS.iter().chain(limits).copied();
        let keep_max = limits().max().unwrap_or(0).min(MAX_INLINE as u64);
        let algorithm = only.unwrap_or_default();
        // Whatever a policy may leave out is taken; what it may change is as it was found.
        let options = Options { algorithm, inline_max: 0, hardlinks: true, threads, ..Options::default() };
        let sink = Everything::new(algorithm, only.is_none(), keep_max as usize);
        let progress = ScanProgress::start();
        let tree = scan(path, &options, &sink, &progress).with_context(|| format!("cannot read {}", path.display()))?;
        let inline = limits().map(Inline::UpTo).collect();
        Ok(Self { tree, contents: sink.into_contents(), kind: SourceKind::Directory, inline })
    }
}
