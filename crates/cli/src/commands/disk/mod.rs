//! `composefs disk`: makes a bootable disk of an image.

mod output_file;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_disk::{Architecture, DiskError, DiskOptions, DiskPlan, EfiProgram};
use libcomposefs_image::bootable::boot_lacks;
use libcomposefs_repo::{ImageName, RefName};

use self::output_file::output_file;
use super::repository::progress::ObjectProgress;
use super::repository::{NameOperand, RepositoryArgs};
use crate::complete;
use crate::error_text::with_remedy;
use crate::inspect::size;
use crate::interrupt::Interrupt;

/// Make a bootable disk of an image.
///
/// The disk has a partition table (GPT), an EFI system partition, and an ext4 whose objects have fs-verity: a
/// repository with this image alone, and the directories for its /etc and /var. composefs-setup-root boots it with
/// fs-verity required. Neither privileges nor mounts are needed, nor a host with fs-verity.
///
/// Unified kernel images go to EFI/Linux. The firmware starts the boot loader, without one the first kernel. The name
/// of a kernel may count attempts, as in os+3.efi.
///
/// The same image, files and options make the same bytes. Every object is compared with its digest before OUT gets its
/// name. OUT is a sparse file.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DiskArgs {
    /// Image, by name or digest
    #[arg(value_name = "REF|DIGEST", add = ArgValueCompleter::new(complete::images))]
    image: NameOperand,
    /// File to be made, or block device with --device
    out: PathBuf,
    /// Unified kernel image for the EFI system partition; may be given several times
    #[arg(long, value_name = "FILE")]
    uki: Vec<PathBuf>,
    /// Boot loader for the EFI system partition, such as systemd-bootx64.efi
    #[arg(long, value_name = "FILE")]
    loader: Option<PathBuf>,
    /// Size of the disk in bytes, optionally followed by k, M, G or T [default: twice what the image needs, and 1 GiB
    /// free at least; of a device, its size]
    #[arg(long, value_name = "BYTES", value_parser = disk_size)]
    size: Option<u64>,
    /// Text that the identifiers of the disk and its partitions are made of [default: the digest of the image]
    #[arg(long, value_name = "TEXT")]
    seed: Option<String>,
    /// Processor, x86_64 or aarch64 [default: that of the kernel or loader, otherwise of this machine]
    #[arg(long)]
    arch: Option<Architecture>,
    /// Replace an existing file
    #[arg(long, conflicts_with = "device")]
    force: bool,
    /// Overwrite a block device
    #[arg(long)]
    device: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images disk os/1 os.img --uki=os.efi
  composefs --repo=/srv/images disk os/1 os.img --uki=os-1+3.efi --loader=systemd-bootx64.efi --size=8G
  composefs --repo=/srv/images disk os/1 /dev/sdx --device --uki=os.efi --json

Exit status: 0 if the disk was made, 1 if not, 128 plus the signal number if a signal cancelled the command. On failure
OUT is what it was before; a device then has no partition table.";

fn disk_size(text: &str) -> Result<u64, String> {
    size::parse(text).ok_or_else(|| "expected a number, optionally followed by k, M, G or T".to_owned())
}

/// Runs the command and returns its exit status.
pub(super) fn run(args: &DiskArgs, selected: &RepositoryArgs) -> ExitCode {
    let interrupt = Interrupt::watch();
    interrupt.end(make_disk(args, selected, &interrupt))
}

fn make_disk(args: &DiskArgs, selected: &RepositoryArgs, interrupt: &Interrupt) -> anyhow::Result<()> {
    let output = output_file(&args.out, args.force, args.device)?;
    let repository = selected.open()?.interrupted_by(interrupt.flag());
    let reader = repository.reader()?;
    let resolved = args.image.resolve_bootable(&repository, selected.names())?;
    // Until the disk is made: gc removes no object of the image.
    let (digest, _held) = reader.open_named(&resolved.image)?;
    let name = match resolved.image {
        ImageName::Ref(name) => Some(name),
        ImageName::Digest(_) => RefName::new(args.image.to_string()).ok(),
    };
    let open = |path: &Path| EfiProgram::open(path);
    let mut options = DiskOptions::default();
    options.kernels = args.uki.iter().map(|path| open(path)).collect::<Result<_, _>>()?;
    options.loader = args.loader.as_deref().map(open).transpose()?;
    options.size = args.size.or(output.device_size());
    options.seed.clone_from(&args.seed);
    options.architecture = args.arch;
    options.name = name;
    options.interrupt = Some(interrupt.flag());
    let plan = DiskPlan::new(&repository, digest, options).map_err(|error| error_with_remedy(error, args))?;
    output.expect_room(plan.size())?;
    for lack in boot_lacks(plan.tree()) {
        tell!("composefs: the image will not boot as it is: {lack}");
    }
    if plan.name().is_none() {
        tell!("composefs: the image has no name on the disk, where a gc removes it: use a ref instead of the digest");
    }
    let progress = ObjectProgress::start();
    let done = |bytes| progress.done(bytes);
    let report =
        output.write(|file, is_new| plan.write(file, is_new, &done).map_err(|error| error_with_remedy(error, args)));
    drop(progress);
    report::print(&report?, args.json);
    Ok(())
}

fn error_with_remedy(error: DiskError, args: &DiskArgs) -> anyhow::Error {
    match error {
        DiskError::Damaged { .. } => with_remedy(error, "composefs fsck --repair moves it away; then import it again"),
        DiskError::NoRoom { .. } if args.device => with_remedy(error, "use a larger device"),
        DiskError::NoRoom { .. } => with_remedy(error, "use a larger --size, or none"),
        DiskError::NoDirectory { .. } => {
            with_remedy(error, "composefs check --bootable names what else the image lacks")
        }
        error => error.into(),
    }
}
