//! `composefs oci digest`: computes the digest of the composefs image of an OCI image.

use std::ffi::OsStr;

use anyhow::{Context as _, bail};
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_oci::pull::image_digest;
use libcomposefs_oci::source::{ImageSource, RepositorySource};
use libcomposefs_oci::stored::StoredImage;
use libcomposefs_repo::{Format, Repository};
use serde_json::json;

use super::bootable::bootable_digest;
use super::progress::LayerBars;
use super::read_args::ReadArgs;
use super::{source, warnings};
use crate::commands::repository::RepositoryArgs;
use crate::output;

/// Compute the digest of the composefs image of an OCI image, without storing anything.
///
/// The digest is that of the image which `oci pull` makes in a repository of the same algorithm. A unified kernel image
/// (UKI) that boots the image has the digest of its bootable image on its command line (--bootable). The image is a
/// source, or one of the repository, whose layers are read from there: its name, the digest of its manifest
/// (sha256:HEX) or that of its composefs image (HEX).
#[derive(clap::Args)]
#[command(after_help = help())]
pub(crate) struct OciDigestArgs {
    #[command(flatten)]
    image: ReadArgs,
    /// Hash algorithm of the digests
    #[arg(long, value_name = "ALGORITHM", default_value = "sha512")]
    algorithm: Algorithm,
    /// Compute the digest of the bootable image, whose SELinux labels are those of the policy in the image
    #[arg(long)]
    bootable: bool,
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
  composefs oci digest --bootable docker://quay.io/fedora/fedora-bootc:42
  composefs oci digest oci:layout:debian
  composefs oci digest oci-archive:debian.tar --algorithm=sha256
  composefs --repo=/srv/images oci digest debian:13",
        source::SOURCES
    )
}

pub(super) fn run(args: &OciDigestArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let source = open(args, selected)?;
    let format = if args.version == "2" { Format::Legacy } else { Format::One };
    let bars = LayerBars::default();
    let options = args.image.options();
    let (digest, found) = if args.bootable {
        let version = if format == Format::Legacy { 2 } else { 1 };
        (bootable_digest(&*source, (version, args.algorithm), &options, &bars)?, Vec::new())
    } else {
        image_digest(&*source, args.algorithm, format, &options, &bars)?
    };
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

/// Opens a source, or an image of the repository as one.
fn open(args: &OciDigestArgs, selected: &RepositoryArgs) -> anyhow::Result<Box<dyn ImageSource + Send>> {
    let operand = &args.image.source;
    if source::has_transport(operand) {
        return Ok(args.image.open()?.source);
    }
    let repository = selected.open().with_context(|| no_source(operand))?;
    let Some(name) = operand.to_str() else { bail!("{}", no_source(operand)) };
    let name = match name.parse::<Digest>() {
        Ok(image) => manifest_of(&repository, image)?,
        Err(_) if name.starts_with("sha256:") || name.starts_with("sha512:") => format!("@{name}"),
        Err(_) => name.to_owned(),
    };
    let path = repository.path().display().to_string();
    let source = RepositorySource::open(repository, Some(&name));
    Ok(Box::new(source.with_context(|| format!("{}; it was looked up in {path}", no_source(operand)))?))
}

fn no_source(operand: &OsStr) -> String {
    format!("{operand:?} has no transport, such as docker:// or oci:, and so is the name of an image of a repository")
}

/// Returns the name of an OCI image by the digest of its composefs image.
fn manifest_of(repository: &Repository, image: Digest) -> anyhow::Result<String> {
    for (tag, _) in repository.stream_tags()? {
        let has_image = |stored: &StoredImage| stored.images.iter().any(|named| named.digest == image);
        if StoredImage::by_tag(repository, &tag).is_ok_and(|stored| has_image(&stored)) {
            return Ok(tag.to_string());
        }
    }
    let path = repository.path().display();
    bail!("no OCI image in {path} has the composefs image {image}; `composefs oci images` lists them")
}
