//! Reads the source once, with all data that any policy needs.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use libcomposefs_image::Algorithm;
use libcomposefs_image::policy::{FileContents, Inline, Policy};
use libcomposefs_image::tree::{MAX_INLINE, Tree};
use libcomposefs_oci::layer::WhiteoutRule;
use libcomposefs_oci::pull::{PlainOptions, PlainTrees, stored_plain_trees};
use libcomposefs_scan::{CollectAll, Options, scan};
use libcomposefs_selinux::Contexts;

use crate::input::{Input, InputKind};
use crate::inspect::names::shell_word;
use crate::operand::{Operand, Operands, RepositoryImage};
use crate::scan_progress::ScanProgress;
use crate::tree_labels::{TreeContents, contexts_of, policy_digests, relabel};

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
    /// SELinux policy that the tree contains, or the reason why it cannot be used.
    pub(super) contexts: Result<Option<Arc<Contexts>>, String>,
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
            let from = Some(TreeContents::Repository(operands.repository()?));
            return Ok(Self::of_layers(path, words, trees, limits.collect(), from));
        }
        let (source, digest) = operands.open_found(path, found)?;
        let object = digest.and_then(|digest| operands.object_path(&digest));
        let words = object.as_deref().map_or_else(|| operands.words(path, None), shell_word);
        let whiteouts = None;
        match source {
            Input::Directory(path) => {
                let (tree, contents) = scan_all(&path, wanted)?;
                let (form, limits) = (InputKind::Directory, limits.collect());
                let contexts = compiled(&tree, TreeContents::Directory(&path));
                Ok((Self { path, words, form, tree, contents, contexts, limits, whiteouts }, None))
            }
            Input::Source(source) => {
                let mut trees = source.plain_trees(plain(wanted))?;
                let wanted = policy_digests(&trees.in_order);
                if !wanted.is_empty() {
                    // Which contents are the policy is known only now.
                    source.keep_contents(&wanted, &mut trees.contents)?;
                }
                Ok(Self::of_layers(path, words, trees, limits.collect(), None))
            }
            // Inline contents of an image or dump are kept, unless another limit is given.
            other => {
                let options = Options { algorithm: wanted.algorithm.unwrap_or_default(), ..Options::default() };
                let loaded = other.load(&options)?;
                let limits = [Inline::AsGiven].into_iter().chain(limits).collect();
                let path = object.unwrap_or_else(|| path.to_owned());
                let contents = FileContents::default();
                let (form, tree) = (loaded.form, loaded.tree);
                let objects = if operands.has_repository() {
                    TreeContents::Repository(operands.repository()?)
                } else {
                    TreeContents::Inline
                };
                let contexts = compiled(&tree, objects);
                Ok((Self { path, words, form, tree, contents, contexts, limits, whiteouts }, None))
            }
        }
    }

    /// Returns the tree that a tool with this policy makes of the source, labels included.
    pub(super) fn apply(&self, policy: &Policy) -> Result<Tree, String> {
        let mut tree = policy.apply(&self.tree, &self.contents).map_err(|error| error.to_string())?;
        if policy.transform.drops_labels()
            && let Some(contexts) = self.contexts.as_ref().map_err(String::clone)?
        {
            relabel(&mut tree, contexts).map_err(|error| format!("{error:#}"))?;
        }
        Ok(tree)
    }

    /// `from` has the contents that were not kept while the layers were read.
    fn of_layers(
        path: &Path,
        words: String,
        trees: PlainTrees,
        limits: Vec<Inline>,
        from: Option<TreeContents<'_>>,
    ) -> (Self, Option<Self>) {
        let PlainTrees { in_order, lower_layers, contents } = trees;
        let differs = lower_layers.is_some();
        let reading = |tree: Tree, rule| Self {
            contexts: compiled(&tree, from.unwrap_or(TreeContents::Kept(&contents))),
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

/// Compiles the policy in a tree for use by several threads.
fn compiled(tree: &Tree, contents: TreeContents<'_>) -> Result<Option<Arc<Contexts>>, String> {
    let found = contexts_of(tree, contents).map_err(|error| format!("{error:#}"))?;
    Ok(found.map(Arc::new))
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
