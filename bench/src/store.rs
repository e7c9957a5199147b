//! Item 3: into an object store.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::Setting;
use crate::measure::{Candidate, Run, by_turns, program};
use crate::report::Report;

pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    for tree in &setting.trees {
        empty(setting, report, tree)?;
        full(setting, report, tree)?;
    }
    Ok(())
}

/// Everything before is on disk, and nothing of this store is there.
fn clear(store: &Path) -> Result<()> {
    if store.exists() {
        std::fs::remove_dir_all(store)?;
    }
    rustix::fs::sync();
    Ok(())
}

fn into_store(mut command: Command, store: &Path, tree: &Path, image: &Path) -> Command {
    command.arg(format!("--digest-store={}", store.display())).arg(tree).arg(image);
    command
}

fn empty(setting: &Setting, report: &mut Report, tree: &Path) -> Result<()> {
    let name = tree.display();
    report.heading(&format!("{name} into an empty store"));
    let path = |name: &str| setting.scratch.join(name);
    let [ours, theirs, rust, image] = ["ours", "theirs", "rust", "image"].map(path);
    let mut candidates = vec![
        Candidate::program("composefs", || into_store(setting.ours(), &ours, tree, &image)).prepared(|| clear(&ours)),
        Candidate::program("C 1.0.8", || into_store(setting.theirs(), &theirs, tree, &image))
            .prepared(|| clear(&theirs)),
    ];
    if let Some(cfsctl) = setting.cfsctl() {
        let (repo, tree) = (rust.clone(), tree.to_owned());
        let prepare = cfsctl.clone();
        candidates.push(
            Candidate::new("cfsctl 0.9.4 create-image, then sync -f", move || {
                let created = program(Command::new(&cfsctl).arg("--repo").arg(&repo).arg("create-image").arg(&tree))?;
                let synced = program(Command::new("sync").arg("-f").arg(&repo))?;
                Ok(Run { wall: created.wall + synced.wall, memory: created.memory })
            })
            .prepared({
                let repo = rust.clone();
                move || {
                    clear(&repo)?;
                    program(Command::new(&prepare).arg("--repo").arg(&repo).args(["init", "--insecure"])).map(drop)
                }
            }),
        );
    }
    let series = by_turns(setting.rounds, &candidates)?;
    report.table(&series, 0);
    report.goal(format!("{name} into an empty store: over C"), series[0].speedup_over(&series[1]), 4.0);
    if let Some(cfsctl) = series.get(2) {
        report.goal(format!("{name} into an empty store: over cfsctl and sync"), series[0].speedup_over(cfsctl), 2.0);
    }
    drop(candidates);
    for store in [ours, theirs, rust] {
        clear(&store)?;
    }
    Ok(())
}

fn full(setting: &Setting, report: &mut Report, tree: &Path) -> Result<()> {
    let name = tree.display();
    report.heading(&format!("{name} into a store that has everything"));
    let path = |name: &str| setting.scratch.join(name);
    let (ours, theirs, image): (PathBuf, PathBuf, PathBuf) = (path("ours"), path("theirs"), path("image"));
    let digest_only = Candidate::program("composefs, digest only", || {
        let mut command = setting.ours();
        command.arg("--print-digest-only").arg(tree);
        command
    });
    let candidates = [
        Candidate::program("composefs", || into_store(setting.ours(), &ours, tree, &image)),
        Candidate::program("C 1.0.8", || into_store(setting.theirs(), &theirs, tree, &image)),
        digest_only,
    ];
    // The round that does not count fills the stores.
    let series = by_turns(setting.rounds, &candidates)?;
    report.table(&series, 0);
    report.goal(
        format!("{name} into a full store: digest only over it"),
        series[0].speedup_over(&series[2]),
        1.0 / 1.3,
    );
    drop(candidates);
    for store in [ours, theirs] {
        clear(&store)?;
    }
    Ok(())
}
