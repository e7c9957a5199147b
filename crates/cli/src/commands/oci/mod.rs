//! `composefs oci`: works with OCI images, of registries, layouts and archives.

mod digest;
mod images;
mod inspect;
mod progress;
mod pull;
#[cfg(feature = "network")]
mod registry;
#[allow(dead_code, unused_imports, reason = "no command of `composefs` calls it yet")]
pub(crate) mod run;
mod source;
mod tag;
mod untag;
mod verify;
mod warnings;

use std::process::ExitCode;

use clap::Subcommand;

use super::repository::{RepositoryArgs, WithRepository};
use crate::exit::{exit_partial, exit_status};

/// Work with OCI images: container images of registries, layouts and archives.
///
/// The layers of an image are stored bit by bit, with each file content once in the object store, and its whole file
/// system becomes one composefs image, whose digest other composefs programs compute too.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OciArgs {
    #[command(subcommand)]
    command: OciCommand,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images oci pull docker://docker.io/library/debian:13
  composefs --repo=/srv/images oci images
  composefs oci digest oci-archive:debian.tar";

#[derive(Subcommand)]
enum OciCommand {
    Digest(digest::OciDigestArgs),
    Images(WithRepository<images::OciImagesArgs>),
    Inspect(WithRepository<inspect::OciInspectArgs>),
    Pull(WithRepository<pull::OciPullArgs>),
    Tag(WithRepository<tag::OciTagArgs>),
    Untag(WithRepository<untag::OciUntagArgs>),
    Verify(WithRepository<verify::OciVerifyArgs>),
}

pub(crate) fn run(args: &OciArgs, selected: &RepositoryArgs) -> ExitCode {
    match &args.command {
        OciCommand::Digest(args) => exit_status(digest::run(args)),
        OciCommand::Images(args) => exit_partial(args.run(selected, images::run)),
        OciCommand::Inspect(args) => exit_status(args.run(selected, inspect::run)),
        OciCommand::Pull(args) => args.run(selected, pull::run),
        OciCommand::Tag(args) => exit_status(args.run(selected, tag::run)),
        OciCommand::Untag(args) => exit_status(args.run(selected, untag::run)),
        OciCommand::Verify(args) => exit_partial(args.run(selected, verify::run)),
    }
}
