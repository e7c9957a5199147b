//! `composefs import`: imports an image, a dump or a bundle.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::erofs::read::ImageReader;
use libcomposefs_image::{Digest, dump};
use libcomposefs_repo::bundle::MAGIC;
use libcomposefs_repo::{ImageName, ImportOptions, Incoming, ObjectSource, RefName, Repository, StreamTag};
use libcomposefs_store::Basedirs;
use libcomposefs_sys::input;
use libcomposefs_trust::Moment;
use serde_json::json;

use super::{RepositoryArgs, create, progress};
use crate::commands::oci::bundle_images::UnnamedImage;
use crate::complete;
use crate::image_file::ImageFile;
use crate::interrupt::Interrupt;
use crate::output;
use crate::trust::{ImageTrust, NamedImage};
use crate::{dump_file, rlimits};

/// Import an image, a dump or a bundle into a repository.
///
/// The image is read, written again and compared: only unmodified images of composefs tools are accepted, and they keep
/// their digest. All objects must be in the repository, in a --basedir or in the bundle; each is compared with its
/// digest. OCI images of a bundle are verified like those of `oci pull`, and their composefs images are made again of
/// the layers. If anything is wrong, nothing is published and no name changes. Bundles are written by `composefs
/// export`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ImportArgs {
    /// Image, dump or bundle; - for standard input
    #[arg(value_name = "IMAGE|DUMP|BUNDLE")]
    source: PathBuf,
    /// Name for the image; for a bundle, only if it contains one image
    #[arg(long, value_name = "REF", add = ArgValueCompleter::new(complete::refs))]
    name: Option<RefName>,
    /// Give the images of a bundle their original names
    #[arg(long, conflicts_with = "name")]
    refs: bool,
    /// Directory with objects that the repository lacks; may be given several times
    #[arg(long, value_name = "DIR")]
    basedir: Vec<PathBuf>,
    /// Also accept an image that differs when it is written again; this changes its digest
    #[arg(long)]
    rewrite: bool,
    /// Number of threads to use
    #[arg(long, value_parser = crate::rlimits::parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images import rootfs.img --basedir=objects --name=debian/13
  composefs-info dump rootfs.img | composefs --repo=/srv/images import - --basedir=objects
  ssh host composefs --repo=/srv/images export debian/13 | composefs --user import - --refs

Exit status: 0 if everything was imported, 1 if not, 128 plus the signal number if a signal cancelled the command.";

/// Number of bytes read to detect the kind of the input.
const HEAD: u64 = 16;

pub(crate) fn run(args: &ImportArgs, selected: &RepositoryArgs) -> ExitCode {
    let interrupt = Interrupt::watch();
    interrupt.end(import(args, selected, &interrupt))
}

fn import(args: &ImportArgs, selected: &RepositoryArgs, interrupt: &Interrupt) -> anyhow::Result<()> {
    let repository = selected.open()?.interrupted_by(interrupt.flag());
    let basedirs = Basedirs::open(&args.basedir)?;
    let objects = if basedirs.is_empty() { ObjectSource::None } else { ObjectSource::Basedirs(&basedirs) };
    let progress = progress::ObjectProgress::start();
    let threads = rlimits::threads(args.threads);
    let options = ImportOptions { objects, rewrite: args.rewrite, threads, progress: &|bytes| progress.done(bytes) };
    let name = args.source.display();
    let file = if args.source == Path::new("-") {
        File::from(rustix::io::dup(io::stdin()).context("cannot read standard input")?)
    } else {
        input::open(&args.source).with_context(|| format!("cannot open {name}"))?
    };
    let mut file = interrupt.reads(file);
    let mut head = Vec::new();
    (&mut file).take(HEAD).read_to_end(&mut head).with_context(|| format!("cannot read {name}"))?;
    if head == MAGIC {
        let input = BufReader::with_capacity(1 << 20, io::Cursor::new(head).chain(file));
        return import_bundle(args, &repository, input, &options);
    }
    let incoming = match head.first() {
        Some(b'/' | b'\\') => {
            let dump_options = dump::Options { algorithm: repository.algorithm(), strict: false };
            let parsed = dump_file::read_from(io::Cursor::new(head).chain(file), &args.source, dump_options)?;
            Incoming { tree: parsed.tree, image: None }
        }
        Some(_) => {
            let image = ImageFile::read_rest(&mut file.file, &args.source, head)?;
            // Reject anything that is not an image before hashing it.
            ImageReader::new(image.bytes()).with_context(|| format!("cannot import {name}"))?;
            let digest = image.digest(repository.algorithm())?;
            Incoming::read(image.bytes(), digest).with_context(|| format!("cannot import {name}"))?
        }
        None => bail!("{name} is empty: expected an image, a dump or a bundle"),
    };
    let was = incoming.image;
    let cannot = || format!("cannot import {name}");
    let trust = ImageTrust::load()?;
    // What a policy may refuse gets its name only after the digest is known.
    let first_name = args.name.as_ref().filter(|_| trust.policies().is_empty());
    let mut created = repository.import(&incoming, &args.source, first_name, &options).with_context(cannot)?;
    if let Some(name) = args.name.as_ref().filter(|_| first_name.is_none()) {
        created.replaced = admit_name(&repository, &trust, &created.digest, name).with_context(cannot)?;
    }
    if let Some(was) = was.filter(|was| was.digest != created.digest) {
        tell!(
            "composefs: the digest of {name} changed from {} to {}: it differs when written again",
            was.digest,
            created.digest
        );
    }
    create::print_created(&created, args.name.as_ref(), &repository, args.json);
    Ok(())
}

