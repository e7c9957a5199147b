//! Loads and compares both sides.

use std::cell::OnceCell;

use anyhow::bail;
use libcomposefs_image::Algorithm;
use libcomposefs_image::diff::causes::{Cause, causes};
use libcomposefs_image::diff::{self, Diff, Field, FieldSet, diff};
use libcomposefs_image::threads::both;
use libcomposefs_image::tree::Tree;
use libcomposefs_scan as scan;

use super::facts::{self, Fact};
use super::options::{DiffRequest, Hardlinks};
use crate::commands::repository::RepositoryArgs;
use crate::input::{Input, InputKind, LoadedInput};
use crate::operand::Operands;

/// The two sides, loaded.
pub(in crate::commands) struct LoadedSides {
    pub(super) sides: [LoadedInput; 2],
}

/// Result of a comparison.
pub(in crate::commands) struct TreeComparison<'t> {
    pub(super) request: &'t DiffRequest,
    pub(super) pair: &'t LoadedSides,
    pub(super) diff: Diff<'t>,
    pub(super) causes: Vec<Cause<'t>>,
    pub(super) facts: Vec<Fact>,
}

impl LoadedSides {
    /// Loads both sides. Returns `None` if both are images with the same bytes, which need not be loaded.
    pub(super) fn load(request: &DiffRequest, selected: &RepositoryArgs) -> anyhow::Result<Option<Self>> {
        let [a, b] = &request.paths;
        let opened = OnceCell::new();
        let operands = Operands::new(selected, &opened);
        let ((a, _), (b, _)) = (operands.open(a)?, operands.open(b)?);
        Self::of_inputs(request, a, b)
    }

    /// Loads both sides, as [`load`](Self::load) does.
    pub(in crate::commands) fn of_inputs(request: &DiffRequest, a: Input, b: Input) -> anyhow::Result<Option<Self>> {
        if let (Input::Image(a), Input::Image(b)) = (&a, &b)
            && request.diff.below.is_empty()
            && a.bytes() == b.bytes()
        {
            // Damage in both images is not a difference; a file that is not an image is an error.
            a.reader()?;
            return Ok(None);
        }
        let is_directory = |source: &Input| source.form() == InputKind::Directory;
        if let Some(option) = request.scan_option.filter(|_| !is_directory(&a) && !is_directory(&b)) {
            bail!("{option} applies to directories only, and neither side is one");
        }
        let options = |other: Option<&Tree>| directory_options(request, other);
        let sides = match [&a, &b].map(|source| source.form().is_hashed()) {
            [true, true] => [a.load(&options(None))?, b.load(&options(None))?],
            [true, false] => {
                let b = b.load(&options(None))?;
                [a.load(&options(Some(&b.tree)))?, b]
            }
            [false, true] => {
                let a = a.load(&options(None))?;
                let b = b.load(&options(Some(&a.tree)))?;
                [a, b]
            }
            [false, false] => load_both(a, b, &options(None))?,
        };
        Ok(Some(Self { sides }))
    }
}

/// Loads both sides, in parallel if a thread can be started.
fn load_both(a: Input, b: Input, options: &scan::Options) -> anyhow::Result<[LoadedInput; 2]> {
    let (a, b) = both(|| a.load(options), || b.load(options));
    // If both fail, the error of the first is reported.
    Ok([a?, b?])
}

/// Returns the options for scanning a directory for the comparison: with the digest algorithm of the other side, and
/// with hard links if the other side has some. If both sides are directories, hard links are kept.
fn directory_options(request: &DiffRequest, other: Option<&Tree>) -> scan::Options {
    scan::Options {
        algorithm: request.algorithm.or(other.map(Tree::algorithm)).unwrap_or(Algorithm::Sha256),
        hardlinks: match request.hardlinks {
            Hardlinks::Yes => true,
            Hardlinks::No => false,
            Hardlinks::Auto => other.is_none_or(Tree::has_links),
        },
        ..request.scan.clone()
    }
}

impl<'t> TreeComparison<'t> {
    pub(in crate::commands) fn new(request: &'t DiffRequest, pair: &'t LoadedSides) -> anyhow::Result<Self> {
        let [a, b] = &pair.sides;
        let mut options = request.diff.clone();
        if [a, b].iter().any(|side| side.form == InputKind::Directory) {
            // A directory does not determine which contents are stored in the image.
            options.ignore = options.ignore.iter().chain([Field::Storage]).collect::<FieldSet>();
        }
        let diff = diff(&a.tree, &b.tree, &options);
        let counts = diff.counts();
        if counts.common + counts.only_a + counts.only_b == 0 {
            bail!("neither side has the path {}", super::labels::path(&options.below));
        }
        let facts = match (&a.facts, &b.facts) {
            // Image properties concern the whole image, not a part of its tree.
            (Some(a), Some(b)) if options.below.is_empty() => facts::differing(a, b, &request.ignored_facts),
            _ => Vec::new(),
        };
        let causes = causes(&diff);
        Ok(Self { request, pair, diff, causes, facts })
    }

    /// Returns true if there are no differences in the selected fields and paths.
    pub(in crate::commands) fn is_equal(&self) -> bool {
        self.diff.is_empty() && self.facts.is_empty() && self.incomparable() == 0
    }

    /// Returns the number of contents that could not be compared, unless contents are ignored.
    pub(super) fn incomparable(&self) -> usize {
        let is_ignored = self.request.diff.ignore.contains(Field::Content);
        if is_ignored { 0 } else { self.diff.counts().incomparable }
    }

    /// Returns one of the sides.
    pub(super) fn side(&self, side: diff::Side) -> &LoadedInput {
        &self.pair.sides[side as usize]
    }
}
