//! The expected tree of `--against`.

use std::path::Path;

use anyhow::bail;
use libcomposefs_image::Digest;
use libcomposefs_image::policy::Policy;
use libcomposefs_image::tree::Tree;
use libcomposefs_repo::ImageName;
use libcomposefs_scan::Options;

use super::source::DigestSource;
use crate::input::{Input, InputKind};
use crate::operand::Operands;

/// Image or dump of the expected tree.
#[derive(Debug)]
pub(super) struct ExpectedTree {
    pub(super) tree: Tree,
    /// Format version of the image; `None` for a dump.
    version: Option<u32>,
    /// Digests of the image, one for each algorithm; empty for a dump.
    digests: Vec<Digest>,
}

impl ExpectedTree {
    /// Reads the image or dump.
    pub(super) fn read(path: &Path, operands: &Operands<'_>) -> anyhow::Result<Self> {
        let source = operands.open(path)?.0;
        let digests = match &source {
            Input::Directory(_) => bail!(
                "{} is a directory, from which an image can be built in many ways too: expected an image or a dump; \
                 use `composefs diff` to compare directories",
                path.display()
            ),
            Input::Image(image) => image.digests()?,
            Input::Dump(_) => Vec::new(),
            Input::Source(_) => bail!(
                "{} is an OCI image, from which an image can be made in many ways too: expected an image or a dump; \
                 use `composefs diff` to compare OCI images",
                path.display()
            ),
        };
        Self::load(source, digests)
    }

    /// Finds the image of an expected digest in the repository, if the command line names one or the source is an OCI
    /// image. Returns `None` if there is no such image or it cannot be read.
    pub(super) fn find(
        digest: &Digest,
        source: &DigestSource,
        operands: &Operands<'_>,
    ) -> anyhow::Result<Option<Self>> {
        if !operands.has_repository() && source.form != InputKind::Source {
            return Ok(None);
        }
        let Ok(repository) = operands.repository() else { return Ok(None) };
        if repository.expect_image(&ImageName::Digest(*digest), digest).is_err() {
            return Ok(None);
        }
        let (image, _) = operands.open(Path::new(&digest.to_hex()))?;
        Self::load(image, vec![*digest]).map(Some)
    }

    fn load(source: Input, digests: Vec<Digest>) -> anyhow::Result<Self> {
        let loaded = source.load(&Options::default())?;
        Ok(Self { tree: loaded.tree, version: loaded.facts.map(|facts| facts.version), digests })
    }

    /// Returns the digest of the image, with the algorithm of its objects.
    pub(super) fn digest(&self) -> Option<Digest> {
        self.digests.iter().find(|digest| digest.algorithm() == self.tree.algorithm()).copied()
    }

    pub(super) fn is_image(&self) -> bool {
        self.version.is_some()
    }

    /// Returns the policies with the format version of the image, or 0 for a dump. If no policy has it, returns all of
    /// them with that version.
    pub(super) fn only_its_version(&self, policies: &[Policy]) -> Vec<Policy> {
        let version = self.version.unwrap_or(0);
        let mut only: Vec<_> = policies.iter().filter(|policy| policy.version == version).copied().collect();
        if only.is_empty() {
            // Policies that only differ in the version make the same tree, except for nanoseconds.
            only = policies.iter().map(|policy| Policy { version, ..*policy }).collect();
        }
        only
    }
}
