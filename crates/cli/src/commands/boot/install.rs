//! `composefs boot install`: makes an image bootable.

use std::io::{BufWriter, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_disk::entries::removable;
use libcomposefs_image::Digest;
use libcomposefs_image::bootable::boot_lacks;
use libcomposefs_image::erofs::read::{ImageReader, View, load};
use libcomposefs_image::tree::Tree;
use libcomposefs_repo::Repository;
use sha2::{Digest as _, Sha256};

use super::booted::{BootedImage, FirmwareFacts};
use super::esp::EspDirectory;
use super::found::{BootEntries, BootEntry};
use super::image_files::ImageFiles;
use super::install_plan::{EntryWish, InstallPlan, inherited_words};
use super::kernel::{self, BootProgram, HashingWriter, KernelArgs};
use super::objects::check_objects;
use super::place::PlaceArgs;
use super::{publish, report, state};
use crate::commands::mount::trusted;
use crate::commands::repository::{NameOperand, RepositoryArgs};
use crate::complete;
use crate::error_text::with_remedy;
use crate::interrupt::Interrupt;
use crate::trust::NamedImage;

/// Make an image bootable: kernel, initramfs and an entry for the boot loader.
///
/// The objects of the image are checked, what is missing of its state on the disk is made, and a ref protects it from
/// gc. Then the files are written to the EFI system partition, and the entry last: a boot finds all of it or nothing.
/// The new entry is the first of those that this command makes.
///
/// The name of an OCI image leads to the bootable image that `oci pull --bootable` has made of it, and the kernel is
/// looked up in /boot of the OCI image too.
///
/// The kernel is a unified kernel image (--uki), --kernel with --initrd, or that of the image, where a unified kernel
/// image must name the image that is installed. The command line is that
/// of the image's own boot entry, otherwise that of the entry that would be started next, with the words for this
/// image, rw and panic=10.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InstallArgs {
    /// Image, by name or digest
    #[arg(value_name = "REF|DIGEST", add = ArgValueCompleter::new(complete::images))]
    image: NameOperand,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    kernel: KernelArgs,
    /// Words for the kernel, in place of those of the entry that would be started next; may be given several times
    #[arg(long, value_name = "WORDS")]
    option: Vec<String>,
    /// Attempts to boot the entry before the boot loader passes over it. Needs systemd-bless-boot in the image, which
    /// ends the counting after a good boot
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=99))]
    tries: Option<u64>,
    /// Number of entries of this command that are kept. One of the booted image and one of another image stay in any
    /// case
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = keep)]
    keep: usize,
    /// Boot the image without fs-verity, in a repository that does not demand it
    #[arg(long)]
    no_verity: bool,
    /// Print what would be written, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs boot install os/2 --tries=3
  composefs boot install os/2 --uki=os-2.efi --tries=3 --keep=2
  composefs boot install os/2 --kernel=vmlinuz --initrd=initramfs.img --option='root=PARTLABEL=root quiet'
  composefs boot install os/2 --sysroot=/mnt/disk --esp=/mnt/esp --dry-run

Exit status: 0 if the image was installed, 1 if not, 128 plus the signal number if a signal cancelled the command. On
failure the entries are those from before.";

fn keep(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|keep| (1..=100).contains(keep))
        .ok_or_else(|| "expected a number from 1 to 100".to_owned())
}

pub(super) fn run(args: &InstallArgs, selected: &RepositoryArgs) -> ExitCode {
    let interrupt = Interrupt::watch();
    interrupt.end(install(args, selected, &interrupt))
}

fn install(args: &InstallArgs, selected: &RepositoryArgs, interrupt: &Interrupt) -> anyhow::Result<()> {
    let flag = interrupt.flag();
    if let Some(words) = args.option.iter().find(|words| words.contains(char::is_control)) {
        bail!("--option={words:?} has a control character, which would end the line");
    }
    let (selected, sysroot) = args.place.selected(selected)?;
    let esp = args.place.esp()?;
    esp.lock()?;
    let repository = selected.open()?.interrupted_by(interrupt.flag());
    let reader = repository.reader()?;
    let resolved = args.image.resolve_bootable(&repository, selected.names())?;
    // Until the ref protects the image.
    let (digest, _held) = reader.open_named(&resolved.image)?;
    let name = args.image.to_string();
    trusted(&repository, NamedImage { name: &name, digest }, args.dry_run)?;
    let bytes = repository.read_image(&digest)?;
    let image_reader = ImageReader::new(&bytes.bytes)?;
    let tree = load(&image_reader, &[])?.tree;
    for lack in boot_lacks(&tree) {
        tell!("composefs: the image will not boot as it is: {lack}");
    }
    // The bootable image of an OCI image has an empty /boot: its kernel may be in that of the image beside it.
    let beside = resolved.oci.as_ref().and_then(|oci| oci.image()).filter(|_| !args.kernel.is_given());
    let beside = beside.map(|digest| repository.read_image(&digest)).transpose()?;
    let with_kernel = beside.as_ref().map(|beside| ImageReader::new(&beside.bytes)).transpose()?;
    let view = View::new(with_kernel.as_ref().unwrap_or(&image_reader));
    let image = ImageFiles { view, repository: &repository };
    let program = kernel::find(&args.kernel, &image, &digest, args.no_verity || !args.option.is_empty())?;
    let is_verity_optional = args.no_verity || program.is_verity_optional;
    expect_objects(&repository, &digest, &tree, is_verity_optional, &flag)?;

    let entries = BootEntries::read(&esp)?;
    let booted = BootedImage::find().map(|booted| booted.digest);
    let wish = EntryWish {
        generation: publish::new_generation(&entries)?,
        digest,
        format_version: image_reader.header().format_version,
        name: &name,
        tries: args.tries,
        is_verity_optional,
        words: words(args, &program, entries.next().map(|(at, _)| &entries.all[at])),
    };
    let plan = InstallPlan::new(&wish, &program, &image, &esp)?;
    plan.expect_room(&esp)?;
    if args.dry_run {
        report::installed(args.json, &plan, &program, &wish, &[], true);
        return Ok(());
    }
    state::prepare(&sysroot, &repository, &digest, &tree, booted.as_ref())?;
    publish::protect(&repository, &digest)?;
    if let Err(error) = write(&esp, &plan, &program, &image, &flag) {
        // The entry was not written: neither its kernel nor its ref is needed.
        let _ = publish::remove_unused_kernels(&esp, &entries);
        publish::release(&repository, &entries, &[digest]);
        return Err(error);
    }
    let removed = remove_old(&esp, &repository, booted.as_ref(), wish.generation, args.keep)?;
    report::installed(args.json, &plan, &program, &wish, &removed, false);
    warn_of_other_default(&esp, &plan)
}

