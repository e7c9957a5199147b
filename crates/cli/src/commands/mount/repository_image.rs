//! `composefs mount` of an image of a repository.

use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, bail};
use libcomposefs_image::Digest;
use libcomposefs_mount::{Error, ImageFile, KernelFeatures, Options, Plan};
use libcomposefs_repo::{ImageName, Repository, RepositoryError};
use libcomposefs_trust::Moment;

use super::{MountArgs, MountPart, carry_out, report, statfs, with_remedy};
use crate::commands::repository::{NameKind, NameOperand};
use crate::trust::image_file::expect_no_policy;
use crate::trust::{ImageTrust, Judgement, NamedImage, mount_record};

pub(super) fn run(
    args: &MountArgs,
    options: Options,
    repository: &Repository,
    kind: NameKind,
) -> anyhow::Result<MountPart> {
    let name = args.image.to_str().context("the name of an image must be UTF-8")?;
    let asked = args.judged_as.as_deref().unwrap_or(name);
    let name = name.parse::<NameOperand>()?.resolve(repository, kind)?.image;
    if !options.basedirs.is_empty() {
        bail!("basedir= cannot be used with an image of a repository, which has its own objects: leave it out");
    }
    expect_no_policy(&options)?;
    let options = options.with_basedir(repository.objects().path());
    // Hold the lease until the image is mounted: from then on gc detects that it is in use.
    let reader = repository.reader()?;
    let (digest, file) = reader.open_named(&name)?;
    let image = ImageFile::from_fd(file, &repository.objects().path_of(&digest));
    let options = demanded(repository, &image, options, &digest).map_err(|error| report::error(args, &error))?;
    compare(repository, &image, &digest)?;
    let is_unmounted = args.dry_run || args.print_spec;
    let named = NamedImage { name: asked, digest };
    let judgement = trusted(repository, named, is_unmounted)?;
    let header = image.header().map_err(|error| report::error(args, &error))?;
    let mut plan = Plan::new(image.path(), &header, options).named_by(&digest);
    statfs::prepare(args, &mut plan, repository, &digest)?;
    let part = carry_out(args, &plan, &image, Some(&digest))?;
    if !is_unmounted && !args.image_only && !args.is_for_command && matches!(part, MountPart::Caller) {
        mount_record::remember(&args.target, named, &judgement);
    }
    Ok(part)
}

/// Mounts an image of a repository at a directory, without options. `name` is the name by which it was asked for.
pub(crate) fn mount_read_only(
    repository: &Repository,
    name: &str,
    digest: &Digest,
    directory: &Path,
) -> anyhow::Result<()> {
    let options = Options::default().with_basedir(repository.objects().path());
    let reader = repository.reader()?;
    let (digest, file) = reader.open_named(&ImageName::Digest(*digest))?;
    let image = ImageFile::from_fd(file, &repository.objects().path_of(&digest));
    let options = demanded(repository, &image, options, &digest).map_err(|error| with_remedy(&error))?;
    compare(repository, &image, &digest)?;
    trusted(repository, NamedImage { name, digest }, false)?;
    let header = image.header().map_err(|error| with_remedy(&error))?;
    let plan = Plan::new(image.path(), &header, options).named_by(&digest);
    plan.mount_at(&image, directory, KernelFeatures::default()).map_err(|error| with_remedy(&error))?;
    Ok(())
}

/// Asks the policies about the image, whose open file has the digest: `compare` or the mount itself makes sure of it.
/// The serial number that was accepted is remembered, unless nothing is mounted.
pub(crate) fn trusted(repository: &Repository, image: NamedImage<'_>, is_dry_run: bool) -> anyhow::Result<Judgement> {
    let trust = ImageTrust::load()?;
    let judgement = trust.judge_stored(repository, image, Moment::Mount)?;
    judgement.warn_of_expiry(image);
    if judgement.is_signed() && !repository.demands_verity() {
        tell!(
            "composefs: warning: the signature is about the image {image}, and {} does not demand fs-verity: the \
             kernel verifies no contents of files (--via=fuse does)",
            repository.path().display()
        );
    }
    if !is_dry_run {
        trust.raise_floors(&judgement)?;
    }
    Ok(judgement)
}

/// Compares the digest of the image that will be mounted, if the kernel does not verify it. It is read by the
/// descriptor that is mounted: by its path, another file may be found.
pub(super) fn compare(repository: &Repository, image: &ImageFile, digest: &Digest) -> Result<(), RepositoryError> {
    if !repository.demands_verity() {
        repository.read_open_image(digest, image.as_fd())?;
    }
    Ok(())
}

/// Returns the options with the requirements of the repository for the image `digest`. Requirements of the user are
/// compared with them.
pub(super) fn demanded(
    repository: &Repository,
    image: &ImageFile,
    mut options: Options,
    digest: &Digest,
) -> Result<Options, Error> {
    if repository.demands_verity() {
        options.demand(image.path(), digest)?;
    } else {
        options.expect(image.path(), digest)?;
    }
    Ok(options)
}
