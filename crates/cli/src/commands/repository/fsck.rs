//! `composefs fsck`: checks and repairs a repository.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use indicatif::ProgressBar;
use libcomposefs_content::Progress;
use libcomposefs_mount::MountEntry;
use libcomposefs_repo::cold::ColdDamage;
use libcomposefs_repo::fsck::{Damage, DamageKind, FsckOptions, FsckReport, Remedy, RepairSource, open_anyway};
use libcomposefs_repo::partial::PartialCheck;
use libcomposefs_repo::{LockHolder, Opener};
use serde_json::{Value, json};

use super::{RepositoryArgs, counted, openers_text, partial, tell_of_waiting};
use crate::exit::exit_answer;
use crate::inspect::size::human;
use crate::output;
use crate::rlimits;

/// Check a repository: every name, link, image and object; with --repair, also repair it.
///
/// Reads every object once, in parallel, and continues after each problem it finds. --repair restores damaged and
/// missing files from the repository itself or from --from; it moves files that it removes to the quarantine, and
/// deletes nothing. Other commands may use the repository at the same time.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FsckArgs {
    /// Repair problems where possible
    #[arg(long)]
    repair: bool,
    /// Restore contents from here: another repository, an object directory, or a tree; may be given several times
    #[arg(long, value_name = "SOURCE", requires = "repair")]
    from: Vec<PathBuf>,
    /// Number of threads to use
    #[arg(long, value_parser = crate::rlimits::parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images fsck
  composefs --repo=/srv/images fsck --repair
  composefs --repo=/srv/images fsck --repair --from=/mnt/backup/images --from=rootfs/

Exit status: 0 if there are no problems, or all were repaired; 1 if there are; 2 on error.";

struct Bar(ProgressBar);

impl Progress for Bar {
    fn begin(&self, _: u64, bytes: u64) {
        self.0.set_length(bytes);
    }

