//! `composefs oci`: works with OCI images, of registries, layouts and archives.

mod blob_kind;
mod bootable;
pub(crate) mod bundle_images;
mod config_diff;
mod container;
mod destination;
mod diff;
mod digest;
mod export;
mod images;
mod inspect;
mod layers;
pub(super) mod locations;
mod mount;
mod new_name;
pub(crate) mod progress;
mod pull;
mod push;
mod push_report;
mod read_args;
#[cfg(feature = "network")]
pub(crate) mod registry;
#[cfg(feature = "network")]
mod registry_destination;
#[cfg(feature = "network")]
mod registry_parts;
pub(crate) mod run;
mod signature_policy;
mod signed_source;
pub(crate) mod source;
pub(crate) mod sync;
mod tag;
mod untag;
mod verify;
mod verify_source;
pub(crate) mod warnings;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use libcomposefs_image::Digest;
use libcomposefs_oci::stored::StoredImage;
use libcomposefs_repo::{Repository, StreamTag};

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
  composefs --repo=/srv/images init --algorithm=sha512 --format=1
  composefs --repo=/srv/images oci pull docker://docker.io/library/debian:13
  composefs --repo=/srv/images oci images
  composefs oci digest oci-archive:debian.tar";

#[derive(Subcommand)]
enum OciCommand {
    Bundle(WithRepository<run::BundleArgs>),
    Diff(Box<WithRepository<diff::OciDiffArgs>>),
    Digest(WithRepository<digest::OciDigestArgs>),
    Export(WithRepository<export::OciExportArgs>),
    Images(WithRepository<images::OciImagesArgs>),
    Inspect(WithRepository<inspect::OciInspectArgs>),
    Layers(WithRepository<layers::OciLayersArgs>),
    Mount(WithRepository<mount::OciMountArgs>),
    Pull(WithRepository<pull::OciPullArgs>),
    Push(WithRepository<push::OciPushArgs>),
    Run(WithRepository<run::RunArgs>),
    Tag(WithRepository<tag::OciTagArgs>),
    Untag(WithRepository<untag::OciUntagArgs>),
    Verify(WithRepository<verify::OciVerifyArgs>),
}

pub(crate) fn run(args: &OciArgs, selected: &RepositoryArgs) -> ExitCode {
    match &args.command {
        OciCommand::Bundle(args) => exit_status(args.run(selected, container::bundle)),
        OciCommand::Diff(args) => args.run(selected, diff::run),
        OciCommand::Digest(args) => exit_status(args.run(selected, digest::run)),
        OciCommand::Export(args) => args.run(selected, export::run),
        OciCommand::Images(args) => exit_partial(args.run(selected, images::run)),
        OciCommand::Inspect(args) => exit_status(args.run(selected, inspect::run)),
        OciCommand::Layers(args) => exit_status(args.run(selected, layers::run)),
        OciCommand::Mount(args) => exit_status(args.run(selected, mount::run)),
        OciCommand::Pull(args) => args.run(selected, pull::run),
        OciCommand::Push(args) => args.run(selected, push::run),
        OciCommand::Run(args) => args.run(selected, container::run),
        OciCommand::Tag(args) => exit_status(args.run(selected, tag::run)),
        OciCommand::Untag(args) => exit_status(args.run(selected, untag::run)),
        OciCommand::Verify(args) => exit_partial(args.run(selected, verify::run)),
    }
}

/// An image of the repository that a command line names, and that a command mounts.
struct StoredRoot {
    image: StoredImage,
    /// Digest of its composefs image.
    digest: Digest,
    /// Its name for policies. An image that the command line names by the digest of its manifest has no name.
    name: String,
}

/// Reads an image of the repository, to mount it. `name` is a name or the digest of a manifest.
fn stored_root(repository: &Repository, name: &StreamTag) -> anyhow::Result<StoredRoot> {
    let (image, digest) = with_digest(StoredImage::by_name(repository, name)?, name)?;
    let is_digest = name.as_str() == image.manifest.digest.to_string();
    let name = if is_digest { digest.to_hex() } else { name.to_string() };
    Ok(StoredRoot { image, digest, name })
}

/// Returns an image with the digest of its composefs image.
fn with_digest(image: StoredImage, name: &StreamTag) -> anyhow::Result<(StoredImage, Digest)> {
    let digest = image.image();
    let digest = digest.with_context(|| format!("{name} has no composefs image: pull it again"))?;
    Ok((image, digest))
}
