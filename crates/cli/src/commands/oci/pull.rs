//! `composefs oci pull`: brings an image into a repository.

use std::process::ExitCode;

use anyhow::{Context as _, Error, ensure};
use libcomposefs_image::Digest;
use libcomposefs_oci::pull::{AnnotationRule, KeepBlobs, LayerOutcome, PulledImage, PulledLayer, pull};
use libcomposefs_oci::stored::stream_name;
use libcomposefs_oci::stream::StreamKind;
use libcomposefs_repo::{Repository, StreamTag};
use libcomposefs_trust::Moment;
use serde_json::json;

use super::bootable::boot_tree;
use super::progress::LayerBars;
use super::read_args::ReadArgs;
use super::{blob_kind, new_name, source, warnings};
use crate::commands::repository::{RepositoryArgs, counted};
use crate::error_text::{message, with_remedy};
use crate::interrupt::Interrupt;
use crate::output;
use crate::trust::{ImageTrust, NamedImage};

/// Pull an image into a repository.
///
/// Each layer is read once: its digests are compared, its file contents become objects, and the rest is kept so that
/// the layer can be given out again bit by bit. Of all layers together one composefs image is made. Nothing has a name
/// before everything was verified; when the command returns, all is on disk. A layer that the repository has is not
/// fetched. Of a layer in the format zstd:chunked only the contents that the repository does not have are fetched; the
/// blob of such a layer is not known exactly.
#[derive(clap::Args)]
#[command(after_help = help())]
pub(crate) struct OciPullArgs {
    #[command(flatten)]
    image: ReadArgs,
    /// Name for the image [default: NAME of the source, or its whole reference]
    #[arg(long, value_name = "NAME", value_parser = new_name::parse)]
    name: Option<StreamTag>,
    /// What is kept of the compressed layers, so that `oci push` and `oci export` give out the same bytes
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = KeepBlobsArg::Whole)]
    keep_blobs: KeepBlobsArg,
    /// Fetch whole blobs, also where only a part of their contents is missing, so that they can be pushed again as they
    /// are
    #[arg(long)]
    whole: bool,
    /// Make a composefs image of each layer too, for `oci mount --per-layer`
    #[arg(long)]
    per_layer: bool,
    /// Make the bootable image too: /boot, /run and /sysroot are empty, and the SELinux labels are those of the policy
    /// in the image. `boot install NAME` and `disk NAME` take it, and its digest is that of `oci digest --bootable`
    #[arg(long)]
    bootable: bool,
    /// Accept an image whose manifest has annotations with other digests of composefs than the image, and warn: an
    /// image that podman build or buildah made FROM an annotated one has the annotations of its base
    #[arg(long)]
    ignore_annotations: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum KeepBlobsArg {
    /// The whole compressed layers, also of layers that have had a record
    Whole,
    /// A record from which a gzip layer is rebuilt, usually less than 1 % of it; other layers whole. Making it takes
    /// several times the CPU time of the pull. Compressed layers that were kept whole before stay
    Record,
    /// Nothing: the image cannot be pushed exactly where the registry does not have its layers
    No,
}

fn help() -> String {
    format!(
        "{}

Examples:
  composefs --repo=/srv/images oci pull docker://docker.io/library/debian:13
  composefs --repo=/srv/images oci pull docker://registry.example/app:2 --whole
  composefs --repo=/srv/images oci pull oci:layout:debian --name=debian:13
  composefs --repo=/srv/images oci pull docker-archive:image.tar --name=app:1 --json
  composefs --repo=/srv/images oci pull docker://quay.io/app/web:2 --keep-blobs=no
  composefs --repo=/srv/images oci pull docker://quay.io/app/web:2 --per-layer
  composefs --repo=/sysroot/composefs oci pull docker://registry.example/os:2 --bootable --name=os:2

Exit status: 0 if the image was pulled, 1 if not, 128 plus the signal number if a signal cancelled the command.",
        source::SOURCES
    )
}

pub(super) fn run(args: &OciPullArgs, selected: &RepositoryArgs) -> ExitCode {
    let interrupt = Interrupt::watch();
    interrupt.end(run_pull(args, selected, &interrupt))
}

