//! `composefs mount`: mounts an image file, or an image of a repository.

mod helper;
mod image_file;
mod in_user_space;
mod lazy;
mod report;
mod repository_image;
mod repository_layers;
pub(super) mod self_test;
mod spec;
mod statfs;
mod via;
mod warm;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{bail, ensure};
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::Digest;
use libcomposefs_mount::{Error, ImageFile, KernelFeatures, Mounted, Options, Plan, StatfsSource, UnknownOptions};

pub(crate) use self::helper::LazyHelper;
pub(crate) use self::lazy::request_limit;
pub(crate) use self::report::{plan_text, with_remedy};
pub(crate) use self::repository_image::{mount_read_only, trusted};
use self::statfs::StatfsOperand;
pub(crate) use self::statfs::prepare_file as prepare_statfs_of_file;
pub(crate) use self::via::ChosenWay;
pub(crate) use self::via::Via;
use libcomposefs_repo::Repository;

use super::oci::source;
use super::remote::{FillPace, RemoteOperand, ServerArgs};
use super::repository::{NameKind, RepositoryArgs};
use super::verity_warning;
use crate::complete;

/// Default and largest value of `--timeout`, in seconds.
pub(crate) const TIMEOUT_DEFAULT: u64 = 60;
const TIMEOUT_MAX: u64 = 86_400;

/// Mount a composefs image: a file, or an image of a repository.
///
/// An image of a repository is given by a ref, the name of an OCI image, or its digest. The kernel verifies the image
/// and every file in it, unless the repository does not use fs-verity. IMAGE is the path of a file if such a file
/// exists or basedir= is given, unless --repo, --user or --system is used.
///
/// Root mounts by the kernel. Other users mount in user space (--via=fuse): a process of theirs serves the image until
/// it is unmounted, and verifies each block of a file when it is read. Root of a user namespace has overlayfs read what
/// such a process serves (--via=overlay), from Linux 6.16, else mounts in user space.
///
/// With --lazy the image is one of a remote: only its names and metadata are fetched before it is mounted, and the
/// repository keeps it as a partial image. Root mounts it by overlayfs from Linux 6.15 (--via=overlay), which asks a
/// process for objects that are missing; otherwise all of it is served in user space (--via=fuse). `composefs status`
/// shows how much is here, `composefs fill` fetches the rest.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MountArgs {
    /// Image: the path of a file, or a ref or digest of an image in a repository
    #[arg(value_name = "IMAGE|REF|DIGEST", add = ArgValueCompleter::new(complete::images))]
    pub(crate) image: PathBuf,

    /// Directory to mount the image at
    #[arg(value_name = "DIR")]
    pub(crate) target: PathBuf,

    /// Mount options, separated by commas; may be given several times
    #[arg(short, long, value_name = "OPTIONS")]
    options: Vec<OsString>,

    /// Mount the EROFS image alone, without objects: names, metadata and small files
    #[arg(long)]
    pub(crate) image_only: bool,

    /// Way to mount: by the kernel, or with a server in user space, which verifies each block
    #[arg(long, value_enum, default_value_t, value_name = "WAY")]
    via: Via,

    /// File system whose numbers `df` shows for a mount by the kernel: the image, which is always full, or that of the
    /// objects. A mount in user space always shows the latter
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with_all = ["image_only", "print_spec"])]
    statfs: Option<StatfsOperand>,

    /// Mount the image REF of this remote before its contents are here: an object is fetched when a file is read, and
    /// stays in the repository
    #[arg(
        long,
        value_name = "REMOTE",
        conflicts_with_all = ["image_only", "print_spec", "insecure"],
        add = ArgValueCompleter::new(complete::remotes)
    )]
    lazy: Option<RemoteOperand>,

    /// Longest time in seconds that a read waits for its object, which must come at 100 kB/s at least (with --lazy)
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = TIMEOUT_DEFAULT,
        requires = "lazy",
        value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_MAX)
    )]
    timeout: u64,

    /// Read the files of a trace (`composefs trace`), or all files, ahead in the background, by several threads, up to
    /// half of the memory that is available
    #[arg(
        long,
        value_name = "TRACE",
        num_args = 0..=1,
        require_equals = true,
        conflicts_with_all = ["lazy", "image_only", "print_spec", "dry_run"]
    )]
    warm: Option<Option<PathBuf>>,

    /// When objects that no program waits for are fetched, until the image is complete (with --lazy): never, by one
    /// request at a time and only while no program waits, or at once
    #[arg(long, value_enum, default_value_t, requires = "lazy")]
    fill: FillPace,

    /// Run as a service of systemd, which keeps the devices of the mount and starts the process again (with --lazy):
    /// for the unit composefs-lazy@.service
    #[arg(long, requires = "lazy", conflicts_with_all = ["dry_run", "json"])]
    service: bool,

    /// Do not verify files (only with --via=fuse)
    #[arg(long)]
    insecure: bool,

    /// Print the mounts as JSON for another program, and mount nothing
    #[arg(long, conflicts_with_all = ["dry_run", "json"])]
    pub(crate) print_spec: bool,

    /// Print what would be mounted, and mount nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Print plan, result and error as JSON; if that cannot be printed, nothing stays mounted
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    server: ServerArgs,

    /// Name that the trust policies judge the image by, if it is not the operand.
    #[arg(skip)]
    judged_as: Option<String>,

    /// True for the root of a command, which is mounted in a mount namespace of its own.
    #[arg(skip)]
    is_for_command: bool,

    /// The treatment of unknown mount options of a lazy mount.
    #[arg(skip)]
    unknown: UnknownOptions,

    /// Receives the objects that are read, with `--via=fuse`.
    #[arg(skip)]
    trace: Option<Arc<File>>,
}