fn import_bundle(
    args: &ImportArgs,
    repository: &Repository,
    input: impl Read,
    options: &ImportOptions<'_>,
) -> anyhow::Result<()> {
    let names = |number: usize, own: Vec<RefName>| match &args.name {
        Some(name) if number == 0 => vec![name.clone()],
        None if args.refs => own,
        _ => Vec::new(),
    };
    let cannot = || format!("cannot import {}", args.source.display());
    let bundle = repository.read_bundle_on(options.threads, input, &args.source, options.progress);
    let bundle = bundle.with_context(cannot)?;
    let tags = bundle.documents().iter().map(|(_, own)| match &args.name {
        Some(name) if bundle.image_count() == 0 => Ok(vec![name.as_str().parse()?]),
        None if args.refs => Ok(own.clone()),
        _ => Ok(Vec::new()),
    });
    let mut tags: Vec<Vec<StreamTag>> = tags.collect::<anyhow::Result<_>>()?;
    if args.name.is_some() {
        tags.iter_mut().skip(1).for_each(Vec::clear);
    }
    // All OCI images are verified before anything has a name.
    let reader = repository.reader()?;
    let oci = bundle.documents().iter().map(|(text, _)| UnnamedImage::import(repository, &reader, text));
    let oci: Vec<UnnamedImage> = oci.collect::<anyhow::Result<_>>().with_context(cannot)?;
    let trust = ImageTrust::load()?;
    let is_free = trust.policies().is_empty();
    let given = std::cell::RefCell::new(Vec::new());
    // What a policy may refuse gets its names only after the digest is known.
    let names_at_once = |number: usize, own: Vec<RefName>| {
        let names = names(number, own);
        given.borrow_mut().push((number, names.clone()));
        if is_free { names } else { Vec::new() }
    };
    let digests: Vec<_> = oci.iter().flat_map(UnnamedImage::images).collect();
    bundle.add_signatures(&digests).with_context(cannot)?;
    let imported = bundle.publish(&names_at_once, options).with_context(cannot)?;
    if !is_free {
        for (number, names) in given.into_inner() {
            let image = imported.images.get(number).context("the bundle has fewer images than names")?;
            for name in &names {
                admit_name(repository, &trust, &image.digest, name).with_context(cannot)?;
            }
        }
    }
    for (image, tags) in oci.iter().zip(&tags) {
        for tag in tags {
            let named = NamedImage { name: tag.as_str(), digest: image.digest() };
            trust.judge_stored(repository, named, Moment::FirstUse).with_context(cannot)?;
        }
        image.tag(repository, tags)?;
    }
    if args.json {
        let images =
            imported.images.iter().map(|image| json!({ "digest": image.digest.to_hex(), "new": image.is_new }));
        let json = json!({
            "images": images.collect::<Vec<_>>(),
            "oci": oci.iter().zip(&tags).map(|(image, tags)| image.json(tags)).collect::<Vec<_>>(),
            "objects": { "new": imported.objects.new, "present": imported.objects.present },
        });
        output::json(&json);
    } else {
        imported.images.iter().for_each(|image| out!("{}", image.digest));
        oci.iter().for_each(|image| out!("{}", image.manifest()));
    }
    Ok(())
}

/// Gives an image that was imported a name, if the policies accept it. Returns the image that had the name.
fn admit_name(
    repository: &Repository,
    trust: &ImageTrust,
    digest: &Digest,
    name: &RefName,
) -> anyhow::Result<Option<Digest>> {
    trust.judge_stored(repository, NamedImage { name: name.as_str(), digest: *digest }, Moment::FirstUse)?;
    Ok(repository.tag(&ImageName::Digest(*digest), name)?.1)
}
