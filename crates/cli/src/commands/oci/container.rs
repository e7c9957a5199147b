//! The commands that start a container on an image of the repository.

use std::process::ExitCode;

use libcomposefs_image::Digest;
use libcomposefs_repo::{Repository, StreamTag};

use super::run::{BundleArgs, RunArgs, run_container, status_of, write_bundle};
use super::stored_image;
use crate::commands::mount::mount_read_only;
use crate::commands::repository::RepositoryArgs;
use crate::error_text::print_error;

/// Runs a command in a container, and returns its exit status.
pub(super) fn run(args: &RunArgs, selected: &RepositoryArgs) -> ExitCode {
    let opened = selected.open().and_then(|repository| {
        let (config, digest) = open(&repository, &args.name)?;
        Ok((repository, config, digest))
    });
    let status = opened.and_then(|(repository, config, digest)| {
        run_container(args, &config, |directory| mount_read_only(&repository, &args.name, &digest, directory))
    });
    match status {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            print_error("composefs", &error);
            ExitCode::from(status_of(&error))
        }
    }
}

/// Makes an OCI bundle for another program.
pub(super) fn bundle(args: &BundleArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let repository = selected.open()?;
    let (config, digest) = open(&repository, &args.name)?;
    write_bundle(args, &config, |directory| mount_read_only(&repository, &args.name, &digest, directory))
}

/// Reads the configuration of an image, and the digest of its composefs image.
fn open(repository: &Repository, name: &str) -> anyhow::Result<(Vec<u8>, Digest)> {
    let (image, digest) = stored_image(repository, &name.parse::<StreamTag>()?)?;
    Ok((image.config.raw, digest))
}
