//! Item 5: the cost of a mount, and of walking and reading it, beside other file systems with the same tree.

mod caches;
mod candidates;
pub(crate) mod walk;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::Setting;
use crate::measure::{Candidate, Series, by_turns, here};
use crate::report::Report;

use caches::{DiskReads, drop_caches};
use candidates::{FileSystem, Mounted, Role};
use walk::Walked;

/// Mounting takes milliseconds: it has as many rounds more.
const MOUNT_ROUNDS: usize = 10;

pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    ensure!(is_private(), "the mounts are measured as root and in a mount namespace of their own: cargo xtask bench");
    let tree = setting.trees.last().context("no tree is given")?;
    let with_warmed = candidates::set_up(setting, tree)?;
    let all = not_warmed(&with_warmed);
    let walked = same_everywhere(&with_warmed)?;
    let what = format!("{} ({} entries, {} MB)", tree.display(), walked.entries, walked.bytes / 1_000_000);

    report.heading(&format!("Mount and unmount of {what}, everything in memory"));
    let mountable: Vec<_> = all.iter().filter(|one| one.is_mounted()).collect();
    let series =
        by_turns(setting.rounds * MOUNT_ROUNDS, &mountable.iter().map(|one| mounting(one)).collect::<Vec<_>>())?;
    report.table(&series, 0);
    let [ours, theirs] = [Role::Ours, Role::Reference].map(|role| find(&mountable, &series, role));
    report.goal("mount and unmount: C over ours", ours.speedup_over(theirs), 1.0);

    names(setting, report, all, &what)?;
    data(setting, report, &with_warmed, &what, walked.bytes)
}

/// Measures `ls -lR` of a tree.
fn names(setting: &Setting, report: &mut Report, all: &[FileSystem], what: &str) -> Result<()> {
    report.heading(&format!("`ls -lR` of {what}, all caches dropped before it is mounted"));
    let cold = Cold::measure(setting.rounds, all, walk::ls)?;
    report.table(&cold.alone, 0);
    cold.print_beside();
    let every: Vec<_> = all.iter().collect();
    let pick =
        |series: &[Series]| [Role::Ours, Role::Squashfs, Role::Source].map(|role| find(&every, series, role).clone());
    let [ours, squashfs, source] = pick(&cold.alone);
    report.goal("cold `ls -lR`: squashfs over ours", ours.speedup_over(&squashfs), 1.0 / 0.6);
    report.goal("cold `ls -lR`: the source over ours", ours.speedup_over(&source), 1.0 / 0.85);
    let [ours, squashfs, source] = pick(&cold.with_mount());
    println!(
        "* the time of the mount counted in: squashfs over ours {:.2}, the source over ours {:.2}",
        ours.speedup_over(&squashfs),
        ours.speedup_over(&source)
    );

    report.heading(&format!("`ls -lR` of {what}, everything in memory"));
    let warm = warm(setting.rounds, all, walk::ls)?;
    report.table(&warm, 0);
    let [ours, _, source] = pick(&warm);
    report.goal("warm `ls -lR`: the source over ours", ours.speedup_over(&source), 1.0 / 1.2);
    Ok(())
}

/// Every byte of every file. It shows what the way through the object store costs, and what reading ahead gains.
fn data(setting: &Setting, report: &mut Report, with_warmed: &[FileSystem], what: &str, bytes: u64) -> Result<()> {
    let read = |root: &Path| walk::read(root).map(drop);
    report.heading(&format!("All contents of {what}, all caches dropped before it is mounted"));
    let cold = Cold::measure(setting.rounds.min(3), with_warmed, read)?;
    report.table(&cold.alone, bytes);
    cold.print_beside();
    let every: Vec<_> = with_warmed.iter().collect();
    let [warmed, squashfs] = [Role::Warmed, Role::Squashfs].map(|role| find(&every, &cold.alone, role));
    report.goal("cold contents: squashfs over ours with --warm", warmed.speedup_over(squashfs), 1.0);
    let scripted = find(&every, &cold.alone, Role::Scripted);
    report.goal("cold contents: a script that reads ahead over ours with --warm", warmed.speedup_over(scripted), 1.0);
    let erofs = every.iter().position(|one| one.name.starts_with("EROFS"));
    if let Some(erofs) = erofs.and_then(|at| cold.alone.get(at)) {
        report.goal("cold contents: EROFS over ours with --warm", warmed.speedup_over(erofs), 1.0);
    }
    report.heading(&format!("All contents of {what}, everything in memory"));
    let all = not_warmed(with_warmed);
    report.table(&warm(setting.rounds.min(5), all, read)?, bytes);
    Ok(())
}

