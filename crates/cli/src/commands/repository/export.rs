//! `composefs export`: writes images and their objects to a bundle.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_delta::{Effort, SpoolFile};
use libcomposefs_image::Digest;
use libcomposefs_oci::bundle_document::bundle_document;
use libcomposefs_oci::stored::stream_name;
use libcomposefs_oci::stream::StreamKind;
use libcomposefs_repo::bundle::{Exported, FrameOptions, Have, OciDocument};
use libcomposefs_repo::{ImageName, Reader, StreamTag};
use libcomposefs_store::publish::replace_file;
use libcomposefs_sys::tempfile::Temporary;
use serde_json::json;

use super::{NameOperand, RepositoryArgs, ResolvedName, progress};
use crate::output;
use crate::{complete, rlimits};

/// Write images with their objects to a bundle, a file for `composefs import`.
///
/// An OCI image is written with its manifest, its configuration, its layers and what was kept of its blobs; the
/// receiver makes the composefs image of the layers, and the bootable one if there is one. By its digest, a composefs
/// image is written alone.
///
/// Objects that the receiver has can be left out: all objects of an image (--have), or those in a list (--have-list).
/// The others are compressed, with the objects of the images given with --have as bases: only the differences are
/// written. Every content is verified before it is written.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportArgs {
    /// Images, by name or digest
    #[arg(value_name = "REF|DIGEST", required = true, add = ArgValueCompleter::new(complete::images))]
    images: Vec<NameOperand>,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Leave out all objects of this image, which the receiver has; may be given several times
    #[arg(long, value_name = "REF|DIGEST", add = ArgValueCompleter::new(complete::images))]
    have: Vec<NameOperand>,
    /// Leave out the objects in this list, one digest per line, as printed by `composefs images --objects`
    #[arg(long, value_name = "FILE")]
    have_list: Option<PathBuf>,
    /// Work to spend on smaller bundles: `best` takes some times as long as `default`
    #[arg(long, value_name = "EFFORT", default_value = "default")]
    effort: EffortName,
    /// Version of the format; programs before version 0.3.0 read only version 1, whose contents are not compressed
    #[arg(long, value_name = "VERSION", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=2))]
    bundle_version: u8,
    /// Number of threads to use
    #[arg(long, value_parser = rlimits::parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print the result as JSON; requires --output
    #[arg(long, requires = "output")]
    json: bool,
}

/// Work that is spent on compression.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum EffortName {
    /// About 25 MB/s for each CPU
    Default,
    /// About 4 MB/s for each CPU
    Best,
}

impl From<EffortName> for Effort {
    fn from(name: EffortName) -> Self {
        match name {
            EffortName::Default => Effort::Default,
            EffortName::Best => Effort::Best,
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images export debian/13 --output=debian.bundle
  composefs --repo=/srv/images export debian/13.1 --have=debian/13 --output=update.bundle
  composefs --repo=/srv/images export debian/13.1 --have=debian/13 --effort=best --output=update.bundle
  composefs --repo=/srv/images export docker.io/library/debian:13 --output=oci.bundle
  ssh host composefs images --objects > list
  composefs export debian/13 --have-list=list | ssh host composefs import -";

pub(crate) fn run(args: &ExportArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let repository = selected.open()?;
    let objects = args.have_list.as_deref().map_or(Ok(Vec::new()), read_list)?;
    // Until all is written: gc removes no image that was found, and no object of one.
    let reader = repository.reader()?;
    let named = |names: &[NameOperand]| -> anyhow::Result<(Vec<ImageName>, Vec<OciDocument>)> {
        let (mut images, mut oci) = (Vec::new(), Vec::new());
        for name in names {
            match name.resolve(&repository, selected.names())? {
                ResolvedName { oci: Some(found), .. } => {
                    let tag: StreamTag = name.to_string().parse()?;
                    let stream = stream_name(StreamKind::Manifest(found.manifest.digest));
                    reader.protect(&repository.stream(&stream)?.into_iter().collect::<Vec<_>>())?;
                    oci.push(bundle_document(&repository, &found, vec![tag])?);
                }
                ResolvedName { image, oci: None } => images.push(image),
            }
        }
        Ok((images, oci))
    };
    let (images, oci) = named(&args.images)?;
    let (have_images, have_oci) = named(&args.have)?;
    let objects = objects.into_iter().chain(have_oci.into_iter().flat_map(|image| image.objects)).collect();
    let have = Have { images: have_images, objects };
    let threads = rlimits::threads(args.threads);
    let wanted = ToExport { images, oci, version: args.bundle_version, effort: args.effort, threads };
    let Some(path) = args.output.as_deref().filter(|path| *path != Path::new("-")) else {
        if output::is_terminal() {
            bail!("standard output is a terminal: use --output=FILE to write a bundle");
        }
        return write(&wanted, &reader, &have, &mut output::data()).map(drop);
    };
    let (_, exported) = replace_file(path, 0o666, |file: &mut File| write(&wanted, &reader, &have, file))?;
    if args.json {
        let json = json!({
            "images": exported.images.iter().map(Digest::to_hex).collect::<Vec<_>>(),
            "oci": exported.oci,
            "objects": exported.objects,
            "bytes": exported.bytes,
            "left_out": exported.left_out,
        });
        output::json(&json);
    }
    Ok(())
}

/// What a bundle gets.
struct ToExport {
    images: Vec<ImageName>,
    oci: Vec<OciDocument>,
    version: u8,
    effort: EffortName,
    threads: NonZeroUsize,
}

fn write(
    wanted: &ToExport,
    reader: &Reader<'_>,
    have: &Have,
    out: &mut (impl Write + Send),
) -> anyhow::Result<Exported> {
    let progress = progress::ObjectProgress::start();
    let mut out = BufWriter::with_capacity(1 << 20, out);
    let done = |bytes| progress.done(bytes);
    if wanted.version == 1 {
        return Ok(reader.export(&wanted.images, &wanted.oci, have, &mut out, &done)?);
    }
    let mut options = FrameOptions::new(wanted.effort.into(), wanted.threads);
    options.spool = Some(&spool);
    Ok(reader.export_frames(&wanted.images, &wanted.oci, have, &options, &mut out, &done)?)
}

/// A file without a name in the directory for temporary files.
fn spool() -> io::Result<Box<dyn SpoolFile>> {
    let directory = Arc::new(OwnedFd::from(File::open(std::env::temp_dir())?));
    let file = Temporary::create(&directory, 0o600)?;
    Ok(Box::new(File::from(file.as_fd().try_clone_to_owned()?)))
}

fn read_list(path: &Path) -> anyhow::Result<Vec<Digest>> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let digest = |(number, line): (usize, &str)| {
        Digest::from_hex(line.trim()).with_context(|| format!("{name}: line {}", number + 1))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(digest).collect()
}
