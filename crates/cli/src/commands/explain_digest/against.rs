//! The wanted side, where there is more of it than a digest.

use std::path::Path;

use anyhow::bail;
use libcomposefs_image::Digest;
use libcomposefs_image::policy::Policy;
use libcomposefs_image::tree::Tree;
use libcomposefs_scan::Options;

use crate::input::{self, Source};

/// An image or a dump of what is wanted.
#[derive(Debug)]
pub(super) struct Against {
    pub(super) tree: Tree,
    /// What an image says of itself.
    version: Option<u32>,
    /// The digests of an image, by each algorithm.
    digests: Vec<Digest>,
}

impl Against {
    /// Reads it.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let source = input::open(path)?;
        let digests = match &source {
            Source::Directory(_) => bail!(
                "{} is a directory, of which an image can be made in many ways too: expected an image or a dump; composefs \
                 diff compares two directories",
                path.display()
            ),
            Source::Image(image) => image.digests()?,
            Source::Dump(_) => Vec::new(),
        };
        let loaded = source.load(&Options::default())?;
        Ok(Self { tree: loaded.tree, version: loaded.facts.map(|facts| facts.version), digests })
    }

    /// The digest of an image, by the algorithm of its objects.
    pub(super) fn digest(&self) -> Option<Digest> {
        self.digests.iter().find(|digest| digest.algorithm() == self.tree.algorithm()).copied()
    }

    pub(super) fn is_image(&self) -> bool {
        self.version.is_some()
    }

    /// Those policies that make the version at hand, or if it is not known, of each tree one.
    pub(super) fn only_its_version(&self, policies: &[Policy]) -> Vec<Policy> {
        let version = self.version.unwrap_or(0);
        let mut only: Vec<_> = policies.iter().filter(|policy| policy.version == version).copied().collect();
        if only.is_empty() {
            // A policy of another version makes the same tree, but for the nanoseconds.
            only = policies.iter().map(|policy| Policy { version, ..*policy }).collect();
        }
        only
    }
}
