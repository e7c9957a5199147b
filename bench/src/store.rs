//! Item 3: into an object store.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::Setting;
use crate::measure::{Candidate, Run, by_turns, program};
use crate::report::Report;

/// Each round leaves copies of the tree on the disk.
const ROUNDS_MAX: usize = 5;

pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    for tree in &setting.trees {
        empty(setting, report, tree)?;
        full(setting, report, tree)?;
    }
    Ok(())
}

/// Gives every run a store of its own. Nothing is removed before the end: ext4 avoids inodes that were freed in the last
/// seconds, and looks for others one by one, which would be most of what is measured.
struct Stores<'s> {
    setting: &'s Setting,
    count: Cell<u32>,
}

impl Stores<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.setting.scratch.join(format!("{name}-{}", self.count.get()))
    }

    /// The next path of this name; everything before is on disk.
    fn next(&self) {
        self.count.set(self.count.get() + 1);
        rustix::fs::sync();
    }
}

fn into_store(mut command: Command, store: &Path, tree: &Path, image: &Path) -> Command {
    command.arg(format!("--digest-store={}", store.display())).arg(tree).arg(image);
    command
}

fn empty(setting: &Setting, report: &mut Report, tree: &Path) -> Result<()> {
    let name = tree.display();
    report.heading(&format!("{name} into an empty store"));
    let stores = Stores { setting, count: Cell::new(0) };
    let image = setting.scratch.join("image");
    let next = || {
        stores.next();
        Ok(())
    };
    let mut candidates = vec![
        Candidate::program("composefs", || into_store(setting.ours(), &stores.path("empty"), tree, &image))
            .prepared(next),
        Candidate::program("C 1.0.8", || into_store(setting.theirs(), &stores.path("empty"), tree, &image))
            .prepared(next),
    ];
    if let Some(cfsctl) = setting.cfsctl() {
        let create = cfsctl.clone();
        let stores = &stores;
        let run = move || {
            let mut command = Command::new(&create);
            command.arg("--repo").arg(stores.path("empty"));
            let created = program(command.args(["create-image", "--no-propagate-usr-to-root"]).arg(tree))?;
            let synced = program(Command::new("sync").arg("-f").arg(stores.path("empty")))?;
            Ok(Run { wall: created.wall + synced.wall, memory: created.memory })
        };
        let prepare = move || {
            stores.next();
            let mut init = Command::new(&cfsctl);
            init.arg("--repo").arg(stores.path("empty"));
            program(init.args(["init", "--insecure", "--algorithm=fsverity-sha256-12"])).map(drop)
        };
        candidates.push(Candidate::new("cfsctl 0.9.4 create-image, then sync -f", run).prepared(prepare));
    }
    let series = by_turns(setting.rounds.min(ROUNDS_MAX), &candidates)?;
    report.table(&series, 0);
    report.goal(format!("{name} into an empty store: over C"), series[0].speedup_over(&series[1]), 4.0);
    if let Some(cfsctl) = series.get(2) {
        report.goal(format!("{name} into an empty store: over cfsctl and sync"), series[0].speedup_over(cfsctl), 2.0);
    }
    Ok(())
}

fn full(setting: &Setting, report: &mut Report, tree: &Path) -> Result<()> {
    let name = tree.display();
    report.heading(&format!("{name} into a store that has everything"));
    let label = tree.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let path = |name: &str| setting.scratch.join(format!("full-{label}-{name}"));
    let [ours, theirs, image] = ["ours", "theirs", "image"].map(path);
    let digest_only = Candidate::program("composefs, digest only", || {
        let mut command = setting.ours();
        command.arg("--print-digest-only").arg(tree);
        command
    });
    let candidates = [
        Candidate::program("composefs", || into_store(setting.ours(), &ours, tree, &image)),
        Candidate::program("C 1.0.8", || into_store(setting.theirs(), &theirs, tree, &image)),
        digest_only,
        Candidate::program("composefs --verify-store", || {
            let mut command = setting.ours();
            command.arg("--verify-store");
            into_store(command, &ours, tree, &image)
        }),
    ];
    // The round that does not count fills the stores.
    let series = by_turns(setting.rounds, &candidates)?;
    report.table(&series, 0);
    report.goal(
        format!("{name} into a full store: digest only over it"),
        series[0].speedup_over(&series[2]),
        1.0 / 1.3,
    );
    Ok(())
}
