//! `composefs fsck`

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use indicatif::ProgressBar;
use libcomposefs_content::Progress;
use libcomposefs_mount::MountEntry;
use libcomposefs_repo::fsck::{Damage, FsckOptions, FsckReport, Kind, Remedy, Source, open_anyway};
use libcomposefs_repo::{LockHolder, Opener};
use serde_json::{Value, json};

use super::{RepositoryArgs, counted, openers_text, tell_of_waiting};
use crate::exit::answered;
use crate::inspect::size::human;
use crate::output;
use crate::rlimits;

/// Check a repository: every name, link, image and object; and mend it.
///
/// All contents are read, each once and on all CPUs. It goes on behind each damage. With --repair what is wrong is put right
/// with what the repository itself has, or what --from has; what is taken away goes to the quarantine, and nothing is
/// deleted. Others may work in the repository meanwhile.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FsckArgs {
    /// Put right what can be
    #[arg(long)]
    repair: bool,
    /// Take contents from here: another repository, a directory of objects, or a tree; may be given several times
    #[arg(long, value_name = "SOURCE", requires = "repair")]
    from: Vec<PathBuf>,
    /// Use so many threads
    #[arg(long, value_parser = crate::rlimits::parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images fsck
  composefs --repo=/srv/images fsck --repair
  composefs --repo=/srv/images fsck --repair --from=/mnt/backup/images --from=rootfs/

Exit status: 0 if all is sound, or was put right; 1 if something is wrong; 2 if that could not be found out.";

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
    answered(check(args, selected))
}

fn check(args: &FsckArgs, selected: &RepositoryArgs) -> anyhow::Result<bool> {
    rlimits::allow_open_files();
    let (repository, meta) = open_anyway(&selected.path()?)?;
    let repository = repository.telling(tell_of_waiting);
    let lock = Lock { openers: repository.openers()?, holders: repository.lock_holders() };
    let algorithm = repository.algorithm();
    let sources = args.from.iter().map(|path| Source::open(path, algorithm)).collect::<Result<_, _>>()?;
    let options = FsckOptions { repair: args.repair, sources, threads: rlimits::threads(args.threads) };
    let bar = Bar(output::bar("{bar:30} {bytes} of {total_bytes} of objects, {elapsed}", 0));
    let report = repository.fsck(meta, &options, &bar)?;
    bar.0.finish_and_clear();
    let remount = mounts_to_renew(&report, &repository.objects().path().to_string_lossy());
    if args.json {
        output::json(&report_json(&report, &remount, &lock));
    } else {
        print(&report, &remount);
        lock.print();
    }
    Ok(report.is_sound())
}

/// Who holds the lock of the repository when the check begins, and who could. That is no damage.
struct Lock {
    openers: Vec<Opener>,
    holders: Vec<LockHolder>,
}

impl Lock {
    fn print(&self) {
        for holder in self.holders.iter().filter(|holder| holder.is_alone) {
            out!("note: {} has the directory locked: nothing can be written", holder);
        }
        if let Some(text) = openers_text(&self.openers) {
            out!("note: {text}");
        }
    }
}

/// Mounts that may go on with what was replaced: those that are of this repository, as far as they can be seen.
fn mounts_to_renew(report: &FsckReport, objects: &str) -> Vec<MountEntry> {
    let replaced = |damage: &Damage| damage.remedy == Remedy::Repaired && replaces_an_object(damage.kind);
    if !report.damages.iter().any(replaced) {
        return Vec::new();
    }
    let mut mounts = libcomposefs_mount::mounts().unwrap_or_default();
    mounts.retain(|mount| mount.options.contains(objects));
    mounts
}

fn replaces_an_object(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Contents
            | Kind::Empty
            | Kind::Truncated
            | Kind::Misnamed
            | Kind::Unreadable
            | Kind::NotRegular
            | Kind::WrongVerity
    )
}

fn print(report: &FsckReport, remount: &[MountEntry]) {
    for damage in &report.damages {
        out!("{}", line(damage));
    }
    for mount in remount {
        out!("{} may still have open what was replaced: unmount and mount it again", mount.target.display());
    }
    let (objects, images) = (counted(report.objects, "object"), counted(report.images, "image"));
    out!("{objects}, {}, {images}, {}", human(report.bytes), counted(report.refs, "name"));
    if report.damages.is_empty() {
        out!("all is sound");
        return;
    }
    for (kind, [all, mended]) in by_kind(report) {
        out!("{all} {}, {mended} mended", kind.name());
    }
}

fn by_kind(report: &FsckReport) -> BTreeMap<Kind, [u64; 2]> {
    let mut counts = BTreeMap::<Kind, [u64; 2]>::new();
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
    match &damage.remedy {
        Remedy::Left => {}
        Remedy::Repaired => line.push_str("; repaired"),
        Remedy::TakenAway(path) => line.push_str(&format!("; taken away, to {}", path.display())),
        Remedy::Failed(why) => line.push_str(&format!("; not repaired: {}", why)),
    }
    line
}

fn report_json(report: &FsckReport, remount: &[MountEntry], lock: &Lock) -> Value {
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
            "remedy": remedy,
            "detail": detail,
        })
    });
    let counts = by_kind(report)
        .into_iter()
        .map(|(kind, [all, mended])| (kind.name().to_owned(), json!({ "found": all, "mended": mended })));
    json!({
        "sound": report.is_sound(),
        "objects": report.objects,
        "bytes": report.bytes,
        "images": report.images,
        "refs": report.refs,
        "counts": Value::Object(counts.collect()),
        "damages": damages.collect::<Vec<_>>(),
        "lockable_by": lock.openers.iter().map(Opener::to_string).collect::<Vec<_>>(),
        "locked_by": lock.holders.iter().map(|holder| {
            json!({ "pid": holder.pid, "program": holder.program, "exclusive": holder.is_alone })
        }).collect::<Vec<_>>(),
        "remount": remount.iter().map(|mount| mount.target.to_string_lossy()).collect::<Vec<_>>(),
    })
}
