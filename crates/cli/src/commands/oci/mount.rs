//! `composefs oci mount`: mounts the file system of an OCI image.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context as _;
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_oci::stored_layer_images::stored_layer_images;
use libcomposefs_repo::StreamTag;

use super::{StoredRoot, stored_root};
use crate::commands::mount::MountArgs;
use crate::commands::repository::RepositoryArgs;
use crate::complete;

/// Mount the whole file system of an OCI image.
///
/// The kernel verifies the image and every file in it, unless the repository does not use fs-verity. `composefs umount`
/// unmounts it.
///
/// With --per-layer, the images that `oci pull --per-layer` has made of the single layers are mounted one above the
/// other. The file system is the same, but for attributes `user.overlay.*` of some directories; images with the same
/// lower layers share these images. No other overlay can be mounted on it, such as that of `podman run --rootfs DIR:O`:
/// the kernel allows two levels.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OciMountArgs {
    /// Image, by its name or by the digest of its manifest (sha256:HEX)
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::oci_names))]
    name: StreamTag,
    /// Directory to mount the image at
    #[arg(value_name = "DIR")]
    target: PathBuf,
    /// Mount options of `composefs mount`, separated by commas; may be given several times
    #[arg(short, long, value_name = "OPTIONS")]
    options: Vec<OsString>,
    /// Mount the images of the single layers, joined by overlayfs, instead of the image of the whole file system; needs
    /// Linux 6.7
    #[arg(long)]
    per_layer: bool,
    /// Mount the bootable image that `oci pull --bootable` has made
    #[arg(long, conflicts_with = "per_layer")]
    bootable: bool,
    /// Print what would be mounted, and mount nothing
    #[arg(long)]
    dry_run: bool,
    /// Print plan, result and error as JSON; if that cannot be printed, nothing stays mounted
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images oci mount debian:13 /mnt
  composefs --repo=/srv/images oci mount debian:13 /mnt -o upperdir=changes,workdir=work
  composefs --repo=/srv/images oci mount debian:13 /mnt --per-layer
  podman run --rootfs /mnt:O ls /";

pub(super) fn run(args: &OciMountArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let repository = selected.open()?;
    let StoredRoot { image, digest, name } = stored_root(&repository, &args.name)?;
    let mount =
        |digest| MountArgs::of_repository((digest, &name), &args.target, &args.options, args.dry_run, args.json);
    if args.bootable {
        let digest = image.boot_image().with_context(|| {
            format!("{} has no bootable image: pull it again with `oci pull --bootable`", args.name)
        })?;
        return mount(digest).run_in(&repository);
    }
    if !args.per_layer {
        return mount(digest).run_in(&repository);
    }
    let layers = stored_layer_images(&repository, &image)?;
    let layers = layers.with_context(|| {
        format!("{} has no images of its single layers: pull it again with `oci pull --per-layer`", args.name)
    })?;
    match layers[..] {
        [only] => mount(only).run_in(&repository),
        _ => mount(digest).run_layers(&repository, digest, &layers),
    }
}
