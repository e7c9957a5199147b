//! `composefs repack`: makes images cold, and cold images warm.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_delta::{Effort, SpoolFile};
use libcomposefs_repo::bundle::FrameOptions;
use libcomposefs_repo::cold::{ColdImage, FreezeOptions, Thawed};
use libcomposefs_repo::{ImageName, Repository};
use libcomposefs_sys::tempfile::Temporary;
use serde_json::json;

use super::export::EffortName;
use super::gc::age;
use super::unpack::unpack;
use super::{RepositoryArgs, counted, progress};
use crate::inspect::size::human;
use crate::interrupt::Interrupt;
use crate::{complete, output, rlimits};

/// Pack images that are rarely used as differences from another image, or unpack them.
///
/// A cold image takes little space: its objects are compressed, with the objects of its base as bases, and the pack is
/// verified before the image loses its names. The next `gc` then removes the objects that nothing else needs. The base
/// is kept as long as the cold image exists. It can be packed too: then each of the images in the chain of bases, which
/// are at most 15, is unpacked for the time in which the first one is.
///
/// Commands that need a cold image, such as mount, export and cat, unpack it first.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RepackArgs {
    /// Images to pack or unpack, by name or digest
    #[arg(value_name = "REF|DIGEST", required_unless_present = "older_than")]
    #[arg(add = ArgValueCompleter::new(complete::images))]
    images: Vec<ImageName>,
    /// Pack the images
    #[arg(long, required_unless_present = "warm", conflicts_with = "warm")]
    cold: bool,
    /// Pack all images whose names were written this long ago or earlier: seconds, or a number followed by s, m, h or
    /// d. Images that are mounted or open, and those that cannot be packed, are left out, and one image stays as base
    #[arg(long, value_name = "AGE", requires = "cold", conflicts_with = "images", value_parser = age)]
    older_than: Option<Duration>,
    /// Unpack the images
    #[arg(long)]
    warm: bool,
    /// Image whose objects are the bases [default: the one that has most in common with the image]
    #[arg(long, value_name = "REF|DIGEST", requires = "cold", add = ArgValueCompleter::new(complete::images))]
    base: Option<ImageName>,
    /// Work to spend on smaller packs: `best` takes some times as long as `default`
    #[arg(long, value_name = "EFFORT", default_value = "default", requires = "cold")]
    effort: EffortName,
    /// Number of threads to use
    #[arg(long, value_parser = rlimits::parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print the result as JSON, one object per line
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images repack --cold debian/12 debian/13.0 --base=debian/13.1
  composefs --repo=/srv/images gc
  composefs --repo=/srv/images repack --cold --older-than=90d
  composefs --repo=/srv/images repack --warm debian/12

An image that a needed stream names cannot be packed.

Exit status: 0 if all images were packed or unpacked, 1 if not, 128 plus the signal number if a signal cancelled the
command. Images before the one that failed are done.";

pub(crate) fn run(args: &RepackArgs, selected: &RepositoryArgs) -> std::process::ExitCode {
    let interrupt = Interrupt::watch();
    interrupt.end(repack(args, selected, &interrupt))
}

fn repack(args: &RepackArgs, selected: &RepositoryArgs, interrupt: &Interrupt) -> anyhow::Result<()> {
    let repository = selected.open()?.interrupted_by(interrupt.flag());
    let threads = rlimits::threads(args.threads);
    if args.cold {
        let images = match args.older_than {
            Some(age) => old_images(&repository, age)?,
            None => args.images.clone(),
        };
        for image in &images {
            match pack(args, &repository, image, threads) {
                Ok(packed) => print_packed(args, &packed),
                // Another process has packed or removed it since the list was made.
                Err(_) if args.older_than.is_some() && !has_name(&repository, image)? => {}
                Err(error) => return Err(error),
            }
        }
        return Ok(());
    }
    let mut images: Vec<_> = args.images.iter().collect();
    // Bases first. An error of a description comes again where the image is unpacked.
    images.sort_by_key(|image| repository.packs_to_unpack(image).unwrap_or_default());
    for image in images {
        let unpacked = unpack(&repository, image, threads)?;
        print_unpacked(args, image, unpacked.as_ref());
    }
    Ok(())
}

/// Returns the images to pack, the oldest first.
fn old_images(repository: &Repository, age: Duration) -> anyhow::Result<Vec<ImageName>> {
    let old = repository.old_images(age)?;
    if old.is_empty() {
        tell!("composefs: no image has only names of that age, and can be packed");
    }
    Ok(old.into_iter().map(|image| ImageName::Digest(image.digest)).collect())
}

/// Returns true if a ref leads to an image.
fn has_name(repository: &Repository, image: &ImageName) -> anyhow::Result<bool> {
    let ImageName::Digest(digest) = image else { return Ok(true) };
    Ok(repository.refs()?.good.iter().any(|(_, named)| named == digest))
}

fn pack(
    args: &RepackArgs,
    repository: &Repository,
    image: &ImageName,
    threads: NonZeroUsize,
) -> anyhow::Result<ColdImage> {
    let mut frames = FrameOptions::new(Effort::from(args.effort), threads);
    let spool = || spool(repository);
    frames.spool = Some(&spool);
    let mut options = FreezeOptions::new(frames);
    options.base = args.base.as_ref();
    let progress = progress::ObjectProgress::start();
    Ok(repository.freeze(image, &options, &|bytes| progress.done(bytes))?)
}

/// A file without a name on the file system of the repository, which has room for the pack too.
fn spool(repository: &Repository) -> io::Result<Box<dyn SpoolFile>> {
    let directory = Arc::new(OwnedFd::from(File::open(repository.path())?));
    let file = Temporary::create(&directory, 0o600)?;
    Ok(Box::new(File::from(file.as_fd().try_clone_to_owned()?)))
}

fn print_packed(args: &RepackArgs, packed: &ColdImage) {
    let names: Vec<_> = packed.refs.iter().map(|name| name.as_str()).collect();
    let entry = &packed.entry;
    if args.json {
        output::json_line(&json!({
            "digest": packed.digest.to_hex(),
            "refs": names,
            "state": "cold",
            "base": entry.base.map(|base| base.to_hex()),
            "objects": entry.objects,
            "bytes": entry.bytes,
            "pack_size": entry.pack_size,
        }));
        return;
    }
    let (objects, before, size) = (counted(entry.objects, "object"), human(entry.bytes), human(entry.pack_size));
    out!("{} {}: cold, {objects} of {before} packed in {size}", packed.digest, names.join(" "));
}

fn print_unpacked(args: &RepackArgs, image: &ImageName, unpacked: Option<&Thawed>) {
    let Some(unpacked) = unpacked else {
        if args.json {
            output::json_line(&json!({ "image": image.to_string(), "state": "warm", "objects": { "new": 0 } }));
        } else {
            out!("{image}: not cold");
        }
        return;
    };
    let names: Vec<_> = unpacked.refs.iter().map(|name| name.as_str()).collect();
    if args.json {
        output::json_line(&json!({
            "digest": unpacked.digest.to_hex(),
            "refs": names,
            "state": "warm",
            "objects": { "new": unpacked.objects.new, "present": unpacked.objects.present },
        }));
        return;
    }
    let objects = counted(unpacked.objects.new, "object");
    out!("{} {}: warm, {objects} unpacked", unpacked.digest, names.join(" "));
}
