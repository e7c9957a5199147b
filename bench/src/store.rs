//! Item 3: into an object store.

mod clones;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::Setting;
use crate::measure::{Candidate, Run, Series, Watch, by_turns, program};
use crate::report::Report;

/// Each round leaves copies of the tree on the disk.
const ROUNDS_MAX: usize = 5;

pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    for tree in &setting.trees {
        empty(setting, report, tree)?;
        full(setting, report, tree)?;
    }
    // The small one: all of it is copied into each.
    setting.trees.first().map_or(Ok(()), |tree| clones::run(setting, report, tree))
}

/// Gives every run a directory of its own for its store. Nothing is removed before the end: ext4 avoids inodes that
/// were freed in the last minutes, and without a journal looks for others one by one, which would be most of what is
/// measured.
struct Stores<'s> {
    root: &'s Path,
    count: Cell<u32>,
}

impl<'s> Stores<'s> {
    /// Below a directory. If it is on ext4 every run gets a part of the disk of its own, as directories of the root do
    /// (`chattr +T`), whatever was removed in that of the directory.
    fn new(root: &'s Path) -> Self {
        let _ = Command::new("chattr").arg("+T").arg(root).stderr(Stdio::null()).status();
        Self { root, count: Cell::new(0) }
    }

    fn directory(&self) -> PathBuf {
        self.root.join(format!("run-{}", self.count.get()))
    }

    /// The next path; everything before is on disk.
    fn next(&self) -> Result<()> {
        self.count.set(self.count.get() + 1);
        std::fs::create_dir(self.directory())?;
        rustix::fs::sync();
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.directory().join("store")
    }

    fn image(&self) -> PathBuf {
        self.directory().join("image")
    }
}

fn into_store(mut command: Command, store: &Path, tree: &Path, image: &Path) -> Command {
    command.arg(format!("--digest-store={}", store.display())).arg(tree).arg(image);
    command
}

fn empty(setting: &Setting, report: &mut Report, tree: &Path) -> Result<()> {
    let name = tree.display();
    report.heading(&format!("{name} into an empty store"));
    let root = setting.scratch.join(format!("empty-{}", tree.file_name().unwrap_or_default().display()));
    std::fs::create_dir(&root)?;
    let series = into_empty_stores(setting, tree, &root)?;
    report.table(&series, 0);
    report.goal(format!("{name} into an empty store: over C"), series[0].speedup_over(&series[1]), 4.0);
    if let Some(cfsctl) = series.get(2) {
        report.goal(format!("{name} into an empty store: over cfsctl and sync"), series[0].speedup_over(cfsctl), 2.0);
    }
    Ok(())
}

/// All programs fill stores below `root`: ours, the C tool, and cfsctl where it is set up.
fn into_empty_stores(setting: &Setting, tree: &Path, root: &Path) -> Result<Vec<Series>> {
    let stores = Stores::new(root);
    let next = || stores.next();
    let mut candidates = vec![
        Candidate::program("composefs", || into_store(setting.ours(), &stores.path(), tree, &stores.image()))
            .prepared(next),
        Candidate::program("C 1.0.8", || into_store(setting.theirs(), &stores.path(), tree, &stores.image()))
            .prepared(next),
    ];
    if let Some(cfsctl) = setting.cfsctl() {
        let create = cfsctl.clone();
        let stores = &stores;
        let run = move |watch| {
            let mut command = Command::new(&create);
            command.arg("--repo").arg(stores.path());
            let created = program(command.args(["create-image", "--no-propagate-usr-to-root"]).arg(tree), watch)?;
            let synced = program(Command::new("sync").arg("-f").arg(stores.path()), Watch::Clock)?;
            Ok(Run { wall: created.wall + synced.wall, memory: created.memory })
        };
        let prepare = move || {
            stores.next()?;
            let mut init = Command::new(&cfsctl);
            init.arg("--repo").arg(stores.path());
            program(init.args(["init", "--insecure", "--algorithm=fsverity-sha256-12"]), Watch::Clock).map(drop)
        };
        candidates.push(Candidate::new("cfsctl 0.9.4 create-image, then sync -f", run).prepared(prepare));
    }
    by_turns(setting.rounds.min(ROUNDS_MAX), &candidates)
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
        Candidate::program("composefs, no image written", || {
            let mut command = setting.ours();
            command.arg("--print-digest-only").arg(format!("--digest-store={}", ours.display())).arg(tree);
            command
        }),
        Candidate::program("composefs --verify-store", || {
            let mut command = setting.ours();
            command.arg("--verify-store");
            into_store(command, &ours, tree, &image)
        }),
    ];
    // The round that does not count fills the stores.
    let series = by_turns(setting.rounds, &candidates)?;
    report.table(&series, 0);
    let digest_only = &series[2];
    report.figure(format!("{name} into a full store: digest only over it"), series[0].speedup_over(digest_only));
    report.figure("where no image is written and waited for", series[3].speedup_over(digest_only));
    Ok(())
}