    fn bytes(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

pub(crate) fn run(args: &FsckArgs, selected: &RepositoryArgs) -> ExitCode {
    exit_answer(check(args, selected))
}

fn check(args: &FsckArgs, selected: &RepositoryArgs) -> anyhow::Result<bool> {
    rlimits::allow_open_files();
    let (repository, meta) = open_anyway(&selected.path()?)?;
    let repository = repository.telling(tell_of_waiting);
    let lock = LockInfo { openers: repository.openers()?, holders: repository.lock_holders() };
    let algorithm = repository.algorithm();
    let sources = args.from.iter().map(|path| RepairSource::open(path, algorithm)).collect::<Result<_, _>>()?;
    let options = FsckOptions { repair: args.repair, sources, threads: rlimits::threads(args.threads) };
    let bar = Bar(output::bar("{bar:30} {bytes} of {total_bytes} of objects, {elapsed}", 0));
    let report = repository.fsck(meta, &options, &bar)?;
    let cold = repository.check_cold(options.threads, &libcomposefs_content::NoProgress)?;
    let partial = repository.check_partial()?;
    let signatures: Vec<String> = repository.check_signatures()?.iter().map(ToString::to_string).collect();
    bar.0.finish_and_clear();
    // The report has what is wrong with them.
    let tags = repository.stream_tags().map_or(0, |tags| tags.len());
    let others = OtherChecks { cold, partial, signatures, tags };
    let remount = mounts_to_renew(&report, &repository.objects().path().to_string_lossy());
    if args.json {
        output::json(&report_json(&report, &others, &remount, &lock));
    } else {
        others.print();
        print(&report, &others, &remount);
        lock.print();
    }
    Ok(report.is_sound() && others.is_sound())
}

/// What was checked beside the images and objects.
struct OtherChecks {
    cold: Vec<ColdDamage>,
    partial: PartialCheck,
    signatures: Vec<String>,
    /// Number of names of OCI images.
    tags: usize,
}

impl OtherChecks {
    fn is_sound(&self) -> bool {
        self.cold.is_empty() && self.partial.damages.is_empty() && self.signatures.is_empty()
    }

    fn print(&self) {
        self.cold.iter().for_each(|damage| out!("{}", cold_line(damage)));
        self.partial.damages.iter().for_each(|damage| out!("{}", partial::damage_line(damage)));
        self.signatures.iter().for_each(|problem| out!("{problem}"));
        self.partial.images.iter().for_each(|(image, here)| out!("{}", partial::check_line(image, here)));
    }
}

/// Processes that hold the lock of the repository when the check starts, and users who could lock it. This is not
/// damage.
struct LockInfo {
    openers: Vec<Opener>,
    holders: Vec<LockHolder>,
}

impl LockInfo {
    fn print(&self) {
        for holder in self.holders.iter().filter(|holder| holder.is_alone) {
            out!("note: {} has locked the directory: nothing can be written", holder);
        }
        if let Some(text) = openers_text(&self.openers) {
            out!("note: {text}");
        }
    }
}

/// Returns the visible mounts of this repository, which may still use the objects that were replaced.
fn mounts_to_renew(report: &FsckReport, objects: &str) -> Vec<MountEntry> {
    let replaced = |damage: &Damage| damage.remedy == Remedy::Repaired && replaces_an_object(damage.kind);
    if !report.damages.iter().any(replaced) {
        return Vec::new();
    }
    let mut mounts = libcomposefs_mount::mounts().unwrap_or_default();
    mounts.retain(|mount| mount.options.contains(objects));
    mounts
}

fn replaces_an_object(kind: DamageKind) -> bool {
    matches!(
        kind,
        DamageKind::Contents
            | DamageKind::Empty
            | DamageKind::Truncated
            | DamageKind::Misnamed
            | DamageKind::Unreadable
            | DamageKind::NotRegular
            | DamageKind::WrongVerity
    )
}

/// Describes the damage of a cold image. Nothing here can repair it.
fn cold_line(damage: &ColdDamage) -> String {
    let names: Vec<_> = damage.refs.iter().map(|name| name.as_str()).collect();
    let of = if names.is_empty() { damage.image.to_hex() } else { names.join(", ") };
    let (path, found) = (damage.path.display(), &damage.found);
    format!("{path}: cold: {found}; {of} needs it: import or pull the image again, or remove its names")
}

/// Prints the report.
fn print(report: &FsckReport, others: &OtherChecks, remount: &[MountEntry]) {
    for damage in &report.damages {
        out!("{}", line(damage));
    }
    for mount in remount {
        out!("{} may still use replaced objects: unmount and mount it again", mount.target.display());
    }
    let (objects, images) = (counted(report.objects, "object"), counted(report.images, "image"));
    out!("{objects}, {}, {images}, {}", human(report.bytes), counted(report.refs + others.tags as u64, "name"));
    if report.damages.is_empty() {
        if others.is_sound() {
            out!("no problems found");
        }
        return;
    }
    for (kind, [all, mended]) in by_kind(report) {
        out!("{all} {}, {mended} repaired", kind.name());
    }
}

fn by_kind(report: &FsckReport) -> BTreeMap<DamageKind, [u64; 2]> {
    let mut counts = BTreeMap::<DamageKind, [u64; 2]>::new();
    for damage in &report.damages {
        let [all, mended] = counts.entry(damage.kind).or_default();
        *all += 1;
        *mended += u64::from(damage.remedy.is_mended());
    }
    counts
}

fn line(damage: &Damage) -> String {
    let mut line = damage.to_string();
    if let Some(by) = &damage.needed_by {
        let image = by.name.as_ref().map_or_else(|| by.image.to_hex(), |name| name.to_string());
        line.push_str(&format!("; {image} needs it"));
    }
    if let Some(stream) = &damage.stream {
        let name = format!("streams/{}", stream.name);
        let of_itself = damage.path.to_str() == Some(name.as_str());
        let tags = stream.tags.join(", ");
        line.push_str(&match (of_itself, tags.is_empty()) {
            (true, true) => String::new(),
            (true, false) => format!("; {tags} needs it"),
            (false, true) => format!("; {name} needs it"),
            (false, false) => format!("; {name} of {tags} needs it"),
        });
        if damage.remedy == Remedy::Left && !tags.is_empty() {
            line.push_str(": pull the OCI image again");
        }
    }
    match &damage.remedy {
        Remedy::Left => {}
        Remedy::Repaired => line.push_str("; repaired"),
        Remedy::TakenAway(path) => line.push_str(&format!("; moved to {}", path.display())),
        Remedy::Failed(why) => line.push_str(&format!("; not repaired: {}", why)),
    }
    line
}

fn report_json(report: &FsckReport, others: &OtherChecks, remount: &[MountEntry], lock: &LockInfo) -> Value {
    let damages = report.damages.iter().map(|damage| {
        let (remedy, detail) = match &damage.remedy {
            Remedy::Left => ("left", None),
            Remedy::Repaired => ("repaired", None),
            Remedy::TakenAway(path) => ("taken-away", Some(path.to_string_lossy().into_owned())),
            Remedy::Failed(why) => ("failed", Some(why.clone())),
        };
        json!({
            "kind": damage.kind.name(),
            "path": damage.path.to_string_lossy(),
            "found": damage.found,
            "digest": damage.digest.map(|digest| digest.to_hex()),
            "needed_by": damage.needed_by.as_ref().map(|by| {
                json!({ "image": by.image.to_hex(), "ref": by.name.as_ref().map(|name| name.as_str()) })
            }),
            "stream": damage.stream.as_ref().map(|stream| json!({ "name": stream.name, "tags": stream.tags })),
            "remedy": remedy,
            "detail": detail,
        })
    });
    let counts = by_kind(report)
        .into_iter()
        .map(|(kind, [all, mended])| (kind.name().to_owned(), json!({ "found": all, "mended": mended })));
    json!({
        "sound": report.is_sound() && others.is_sound(),
        "objects": report.objects,
        "bytes": report.bytes,
        "images": report.images,
        "refs": report.refs,
        "streams": report.streams,
        "counts": Value::Object(counts.collect()),
        "damages": damages.collect::<Vec<_>>(),
        "cold": others.cold.iter().map(|damage| json!({
            "path": damage.path.to_string_lossy(),
            "found": damage.found,
            "digest": damage.image.to_hex(),
            "refs": damage.refs.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "partial": others.partial.damages.iter().map(partial::damage_json).collect::<Vec<_>>(),
        "partial_images": others.partial.images.iter()
            .map(|(image, here)| partial::check_json(image, here)).collect::<Vec<_>>(),
        "signatures": others.signatures,
        "lockable_by": lock.openers.iter().map(Opener::to_string).collect::<Vec<_>>(),
        "locked_by": lock.holders.iter().map(|holder| {
            json!({ "pid": holder.pid, "program": holder.program, "exclusive": holder.is_alone })
        }).collect::<Vec<_>>(),
        "remount": remount.iter().map(|mount| mount.target.to_string_lossy()).collect::<Vec<_>>(),
    })
}
