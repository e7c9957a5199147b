//! `composefs oci push`: sends an image to a registry.

use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_repo::StreamTag;

use super::push_report::{self, NewManifestArgs};
use crate::commands::repository::RepositoryArgs;
use crate::complete;
use crate::interrupt::Interrupt;

/// Push an image of a repository to a registry.
///
/// The registry gets the same manifest and the same blobs. A blob that it has is not sent; one that another of its
/// repositories has is mounted from there. If a blob is neither there nor in this repository, nothing is sent and the
/// message names the layers: --recompress sends new ones. The name is given last, when everything else is stored.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct OciPushArgs {
    /// Image, by its name or by the digest of its manifest (sha256:HEX)
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::oci_names))]
    name: StreamTag,
    /// Reference to push to, `docker://HOST/PATH[:TAG]`
    #[arg(value_name = "DESTINATION", add = ArgValueCompleter::new(complete::oci_registries))]
    destination: String,
    /// Reference in the same registry whose repository has the blobs; may be given several times
    #[cfg(feature = "network")]
    #[arg(long, value_name = "REFERENCE")]
    from: Vec<String>,
    #[cfg(feature = "network")]
    #[command(flatten)]
    registry: super::registry::RegistryArgs,
    #[command(flatten)]
    manifest: NewManifestArgs,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Examples:
  composefs --repo=/srv/images oci push app:1 docker://registry.example/team/app:1
  composefs oci push app:1 docker://registry.example/prod/app:1 --from=registry.example/team/app
  composefs oci push app:1 docker://registry.example/team/app:zstd --recompress --compression=zstd:9

Exit status: 0 if the image was pushed, 1 if not, 128 plus the signal number if a signal cancelled the command.";

pub(super) fn run(args: &OciPushArgs, selected: &RepositoryArgs) -> ExitCode {
    let interrupt = Interrupt::watch();
    interrupt.end(run_push(args, selected, &interrupt))
}

#[cfg(feature = "network")]
fn run_push(args: &OciPushArgs, selected: &RepositoryArgs, interrupt: &Interrupt) -> anyhow::Result<()> {
    use anyhow::Context as _;

    let repository = selected.open()?.interrupted_by(interrupt.flag());
    let reference = args.destination.strip_prefix("docker://").with_context(|| {
        format!(
            "{:?} is no reference to a registry: docker://HOST/PATH[:TAG] is expected; `composefs oci export` writes \
             layouts and archives",
            args.destination
        )
    })?;
    let names = super::registry_destination::names_of(&repository, &args.name)?;
    let destination = super::registry_destination::open(reference, &args.registry, &args.from, &names)?;
    // The place for large temporary files.
    let spool = std::env::var_os("TMPDIR").filter(|dir| !dir.is_empty()).unwrap_or_else(|| "/var/tmp".into());
    let options = args.manifest.options(spool.into(), interrupt);
    push_report::send(&repository, &args.name, &destination, &options, args.json)
}

#[cfg(not(feature = "network"))]
fn run_push(args: &OciPushArgs, _: &RepositoryArgs, _: &Interrupt) -> anyhow::Result<()> {
    let (_, _, _, _) = (&args.name, &args.manifest, args.json, push_report::send);
    anyhow::bail!("{}: this program was built without network; export {} to a layout", args.destination, args.name)
}
