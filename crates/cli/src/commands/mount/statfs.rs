//! `composefs mount --statfs`: the file system whose numbers the mount shows.

use libcomposefs_image::Digest;
use libcomposefs_mount::{Plan, StatfsSource, Verity};
use libcomposefs_repo::Repository;
use libcomposefs_repo::statfs::StatfsGuard;

use super::via::ChosenWay;
use super::{MountArgs, with_remedy};

/// The value of `--statfs`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum StatfsOperand {
    /// The image: as large as it is, and full
    Image,
    /// The file system of the objects
    Objects,
}

impl From<StatfsOperand> for StatfsSource {
    fn from(operand: StatfsOperand) -> Self {
        match operand {
            StatfsOperand::Image => Self::Image,
            StatfsOperand::Objects => Self::Objects,
        }
    }
}

/// Gives the plan of a mount by the kernel the directory that answers `statfs`, if it asks for the objects. Nothing is
/// made for a plan that is only printed.
pub(super) fn prepare(
    args: &MountArgs,
    plan: &mut Plan,
    repository: &Repository,
    image: &Digest,
) -> anyhow::Result<()> {
    let options = plan.options();
    if options.statfs != StatfsSource::Objects || ChosenWay::choose(args, plan)? != ChosenWay::Kernel {
        return Ok(());
    }
    // The first object directory is that of the repository: an option names no other one.
    plan.statfs_dir = options.basedirs.first().cloned();
    plan.check_statfs().map_err(|error| super::report::error(args, &error))?;
    if !args.dry_run && !args.print_spec {
        plan.statfs_dir = Some(repository.statfs_directory(image, guard(plan))?.into());
    }
    Ok(())
}

/// Does the same for a mount of an image file by the kernel. It can have the numbers if it is an image of the
/// repository to which the first object directory belongs.
pub(crate) fn prepare_file(plan: &mut Plan, is_dry_run: bool) -> anyhow::Result<()> {
    if plan.options().statfs != StatfsSource::Objects {
        return Ok(());
    }
    let found = repository_of(plan);
    if found.is_some() {
        plan.statfs_dir = plan.options().basedirs.first().cloned();
    }
    plan.check_statfs().map_err(|error| with_remedy(&error))?;
    if let Some((repository, digest)) = found.filter(|_| !is_dry_run) {
        plan.statfs_dir = Some(repository.statfs_directory(&digest, guard(plan))?.into());
    }
    Ok(())
}

/// Returns the repository of the first object directory, and the image, if the image file is an object there.
fn repository_of(plan: &Plan) -> Option<(Repository, Digest)> {
    let objects = plan.options().basedirs.first()?.path()?.canonicalize().ok()?;
    let image = plan.image.canonicalize().ok()?;
    let digest = Digest::from_object_path(image.strip_prefix(&objects).ok()?.as_os_str().as_encoded_bytes())?;
    let repository = Repository::open(objects.parent()?).ok()?;
    let is_its_own = repository.objects().path().canonicalize().ok()? == objects;
    (is_its_own && repository.has_image(&digest).ok()?).then_some((repository, digest))
}

fn guard(plan: &Plan) -> StatfsGuard {
    if plan.options().verity() == Verity::Off { StatfsGuard::ImmutableIfPossible } else { StatfsGuard::Immutable }
}
