//! The commands that start a container on an image of the repository.

use std::path::Path;
use std::process::ExitCode;

use libcomposefs_repo::{Repository, StreamTag};

use super::run::{BundleArgs, RunArgs, run_container, status_of, write_bundle};
use super::{StoredRoot, stored_root};
use crate::commands::mount::mount_read_only;
use crate::commands::repository::RepositoryArgs;
use crate::error_text::print_error;

/// Runs a command in a container, and returns its exit status.
pub(super) fn run(args: &RunArgs, selected: &RepositoryArgs) -> ExitCode {
    let opened = selected.open().and_then(|repository| {
        let root = open(&repository, &args.name)?;
        Ok((repository, root))
    });
    let status = opened.and_then(|(repository, root)| {
        let mount = |directory: &Path| mount_read_only(&repository, &root.name, &root.digest, directory);
        run_container(args, &root.image.config.raw, mount)
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
    let root = open(&repository, &args.name)?;
    let mount = |directory: &Path| mount_read_only(&repository, &root.name, &root.digest, directory);
    write_bundle(args, &root.image.config.raw, mount)
}

fn open(repository: &Repository, name: &str) -> anyhow::Result<StoredRoot> {
    stored_root(repository, &name.parse::<StreamTag>()?)
}
