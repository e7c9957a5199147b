//! Command line of `composefs derive`.

use std::path::PathBuf;

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::Algorithm;
use libcomposefs_repo::RefName;

use super::steps::GivenSteps;
use crate::complete;

/// Derive an image from images, without touching contents.
///
/// Overlays BASE and the images after it, the lowest first, as the kernel's overlayfs shows their mounts: with
/// whiteouts and opaque directories. Then makes the steps, in the order in which the options are given. The result
/// names the objects of its bases, so no content is read or written, and the repository must have the objects.
///
/// Images of system extensions (usr/lib/extension-release.d) and configuration extensions (etc/extension-release.d) are
/// merged in /usr and /opt, or /etc, only; their release file must fit the os-release file of the other layers.
///
/// Prints the digest of the result. --write-recipe writes what was done to a file, with which --recipe repeats it, and
/// composefs prove proves it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::commands) struct DeriveArgs {
    /// Images: the base, then further layers, each with a + before it. A file, or the name or digest of an image of the
    /// repository. With --recipe, files that have the bases; others are taken from the repository
    #[arg(value_name = "IMAGE", required_unless_present = "recipe", add = ArgValueCompleter::new(complete::operands))]
    pub(super) images: Vec<PathBuf>,
    /// Repeat the recipe in this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["steps", "format", "algorithm", "write_recipe"])]
    pub(super) recipe: Option<PathBuf>,
    /// Write the recipe to this file
    #[arg(long, value_name = "FILE")]
    pub(super) write_recipe: Option<PathBuf>,
    /// Name for the image; another image that has the name loses it. An untagged image is removed by the next gc
    #[arg(long, value_name = "REF", add = ArgValueCompleter::new(complete::refs), conflicts_with = "print_digest")]
    pub(super) name: Option<RefName>,
    /// Format version of the result: 0, 1 or 2 [default: that of all images]
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u32).range(0..=2))]
    pub(super) format: Option<u32>,
    /// Algorithm of the result, sha256 or sha512 [default: that of all images]
    #[arg(long, value_name = "NAME")]
    pub(super) algorithm: Option<Algorithm>,
    /// Print the digest of the result, and store nothing
    #[arg(long)]
    pub(super) print_digest: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(super) json: bool,
    // Last, as its heading is that of all options after it.
    #[command(flatten)]
    pub(super) steps: GivenSteps,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images derive debian/13 --shift-uids=100000 --name=debian/13-user
  composefs --repo=/srv/images derive debian/13 +debug-tools +site --without=/usr/share/doc --name=site/13
  composefs --repo=/srv/images derive debian/13 --map-uids=0:100000:65536 --map-gids=0:100000:65536 --name=mapped
  composefs --repo=/srv/images derive debian/13 --set-label=system_u:object_r:usr_t:s0:/usr --write-recipe=site.json
  composefs --repo=/srv/images derive --recipe=site.json --name=site/13
  composefs derive base.img --xattrs=user --clamp-mtime=2026-01-01 --print-digest

Exit status: 0 if the image was derived, 1 if not, 128 plus the signal number if a signal cancelled the command. On
failure nothing is published.";