const EXAMPLES: &str = "\
Options for -o:
  basedir=DIR[:DIR...]   object directories (required for an image file)
  digest=HEX             expected fs-verity digest of the image; implies verity_check=2
  policy=NAME            the trust policies must accept the image file under NAME; implies verity_check=2
  verity_check=0|1|2     verify no files (default), files with a digest, or require a digest for every file
  verity                 same as verity_check=2
  tryverity              same if the kernel supports it, otherwise no verification
  upperdir=DIR,workdir=DIR  store changes in upperdir; without it the mount is read-only
  idmap=FILE             map owners by a user namespace (/proc/PID/ns/user)
  statfs=image|objects   same as --statfs
  readahead=SIZE|off     number of bytes of the image to read ahead at mount (default 32M)
  ro, rw, nosuid, nodev, noexec, nosymfollow, noatime, strictatime, nodiratime
Write a backslash before a comma or colon in a value.

Examples:
  composefs --repo=/srv/images mount debian/13 /mnt
  composefs --repo=/srv/images mount debian/13 /mnt -o upperdir=changes,workdir=work
  composefs mount rootfs.img /mnt -o basedir=objects
  composefs mount rootfs.img /mnt -o basedir=objects,digest=$(fsverity digest --compact rootfs.img)
  composefs mount rootfs.img /mnt -o basedir=objects,upperdir=changes,workdir=work
  composefs mount rootfs.img /mnt -o basedir=objects,verity --dry-run
  composefs --repo=/srv/images mount debian/13 /mnt --statfs=objects
  composefs mount rootfs.img ~/mnt -o basedir=objects --via=fuse
  composefs --repo=$HOME/images mount --lazy=https://images.example.org debian/13 ~/mnt
  unshare -Urm sh -c 'composefs mount rootfs.img mnt -o basedir=objects --via=overlay; ls mnt'
  composefs mount rootfs.img /mnt -o basedir=objects --warm
  composefs mount rootfs.img /mnt --image-only
  composefs mount rootfs.img /mnt -o basedir=objects --print-spec
  composefs mount rootfs.img /mnt --image-only --print-spec";

/// The part of the process in which a mount is complete.
pub(crate) enum MountPart {
    /// The part that the caller of the program waits for.
    Caller,
    /// The server of the mount, which has ended.
    Server(anyhow::Result<()>),
}

impl MountPart {
    /// Returns the result of a command that only mounts.
    pub(crate) fn result(self) -> anyhow::Result<()> {
        match self {
            Self::Caller => Ok(()),
            Self::Server(result) => result,
        }
    }
}

pub(crate) fn run(args: &MountArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    // A trace that cannot be read is refused before anything is mounted.
    let files = args.warm.as_ref().map(|trace| warm::WarmFiles::read(trace.as_deref())).transpose()?;
    let part = run_part(args, selected)?;
    if let (Some(files), MountPart::Caller) = (&files, &part)
        && let Err(error) = warm::in_background(&args.target, files)
    {
        tell!("composefs: warning: the files are not read ahead: {error:#}");
    }
    part.result()
}

fn run_part(args: &MountArgs, selected: &RepositoryArgs) -> anyhow::Result<MountPart> {
    if let Some(remote) = &args.lazy {
        return lazy::run(args, remote, selected);
    }
    let options = args.parse_options(UnknownOptions::Refuse)?;
    ensure!(
        !args.image_only || options.statfs == StatfsSource::Image,
        "statfs=objects needs an overlay: it cannot be used with --image-only"
    );
    ensure!(
        !args.image_only || options.upper.is_none(),
        "upperdir= needs an overlay: it cannot be used with --image-only"
    );
    let is_file = !selected.is_given() && (!options.basedirs.is_empty() || args.image.exists());
    if is_file {
        return image_file::run(args, options);
    }
    if selected.names() != NameKind::Ref && source::is_source(args.image.as_os_str()) {
        bail!(
            "{} is in no repository, which a mount needs: `composefs oci pull` brings it into one",
            args.image.display()
        );
    }
    repository_image::run(args, options, &selected.open()?, selected.names())
}

