//! Checks one image: its structure and its digest.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context;
use libcomposefs_content::digest_file;
use libcomposefs_image::bootable::{BootLack, boot_lacks};
use libcomposefs_image::erofs::check::{CheckReport, Severity, check_in_file};
use libcomposefs_image::erofs::read::{ImageReader, load};
use libcomposefs_image::{Algorithm, Digest};

use super::objects::Wanted;
use crate::image_file::ImageFile;

/// Result of checking an image.
pub(super) struct Checked {
    pub(super) path: PathBuf,
    pub(super) report: CheckReport,
    pub(super) digest: Digest,
    /// Expected digest, if the image has another one.
    pub(super) other_expected: Option<Digest>,
    /// Digest that the kernel verifies reads against, if fs-verity is enabled; the inner `None` stands for a digest of
    /// an unknown algorithm.
    pub(super) kernel: Option<Option<Digest>>,
    pub(super) format_version: Option<u32>,
    /// What the tree lacks to boot, if that is asked for.
    pub(super) boot_lacks: Option<Vec<BootLack>>,
}

impl Checked {
    /// Checks an image, and adds the objects that it needs to `needs`.
    pub(super) fn new(
        path: &Path,
        image: &ImageFile,
        expected: Option<Digest>,
        threads: NonZeroUsize,
        needs: Option<&mut Wanted>,
        bootable: bool,
    ) -> anyhow::Result<Self> {
        let reader = ImageReader::new(image.bytes()).ok();
        let loaded = reader.and_then(|reader| load(&reader, &[]).ok());
        let algorithm = loaded.as_ref().map_or_else(Algorithm::default, |loaded| loaded.tree.algorithm());
        let algorithm = expected.map_or(algorithm, |expected| expected.algorithm());
        // The length includes data after the image only once the digest was computed.
        let digest = match image.regular() {
            Some(file) => digest_file(file, algorithm, threads).context("cannot read the image")?,
            None => image.digest(algorithm)?,
        };
        let report = check_in_file(image.bytes(), image.file_len());
        let kernel = image.kernel_digest()?;
        if let (Some(needs), Some(loaded)) = (needs, &loaded) {
            needs.add(&loaded.tree);
        }
        let boot_lacks = loaded.as_ref().filter(|_| bootable).map(|loaded| boot_lacks(&loaded.tree));
        let other_expected = expected.filter(|expected| *expected != digest);
        let format_version = reader.map(|reader| reader.header().format_version);
        Ok(Self { path: path.to_owned(), report, digest, other_expected, kernel, format_version, boot_lacks })
    }

    /// Returns true if the kernel's digest differs. Digests of different algorithms cannot be compared.
    pub(super) fn kernel_disagrees(&self) -> bool {
        let same_kind = self.kernel.flatten().filter(|found| found.algorithm() == self.digest.algorithm());
        same_kind.is_some_and(|found| found != self.digest)
    }

    /// Returns true if the tree lacks nothing to boot, or if that is not asked for.
    pub(super) fn boots(&self) -> bool {
        self.boot_lacks.as_ref().is_none_or(Vec::is_empty)
    }

    /// Returns true if no finding has this severity or a worse one.
    pub(super) fn is_sound(&self, worst: Severity) -> bool {
        let is_bad = |severity: &Severity| *severity >= worst && self.report.count(*severity) > 0;
        self.other_expected.is_none() && !self.kernel_disagrees() && !Severity::ALL.iter().any(is_bad)
    }
}
