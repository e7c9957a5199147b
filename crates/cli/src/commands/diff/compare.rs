//! Both sides, loaded and compared.

use anyhow::bail;
use libcomposefs_image::Algorithm;
use libcomposefs_image::diff::causes::{Cause, causes};
use libcomposefs_image::diff::{self, Diff, Field, Fields, diff};
use libcomposefs_image::helpers::both;
use libcomposefs_image::tree::Tree;
use libcomposefs_scan as scan;

use super::facts::{self, Fact};
use super::options::{Hardlinks, Request};
use crate::input::{self, Form, Loaded, Source};

/// The two sides.
pub(super) struct Pair {
    pub(super) sides: [Loaded; 2],
}

/// What was found.
pub(super) struct Comparison<'t> {
    pub(super) request: &'t Request,
    pub(super) pair: &'t Pair,
    pub(super) diff: Diff<'t>,
    pub(super) causes: Vec<Cause<'t>>,
    pub(super) facts: Vec<Fact>,
}

impl Pair {
    /// Loads both sides; nothing if both are images of the same bytes, which need no look at what they hold.
    pub(super) fn load(request: &Request) -> anyhow::Result<Option<Self>> {
        let [a, b] = &request.paths;
        let (a, b) = (input::open(a)?, input::open(b)?);
        if let (Source::Image(a), Source::Image(b)) = (&a, &b)
            && request.diff.below.is_empty()
            && a.bytes() == b.bytes()
        {
            // Damage that both have is not what was asked about, but what is no image at all is.
            a.reader()?;
            return Ok(None);
        }
        let is_directory = [&a, &b].map(|source| source.form() == Form::Directory);
        if let Some(option) = request.scan_option.filter(|_| !is_directory.contains(&true)) {
            bail!("{option} says how a directory is read, and neither side is one");
        }
        let options = |other: Option<&Tree>| directory_options(request, other);
        let sides = match is_directory {
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

/// Loads both, at the same time if a thread can be started.
fn load_both(a: Source, b: Source, options: &scan::Options) -> anyhow::Result<[Loaded; 2]> {
    let (a, b) = both(|| a.load(options), || b.load(options));
    // If both are wrong it is the first that is told of.
    Ok([a?, b?])
}

/// How a directory is read so that it can be compared: with the digests of the other side, and with hard links if the
/// other side has some. Two directories are read as they are.
fn directory_options(request: &Request, other: Option<&Tree>) -> scan::Options {
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

impl<'t> Comparison<'t> {
    pub(super) fn new(request: &'t Request, pair: &'t Pair) -> anyhow::Result<Self> {
        let [a, b] = &pair.sides;
        let mut options = request.diff.clone();
        if [a, b].iter().any(|side| side.form == Form::Directory) {
            // A directory keeps nothing in an image: where a content would be is nobody's choice yet.
            options.ignore = options.ignore.iter().chain([Field::Storage]).collect::<Fields>();
        }
        let diff = diff(&a.tree, &b.tree, &options);
        let counts = diff.counts();
        if counts.common + counts.only_a + counts.only_b == 0 {
            bail!("neither side has {}", super::words::path(&options.below));
        }
        let facts = match (&a.facts, &b.facts) {
            // Of a part of the trees an image says nothing.
            (Some(a), Some(b)) if options.below.is_empty() => facts::differing(a, b, &request.ignored_facts),
            _ => Vec::new(),
        };
        let causes = causes(&diff);
        Ok(Self { request, pair, diff, causes, facts })
    }

    /// Whether nothing differs that was to be looked at.
    pub(super) fn is_equal(&self) -> bool {
        self.diff.is_empty() && self.facts.is_empty() && self.incomparable() == 0
    }

    /// How many contents could not be compared, and were to be.
    pub(super) fn incomparable(&self) -> usize {
        let is_ignored = self.request.diff.ignore.contains(Field::Content);
        if is_ignored { 0 } else { self.diff.counts().incomparable }
    }

    /// One of the sides.
    pub(super) fn side(&self, side: diff::Side) -> &Loaded {
        &self.pair.sides[side as usize]
    }
}
