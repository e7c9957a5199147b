//! The digest of the bootable image of a source.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context, anyhow};
use libcomposefs_image::policy::Inline;
use libcomposefs_image::{Algorithm, Digest};

use super::source::{DigestSource, SourceOptions};
use crate::commands::bootable_args::BootableArgs;
use crate::operand::Operands;

/// Size of the contents that are in the image, in bytes.
const INLINE_MAX: u64 = 64;

/// Reads a source once, and returns the digest of its bootable image.
pub(in crate::commands) fn bootable_digest(
    path: &Path,
    operands: &Operands<'_>,
    args: &BootableArgs,
    (version, algorithm): (u32, Algorithm),
    threads: NonZeroUsize,
) -> anyhow::Result<Digest> {
    let options = SourceOptions { algorithm: Some(algorithm), limits: &[], threads: Some(threads) };
    let (source, _) = DigestSource::read(path, operands, options)?;
    let policy = args.policy(version, algorithm, Inline::UpTo(INLINE_MAX));
    let digest = || {
        let tree = source.apply(&policy).map_err(|reason| anyhow!(reason))?;
        Ok::<_, anyhow::Error>(policy.plan(&tree)?.digest(algorithm))
    };
    digest().with_context(|| format!("make the bootable image of {}", path.display()))
}
