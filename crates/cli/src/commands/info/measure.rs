//! `composefs-info measure-file`: prints fs-verity digests.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use libcomposefs_content::digest_file;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_sys::verity::{Measurement, measure};

/// Prints the digest of each file.
pub(super) fn measure_files(paths: &[PathBuf], out: &mut impl Write) -> anyhow::Result<()> {
    for path in paths {
        let digest = measure_file(path);
        out.flush()?;
        writeln!(out, "{}", digest?)?;
    }
    Ok(())
}

/// Returns the digest that the kernel verifies reads against; without one, computes the digest of the content.
fn measure_file(path: &Path) -> anyhow::Result<Digest> {
    let cannot_measure = || format!("failed to measure '{}'", path.display());
    let file = File::open(path).with_context(|| format!("Failed to open '{}'", path.display()))?;
    match measure(&file).with_context(cannot_measure)? {
        Measurement::Digest(measured) => match Digest::new(Algorithm::Sha256, &measured.digest) {
            Some(digest) => Ok(digest),
            None => bail!(
                "{}: the kernel has a digest of {} bytes, expected 32: for SHA-512, see composefs digest",
                cannot_measure(),
                measured.digest.len()
            ),
        },
        Measurement::Refused(errno) => Err(std::io::Error::from(errno)).with_context(cannot_measure),
        Measurement::NotEnabled | Measurement::Unsupported => {
            let threads = crate::rlimits::threads(None);
            digest_file(file.as_fd(), Algorithm::Sha256, threads).with_context(cannot_measure)
        }
    }
}
