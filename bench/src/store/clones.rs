//! On a file system that shares extents, a store takes no copies: beside it stands a copy of the tree by `cp`, with and
//! without shared extents, and the digest alone.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use super::into_empty_stores;
use crate::Setting;
use crate::disk::LoopDisk;
use crate::measure::{Candidate, by_turns};
use crate::report::Report;

pub(super) fn run(setting: &Setting, report: &mut Report, tree: &Path) -> Result<()> {
    for kind in ["xfs", "btrfs"] {
        report.heading(&format!("{} into an empty store, both on {kind} on a loop device", tree.display()));
        match LoopDisk::new(&setting.scratch, kind) {
            Ok(disk) => beside_copies(setting, report, tree, &disk)?,
            Err(error) => println!("not measured: {error:#}"),
        }
    }
    Ok(())
}

fn beside_copies(setting: &Setting, report: &mut Report, tree: &Path, disk: &LoopDisk) -> Result<()> {
    let (source, stores) = (disk.at.join("tree"), disk.at.join("stores"));
    std::fs::create_dir(&stores)?;
    copy(tree, &source, "auto")?;
    rustix::fs::sync();
    // Older than what might have changed unnoticed.
    std::thread::sleep(std::time::Duration::from_secs(4));
    let series = into_empty_stores(setting, &source, &stores)?;
    report.table(&series, 0);
    let (digest_only, target) = (digest_only(setting, &source), disk.at.join("copy"));
    let copies = ["always", "never"].map(|reflink| {
        let (source, target) = (&source, &target);
        let prepare = move || {
            if target.exists() {
                std::fs::remove_dir_all(target)?;
            }
            rustix::fs::sync();
            Ok(())
        };
        Candidate::new(&format!("cp -a --reflink={reflink}, then sync"), move |_| {
            crate::measure::here(|| {
                copy(source, target, reflink)?;
                rustix::fs::sync();
                Ok(())
            })
        })
        .prepared(prepare)
    });
    let [always, never] = copies;
    let beside = by_turns(setting.rounds.min(super::ROUNDS_MAX), &[always, never, digest_only])?;
    report.table(&beside, 0);
    let copied = beside[0].wall() + beside[2].wall();
    report.figure("a clone of the tree by cp and the digest alone, over the store", copied / series[0].wall());
    report.figure("over C", series[0].speedup_over(&series[1]));
    if let Some(cfsctl) = series.get(2) {
        report.figure("over cfsctl and sync", series[0].speedup_over(cfsctl));
    }
    Ok(())
}

fn digest_only<'s>(setting: &'s Setting, tree: &'s Path) -> Candidate<'s> {
    Candidate::program("composefs, digest only", move || {
        let mut command = setting.ours();
        command.arg("--print-digest-only").arg(tree);
        command
    })
}

fn copy(from: &Path, to: &Path, reflink: &str) -> Result<()> {
    let mut cp = Command::new("cp");
    cp.args(["-a", &format!("--reflink={reflink}")]).arg(from).arg(to);
    ensure!(cp.stdin(Stdio::null()).status()?.success(), "{cp:?} failed");
    Ok(())
}