fn run_pull(args: &OciPullArgs, selected: &RepositoryArgs, interrupt: &Interrupt) -> anyhow::Result<()> {
    let opened = selected.open().with_context(|| {
        "an OCI image is pulled into a repository; bootc opens only one of `composefs init --algorithm=sha512 \
         --format=1`"
    });
    let repository = opened?.interrupted_by(interrupt.flag());
    let opened = args.image.open()?;
    let tag = match (&args.name, opened.name) {
        (Some(name), _) => name.clone(),
        (None, Some(name)) => new_name::parse(&name).map_err(Error::msg).context("--name gives another name")?,
        (None, None) => anyhow::bail!("{} has no name: --name=NAME gives one", args.image.source.display()),
    };
    let mut options = args.image.options();
    let trust = ImageTrust::load()?;
    // What a policy may refuse gets its name only after the digest of its composefs image is known.
    let is_judged = !trust.policies().is_empty();
    options.tags = if is_judged { Vec::new() } else { vec![tag.clone()] };
    options.keep_blobs = match args.keep_blobs {
        KeepBlobsArg::Record => KeepBlobs::Record,
        KeepBlobsArg::Whole => KeepBlobs::Whole,
        KeepBlobsArg::No => KeepBlobs::No,
    };
    options.whole = args.whole;
    options.per_layer = args.per_layer;
    options.bootable = args.bootable.then_some(boot_tree);
    if args.ignore_annotations {
        options.annotations = AnnotationRule::Warn;
    }
    let bars = LayerBars::default();
    let pulled = pull(&repository, &*opened.source, &options, &bars).map_err(|error| full_disk(error.into()))?;
    drop(bars);
    if is_judged {
        name_if_accepted(&repository, &trust, &pulled, &tag)?;
    }
    warnings::tell(&pulled.warnings);
    let other_platform = warnings::other_platform(&repository, &pulled);
    if let Some(warning) = &other_platform {
        tell!("composefs: warning: {warning}");
    }
    if args.json {
        output::json(&report(&pulled, &tag, other_platform));
        return Ok(());
    }
    let present = pulled.layers.iter().filter(|layer| layer.outcome == LayerOutcome::Present).count();
    out!("manifest  {}", pulled.manifest);
    out!("config    {}", pulled.config);
    out!("image     {}", pulled.image);
    if let Some(image) = pulled.boot_image {
        out!("bootable  {image}");
    }
    out!("name      {tag}");
    out!(
        "layers    {}, {present} of them were here; {}, {} bytes, were new",
        pulled.layers.len(),
        counted(pulled.new_objects, "object"),
        pulled.new_bytes
    );
    for (number, image) in pulled.layer_images.iter().flatten().enumerate() {
        out!("layer {:<3} {image}", number + 1);
    }
    let partial: Vec<_> = pulled.layers.iter().filter_map(partial_bytes).collect();
    if !partial.is_empty() {
        let (fetched, reused) = partial.iter().fold((0, 0), |sum, bytes| (sum.0 + bytes.0, sum.1 + bytes.1));
        let layers = counted(partial.len() as u64, "layer");
        out!("parts     of {layers} {fetched} bytes were fetched; {reused} bytes of contents were here");
    }
    Ok(())
}

/// Gives an image that was pulled without a name this name, if the policies accept it.
pub(super) fn name_if_accepted(
    repository: &Repository,
    trust: &ImageTrust,
    pulled: &PulledImage,
    tag: &StreamTag,
) -> anyhow::Result<()> {
    trust.judge_stored(repository, NamedImage { name: tag.as_str(), digest: pulled.image }, Moment::FirstUse)?;
    let is_tagged = repository.tag_stream(&stream_name(StreamKind::Manifest(pulled.manifest)), tag)?;
    ensure!(is_tagged, "a gc has removed {tag} before it had a name: pull it again");
    Ok(())
}

/// Adds the remedy to the error of a full disk.
fn full_disk(error: Error) -> Error {
    let is_full = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::StorageFull)
    };
    if !error.chain().any(is_full) && !message(&error).contains("No space left on device") {
        return error;
    }
    let remedy = "make room: the next pull of the image continues where this one ended. `composefs gc --grace=0` \
                  removes what no name needs, and with it what this pull has stored";
    with_remedy(message(&error), remedy)
}

/// Returns the bytes that were fetched and reused of a layer that was fetched in parts.
fn partial_bytes(layer: &PulledLayer) -> Option<(u64, u64)> {
    match layer.outcome {
        LayerOutcome::Partial { fetched, reused } => Some((fetched, reused)),
        _ => None,
    }
}

fn report(pulled: &PulledImage, tag: &StreamTag, other_platform: Option<String>) -> serde_json::Value {
    let images = pulled.layer_images.as_deref().unwrap_or_default();
    let layers = pulled.layers.iter().enumerate().map(|(number, layer)| {
        json!({
            "digest": layer.blob.digest.to_string(),
            "diff_id": layer.diff_id.to_string(),
            "compressed_size": layer.blob.size,
            "size": layer.size,
            "present": layer.outcome == LayerOutcome::Present,
            "blob": blob_kind::json(layer.blob_kind),
            "image": images.get(number).map(Digest::to_hex),
            "partial": partial_bytes(layer).map(|(fetched, reused)| json!({ "fetched": fetched, "reused": reused })),
        })
    });
    json!({
        "name": tag.as_str(),
        "manifest": pulled.manifest.to_string(),
        "config": pulled.config.to_string(),
        "image": pulled.image.to_hex(),
        "boot_image": pulled.boot_image.map(|image| image.to_hex()),
        "layers": layers.collect::<Vec<_>>(),
        "new_objects": pulled.new_objects,
        "new_bytes": pulled.new_bytes,
        "warnings": pulled.warnings.iter().map(warnings::text).chain(other_platform).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::error_text::remedy;

    #[test]
    fn a_full_disk_has_a_remedy() {
        let failed = |kind| Error::from(io::Error::from(kind)).context("cannot write an object");
        let full = full_disk(failed(io::ErrorKind::StorageFull));
        assert!(remedy(&full).unwrap().contains("composefs gc"));
        assert!(message(&full).starts_with("cannot write an object: "), "{full}");
        assert!(remedy(&full_disk(failed(io::ErrorKind::PermissionDenied))).is_none());
    }
}
