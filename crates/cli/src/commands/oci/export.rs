//! `composefs oci export`: writes an image to a layout or an archive.

use std::ffi::OsString;
use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_repo::StreamTag;

use super::destination;
use super::push_report::{self, NewManifestArgs};
use crate::commands::repository::RepositoryArgs;
use crate::complete;
use crate::interrupt::Interrupt;

/// Export an image of a repository to an OCI image layout or an archive.
///
/// A layout gets the same manifest and the same blobs. If the repository has only the uncompressed archive of a layer,
/// nothing is written and the message names the layers: --recompress writes new ones. A docker archive has uncompressed
/// layers and no manifest, so that every image can be written to it. Nothing has a name before all is on disk. Other
/// images of a layout stay.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct OciExportArgs {
    /// Image, by its name or by the digest of its manifest (sha256:HEX)
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::oci_names))]
    name: StreamTag,
    /// Layout or archive to write
    #[arg(value_name = "DESTINATION", add = ArgValueCompleter::new(complete::oci_destinations))]
    destination: OsString,
    /// Replace an existing archive
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    manifest: NewManifestArgs,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Destinations:
  oci:DIR[:REF]              an OCI image layout: a new or empty directory, or one that gets another image
  oci-archive:FILE[:REF]     an OCI image layout in a new tar archive
  docker-archive:FILE[:REF]  a new archive for `docker load` and `podman load`
REF is the name of the image in the layout or archive.

Examples:
  composefs --repo=/srv/images oci export app:1 oci:layout:app
  composefs --repo=/srv/images oci export app:1 oci-archive:app.tar:app --recompress --compression=zstd
  composefs --repo=/srv/images oci export app:1 docker-archive:app.tar:example/app:1

Exit status: 0 if the image was written, 1 if not, 128 plus the signal number if a signal cancelled the command.";

pub(super) fn run(args: &OciExportArgs, selected: &RepositoryArgs) -> ExitCode {
    let interrupt = Interrupt::watch();
    interrupt.end(run_export(args, selected, &interrupt))
}

fn run_export(args: &OciExportArgs, selected: &RepositoryArgs, interrupt: &Interrupt) -> anyhow::Result<()> {
    let repository = selected.open()?.interrupted_by(interrupt.flag());
    // Before a directory is made.
    libcomposefs_oci::stored::StoredImage::by_name(&repository, &args.name)?;
    let (destination, spool) = destination::open(&args.destination, args.force)?;
    let options = args.manifest.options(spool, interrupt);
    push_report::send(&repository, &args.name, &*destination, &options, args.json)
}