impl MountArgs {
    /// Returns the arguments that mount an image of a repository, which was asked for by a name.
    pub(crate) fn of_repository(
        (digest, name): (Digest, &str),
        target: &Path,
        options: &[OsString],
        dry_run: bool,
        json: bool,
    ) -> Self {
        let (image, target, options) = (digest.to_hex().into(), target.to_owned(), options.to_vec());
        Self {
            dry_run,
            json,
            judged_as: Some(name.to_owned()),
            is_for_command: false,
            ..Self::of(image, target, options, Via::Auto)
        }
    }

    /// Returns the arguments that mount an image as the root of a command.
    pub(crate) fn for_run(image: &Path, target: &Path, options: Vec<OsString>, via: Via) -> Self {
        let (image, target) = (image.to_owned(), target.to_owned());
        Self::of(image, target, options, via)
    }

    /// Has the objects that are read written to a file. The image is mounted in user space.
    pub(crate) fn traced_to(self, file: Arc<File>) -> Self {
        Self { via: Via::Fuse, trace: Some(file), ..self }
    }

    /// Returns the arguments that mount an image of a repository, asked for by a name, as the root of a command.
    pub(crate) fn for_container((digest, name): (&Digest, &str), target: &Path) -> Self {
        let judged_as = Some(name.to_owned());
        Self { judged_as, ..Self::of(digest.to_hex().into(), target.to_owned(), Vec::new(), Via::Auto) }
    }

    fn of(image: PathBuf, target: PathBuf, options: Vec<OsString>, via: Via) -> Self {
        Self {
            image,
            target,
            options,
            image_only: false,
            via,
            statfs: None,
            lazy: None,
            timeout: 0,
            warm: None,
            fill: FillPace::Off,
            service: false,
            insecure: false,
            print_spec: false,
            dry_run: false,
            json: false,
            server: ServerArgs::default(),
            judged_as: None,
            is_for_command: true,
            unknown: UnknownOptions::Refuse,
            trace: None,
        }
    }

    /// Returns the options of `-o`, with those that have a flag of their own.
    fn parse_options(&self, unknown: UnknownOptions) -> anyhow::Result<Options> {
        let mut options = Options::parse(&self.options.join(OsStr::new(",")), unknown)?;
        if let Some(statfs) = self.statfs {
            options.statfs = statfs.into();
        }
        Ok(options)
    }

    /// Mounts the image, and returns the part of the process.
    pub(crate) fn run_part(&self, selected: &RepositoryArgs) -> anyhow::Result<MountPart> {
        run_part(self, selected)
    }

    /// Mounts an image of this repository.
    pub(crate) fn run_in(&self, repository: &Repository) -> anyhow::Result<()> {
        self.run_part_in(repository)?.result()
    }

    /// Mounts an image of this repository, and returns the part of the process.
    pub(crate) fn run_part_in(&self, repository: &Repository) -> anyhow::Result<MountPart> {
        let options = self.parse_options(UnknownOptions::Refuse)?;
        repository_image::run(self, options, repository, NameKind::Any)
    }
}

/// Mounts the image as planned, or only prints the plan if the arguments say so.
///
/// `digest` is the digest that the image is known to have, whether the kernel can check it or not.
fn carry_out(args: &MountArgs, plan: &Plan, image: &ImageFile, digest: Option<&Digest>) -> anyhow::Result<MountPart> {
    let way = ChosenWay::choose(args, plan)?;
    if way != ChosenWay::Kernel {
        return in_user_space::carry_out(args, plan, image, digest.or(plan.options().digest()), way);
    }
    if args.print_spec {
        return spec::print(args, plan, image).map(|()| MountPart::Caller);
    }
    let mounted = mount(args, plan, image).map_err(|error| report::error(args, &error))?;
    report::print(args, plan, mounted.as_ref())?;
    Ok(MountPart::Caller)
}

fn mount(args: &MountArgs, plan: &Plan, image: &ImageFile) -> Result<Option<Mounted>, Error> {
    let allowed = KernelFeatures::default();
    let mounted = match (args.dry_run, args.image_only) {
        (true, _) => None,
        (false, true) => {
            let mount = plan.mount_image(image, allowed)?;
            mount.attach(&args.target)?;
            Some(mount.report().clone())
        }
        (false, false) => Some(plan.mount_at(image, &args.target, allowed)?),
    };
    if !args.image_only {
        verity_warning::print("composefs", plan, mounted.as_ref());
    }
    Ok(mounted)
}
