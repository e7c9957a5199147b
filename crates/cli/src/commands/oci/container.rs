//! The commands that start a container on an image of the repository.

use std::path::Path;
use std::process::ExitCode;

use libcomposefs_fuse::may_mount;
use libcomposefs_repo::{Repository, StreamTag};

use super::run::{BundleArgs, RootMount, RunArgs, run_container, status_of, write_bundle};
use super::{StoredRoot, stored_root};
use crate::commands::mount::{MountArgs, MountPart, mount_read_only};
use crate::commands::repository::RepositoryArgs;
use crate::commands::run::user_maps::enter_user_namespace;
use crate::error_text::print_error;

/// Runs a command in a container, and returns its exit status.
pub(super) fn run(args: &RunArgs, selected: &RepositoryArgs) -> ExitCode {
    match run_command(args, selected) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            print_error("composefs", &error);
            ExitCode::from(status_of(&error))
        }
    }
}

fn run_command(args: &RunArgs, selected: &RepositoryArgs) -> anyhow::Result<u8> {
    let repository = selected.open()?;
    let root = open(&repository, &args.name)?;
    if !may_mount() {
        enter_user_namespace()?;
    }
    let mount = |directory: &Path| {
        let part = MountArgs::for_container((&root.digest, &root.name), directory).run_part_in(&repository)?;
        Ok(match part {
            MountPart::Caller => RootMount::Done,
            MountPart::Server(served) => RootMount::Served(served),
        })
    };
    run_container(args, &root.image.config.raw, mount)
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