/// Returns the candidates before the first one whose objects are read ahead.
fn not_warmed(all: &[FileSystem]) -> &[FileSystem] {
    let is_warmed = |one: &FileSystem| matches!(one.role, Role::Scripted | Role::Warmed);
    &all[..all.iter().position(is_warmed).unwrap_or(all.len())]
}

/// The caches are dropped, it is mounted, and the work is done, once a round.
struct Cold {
    /// The time of the work.
    alone: Vec<Series>,
    /// The time of the mount before.
    mounts: Vec<Series>,
    /// The reads of the disk during mount and work.
    disk: Vec<Vec<DiskReads>>,
}

impl Cold {
    fn measure(rounds: usize, all: &[FileSystem], work: impl Fn(&Path) -> Result<()>) -> Result<Self> {
        let empty = || all.iter().map(|one| Series::empty(&one.name)).collect::<Vec<_>>();
        let (mut alone, mut mounts, mut disk) = (empty(), empty(), vec![Vec::new(); all.len()]);
        for _ in 0..rounds {
            for (at, one) in all.iter().enumerate() {
                drop_caches()?;
                let before = one.disk.reads()?;
                let mounted = one.mount()?;
                alone[at].runs.push(here(|| work(one.root())).with_context(|| one.name.clone())?.wall);
                mounts[at].runs.push(mounted.wall);
                disk[at].push(one.disk.reads()?.since(before));
            }
        }
        Ok(Self { alone, mounts, disk })
    }

    /// The time of both, run by run.
    fn with_mount(&self) -> Vec<Series> {
        let both = self.alone.iter().zip(&self.mounts);
        both.map(|(alone, mounts)| Series {
            runs: alone.runs.iter().zip(&mounts.runs).map(|(work, mount)| work + mount).collect(),
            ..Series::empty(&alone.name)
        })
        .collect()
    }

    fn print_beside(&self) {
        println!("| what | mount before, median s | requests to the disk | MB read |\n|---|---|---|---|");
        for (mounts, disk) in self.mounts.iter().zip(&self.disk) {
            println!("| {} | {:.3} | {} |", mounts.name, mounts.wall(), caches::median(disk));
        }
        println!();
    }
}

/// All stay mounted, and the round that does not count brings everything into memory.
fn warm(rounds: usize, all: &[FileSystem], work: impl Fn(&Path) -> Result<()>) -> Result<Vec<Series>> {
    let _mounted = all.iter().map(FileSystem::mount).collect::<Result<Vec<Mounted<'_>>>>()?;
    let candidates: Vec<_> = all.iter().map(|one| Candidate::new(&one.name, |_| here(|| work(one.root())))).collect();
    by_turns(rounds, &candidates)
}

fn mounting<'a>(one: &'a FileSystem) -> Candidate<'a> {
    Candidate::new(&one.name, move |_| here(|| one.mount().and_then(Mounted::unmount)))
}

fn find<'s>(all: &[&FileSystem], series: &'s [Series], role: Role) -> &'s Series {
    let at = all.iter().position(|one| one.role == role).expect("every role has its candidate");
    &series[at]
}

/// All have to show the same tree with the same contents, or nothing could be compared.
fn same_everywhere(all: &[FileSystem]) -> Result<Walked> {
    let mut expected = None;
    for one in all {
        let mounted = one.mount()?;
        let found = walk::read(one.root()).with_context(|| one.name.clone())?;
        mounted.unmount()?;
        let expected = *expected.get_or_insert(found);
        ensure!(found == expected, "{} shows {found:?}, the first one {expected:?}", one.name);
    }
    expected.context("no candidates")
}

/// Returns true if this process has a mount namespace of its own, so that no mount outlives it.
pub(crate) fn is_private() -> bool {
    let namespace = |process: u32| std::fs::read_link(format!("/proc/{process}/ns/mnt"));
    let (own, parents) = (namespace(std::process::id()), namespace(std::os::unix::process::parent_id()));
    own.is_ok_and(|own| parents.is_ok_and(|parents| own != parents))
}