fn words(args: &InstallArgs, program: &BootProgram, next: Option<&BootEntry>) -> String {
    let given = args.option.join(" ");
    match &program.words {
        Some(words) => format!("{words} {given}"),
        None if args.option.is_empty() => inherited_words(next),
        None => given,
    }
}

/// Checks that the image can be booted: all objects are in the repository, and sealed if a boot requires it.
fn expect_objects(
    repository: &Repository,
    digest: &Digest,
    tree: &Tree,
    is_verity_optional: bool,
    flag: &AtomicBool,
) -> anyhow::Result<()> {
    let path = repository.path().display();
    if is_verity_optional && repository.demands_verity() {
        let error = format!("{path} demands fs-verity, which neither --no-verity nor ? on the command line can weaken");
        return Err(with_remedy(error, "leave it out"));
    }
    let check = check_objects(repository, digest, tree, !is_verity_optional, flag)?;
    if check.wrong == 0 {
        return Ok(());
    }
    for problem in &check.problems {
        tell!("composefs: {problem}");
    }
    let error = format!(
        "the image cannot be booted: {} of its {} objects are not as a boot requires",
        check.wrong, check.count
    );
    Err(match repository.demands_verity() || is_verity_optional {
        true => with_remedy(error, "composefs fsck --repair --from=REPOSITORY, or import the image again"),
        false => with_remedy(error, "--no-verity boots an image without fs-verity"),
    })
}

/// Writes the files, and the entry last.
fn write(
    esp: &EspDirectory,
    plan: &InstallPlan,
    program: &BootProgram,
    image: &ImageFiles<'_, '_>,
    flag: &AtomicBool,
) -> anyhow::Result<()> {
    esp.make_directory(&plan.directory)?;
    for (file, (hash, is_there)) in program.files.iter().zip(&plan.files) {
        if *is_there {
            continue;
        }
        if flag.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        esp.write(&format!("{}/{}", plan.directory, file.name), |out| {
            let mut out = HashingWriter { hash: Sha256::new(), out: BufWriter::with_capacity(1 << 20, out) };
            file.copy(image, &mut out)?;
            out.flush()?;
            if out.hash.finalize()[..] != hash[..] {
                bail!("{} changed while it was copied", file.name);
            }
            Ok(())
        })?;
    }
    publish::write_entry(esp, &plan.name, &plan.text)
}

/// Removes old entries once the new one is on disk. A failure is an error, though the image is installed.
fn remove_old(
    esp: &EspDirectory,
    repository: &Repository,
    booted: Option<&Digest>,
    generation: u64,
    keep: usize,
) -> anyhow::Result<Vec<String>> {
    let entries = BootEntries::read(esp)?;
    let old = removable(&entries.uses(Some(repository), booted), generation, keep);
    let old: Vec<_> = old.into_iter().map(|at| &entries.all[at]).collect();
    publish::remove_entries(esp, Some(repository), &old).context("the image is installed; old entries are left")
}

/// Tells if another entry is started next, in spite of the new one.
fn warn_of_other_default(esp: &EspDirectory, plan: &InstallPlan) -> anyhow::Result<()> {
    let entries = BootEntries::read(esp)?;
    let id = plan.name.id();
    if let Some((at, is_chosen)) = entries.next().filter(|(at, _)| entries.all[*at].path != plan.path()) {
        let first = entries.all[at].file_name();
        let reason =
            if is_chosen { "`default` in loader.conf chooses it" } else { "it is sorted before the new entry" };
        tell!("composefs: warning: the boot loader starts {first} next: {reason}");
    }
    if let Some(default) = FirmwareFacts::read().default.filter(|default| *default != id) {
        tell!(
            "composefs: warning: the variable LoaderEntryDefault chooses {default}: `bootctl set-default ''` removes it"
        );
    }
    Ok(())
}
