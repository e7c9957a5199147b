//! `composefs oci pull`: brings an image into a repository.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use libcomposefs_oci::layer::{WhiteoutRule, XattrFilter};
use libcomposefs_oci::manifest::Platform;
use libcomposefs_oci::pull::{KeepBlobs, LayerOutcome, PullOptions, PulledImage, PulledLayer, pull};
use libcomposefs_repo::StreamTag;
use serde_json::json;

use super::progress::LayerBars;
use super::{blob_kind, source, warnings};
use crate::commands::repository::{RepositoryArgs, counted};
use crate::interrupt::Interrupt;
use crate::output;

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
    /// Image to pull
    #[arg(value_name = "SOURCE")]
    source: OsString,
    /// Name for the image [default: NAME of the source, or its whole reference]
    #[arg(long, value_name = "NAME")]
    name: Option<StreamTag>,
    #[command(flatten)]
    origin: source::SourceArgs,
    #[command(flatten)]
    layers: LayerArgs,
    /// What is kept of the compressed layers, so that `oci push` and `oci export` give out the same bytes
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = KeepBlobsArg::Record)]
    keep_blobs: KeepBlobsArg,
    /// Fetch whole blobs, also where only a part of their contents is missing, so that they can be pushed again as they
    /// are
    #[arg(long)]
    whole: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Options for reading layers.
#[derive(clap::Args)]
pub(super) struct LayerArgs {
    /// Platform of the image [default: that of this machine]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// Extended attributes that the image keeps: security.capability alone, or user.* too
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = XattrsArg::AllowlistOnly)]
    xattrs: XattrsArg,
    /// Effect of whiteouts on entries of their own layer
    #[arg(long, value_name = "RULE", value_enum, default_value_t = WhiteoutsArg::InOrder)]
    whiteouts: WhiteoutsArg,
    /// Largest size of an uncompressed layer in bytes [default: 1 GiB and a hundred times its compressed size]
    #[arg(long, value_name = "BYTES")]
    max_layer_size: Option<u64>,
    /// Largest window of zstd in MiB, a power of two, at most 128
    #[arg(long, value_name = "MIB", value_parser = parse_window, default_value = "128")]
    max_window: u32,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum XattrsArg {
    /// Only security.capability
    AllowlistOnly,
    /// security.capability and user.*
    KeepUserXattrs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum KeepBlobsArg {
    /// A record from which a gzip layer is rebuilt, usually 1 % of it; other layers whole
    Record,
    /// The whole compressed layers
    Whole,
    /// Nothing
    No,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum WhiteoutsArg {
    /// Remove all that comes earlier in the layer too, as cfsctl does
    InOrder,
    /// Hide lower layers only, as the OCI specification says
    Spec,
}

/// Parses a number of MiB, and returns the binary logarithm of the number of bytes.
fn parse_window(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(mib @ 1..=128) if mib.is_power_of_two() => Ok(mib.ilog2() + 20),
        _ => Err("expected a power of two from 1 to 128".to_owned()),
    }
}

impl LayerArgs {
    pub(super) fn options(&self) -> PullOptions {
        let mut options = PullOptions::default();
        options.platform.clone_from(&self.platform);
        options.xattrs = match self.xattrs {
            XattrsArg::AllowlistOnly => XattrFilter::Allowlist,
            XattrsArg::KeepUserXattrs => XattrFilter::User,
        };
        options.whiteouts = match self.whiteouts {
            WhiteoutsArg::InOrder => WhiteoutRule::InOrder,
            WhiteoutsArg::Spec => WhiteoutRule::LowerLayers,
        };
        options.layer_size_max = self.max_layer_size;
        options.window_log = self.max_window;
        options
    }
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
        "an OCI image is pulled into a repository; `composefs init --algorithm=sha512 --format=1` makes one that bootc \
         opens too"
    });
    let repository = opened?.interrupted_by(interrupt.flag());
    let opened = source::open(&args.source, &args.origin)?;
    let tag = match (&args.name, opened.name) {
        (Some(name), _) => name.clone(),
        (None, Some(name)) => name.parse().context("--name gives another name")?,
        (None, None) => anyhow::bail!("{} has no name: --name=NAME gives one", args.source.display()),
    };
    let mut options = args.layers.options();
    options.tags = vec![tag.clone()];
    options.keep_blobs = match args.keep_blobs {
        KeepBlobsArg::Record => KeepBlobs::Record,
        KeepBlobsArg::Whole => KeepBlobs::Whole,
        KeepBlobsArg::No => KeepBlobs::No,
    };
    options.whole = args.whole;
    let bars = LayerBars::default();
    let pulled = pull(&repository, &*opened.source, &options, &bars)?;
    drop(bars);
    warnings::tell(&pulled.warnings);
    if args.json {
        output::json(&report(&pulled, &tag));
        return Ok(());
    }
    let present = pulled.layers.iter().filter(|layer| layer.outcome == LayerOutcome::Present).count();
    out!("manifest  {}", pulled.manifest);
    out!("config    {}", pulled.config);
    out!("image     {}", pulled.image);
    out!("name      {tag}");
    out!(
        "layers    {}, {present} of them were here; {}, {} bytes, were new",
        pulled.layers.len(),
        counted(pulled.new_objects, "object"),
        pulled.new_bytes
    );
    let partial: Vec<_> = pulled.layers.iter().filter_map(partial_bytes).collect();
    if !partial.is_empty() {
        let (fetched, reused) = partial.iter().fold((0, 0), |sum, bytes| (sum.0 + bytes.0, sum.1 + bytes.1));
        let layers = counted(partial.len() as u64, "layer");
        out!("parts     of {layers} {fetched} bytes were fetched; {reused} bytes of contents were here");
    }
    Ok(())
}

/// Returns the bytes that were fetched and reused of a layer that was fetched in parts.
fn partial_bytes(layer: &PulledLayer) -> Option<(u64, u64)> {
    match layer.outcome {
        LayerOutcome::Partial { fetched, reused } => Some((fetched, reused)),
        _ => None,
    }
}

fn report(pulled: &PulledImage, tag: &StreamTag) -> serde_json::Value {
    let layers = pulled.layers.iter().map(|layer| {
        json!({
            "digest": layer.blob.digest.to_string(),
            "diff_id": layer.diff_id.to_string(),
            "compressed_size": layer.blob.size,
            "size": layer.size,
            "present": layer.outcome == LayerOutcome::Present,
            "blob": blob_kind::json(layer.blob_kind),
            "partial": partial_bytes(layer).map(|(fetched, reused)| json!({ "fetched": fetched, "reused": reused })),
        })
    });
    json!({
        "name": tag.as_str(),
        "manifest": pulled.manifest.to_string(),
        "config": pulled.config.to_string(),
        "image": pulled.image.to_hex(),
        "layers": layers.collect::<Vec<_>>(),
        "new_objects": pulled.new_objects,
        "new_bytes": pulled.new_bytes,
        "warnings": pulled.warnings.iter().map(warnings::text).collect::<Vec<_>>(),
    })
}
