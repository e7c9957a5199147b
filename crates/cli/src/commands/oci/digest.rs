//! `composefs oci digest`: computes the digest of the composefs image of an OCI image.

use libcomposefs_image::Algorithm;
use libcomposefs_oci::pull::image_digest;
use libcomposefs_repo::Format;
use serde_json::json;

use super::progress::LayerBars;
use super::read_args::ReadArgs;
use super::{source, warnings};
use crate::output;

/// Compute the digest of the composefs image of an OCI image, without storing anything.
///
/// The digest is that of the image which `oci pull` makes in a repository of the same algorithm. A unified kernel image
/// (UKI) that boots the image has it on its command line.
#[derive(clap::Args)]
#[command(after_help = help())]
pub(crate) struct OciDigestArgs {
    #[command(flatten)]
    image: ReadArgs,
    /// Hash algorithm of the digests
    #[arg(long, value_name = "ALGORITHM", default_value = "sha512")]
    algorithm: Algorithm,
    /// Format version of the image: 1, or 2 of old repositories of bootc
    #[arg(long, value_name = "VERSION", value_parser = ["1", "2"], default_value = "1")]
    version: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn help() -> String {
    format!(
        "{}

Examples:
  composefs oci digest docker://quay.io/fedora/fedora-bootc:42
  composefs oci digest oci:layout:debian
  composefs oci digest oci-archive:debian.tar --algorithm=sha256",
        source::SOURCES
    )
}

pub(super) fn run(args: &OciDigestArgs) -> anyhow::Result<()> {
    let opened = args.image.open()?;
    let format = if args.version == "2" { Format::Legacy } else { Format::One };
    let bars = LayerBars::default();
    let (digest, found) = image_digest(&*opened.source, args.algorithm, format, &args.image.options(), &bars)?;
    drop(bars);
    warnings::tell(&found);
    if args.json {
        let found: Vec<_> = found.iter().map(warnings::text).collect();
        output::json(&json!({ "digest": digest.to_hex(), "algorithm": args.algorithm.to_string(), "warnings": found }));
    } else {
        out!("{digest}");
    }
    Ok(())
}
