//! Item 2: the digest of a tree, without storing.

use std::process::Command;

use anyhow::Result;

use crate::measure::{Candidate, by_turns, here};
use crate::report::Report;
use crate::{Setting, floor};

pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    for tree in &setting.trees {
        let files = floor::list(tree)?;
        let bytes = floor::walk(&files)?;
        let name = tree.display();
        report.heading(&format!("Digest of {name} ({} files, {} MB), nothing stored", files.len(), bytes / 1_000_000));
        let mut candidates = vec![
            Candidate::program("composefs", || {
                let mut command = setting.ours();
                command.arg("--print-digest-only").arg(tree);
                command
            }),
            Candidate::program("C 1.0.8", || {
                let mut command = setting.theirs();
                command.arg("--print-digest-only").arg(tree);
                command
            }),
            Candidate::new("floor: stat, list xattrs, open, read, hash, close", |_| {
                here(|| floor::walk(&files).map(drop))
            }),
        ];
        if let Some(cfsctl) = setting.cfsctl() {
            candidates.push(Candidate::program("cfsctl 0.9.4", move || {
                let mut command = Command::new(&cfsctl);
                command.args(["--no-repo", "--hash=sha256", "compute-id", "--no-propagate-usr-to-root"]).arg(tree);
                command
            }));
        }
        let series = by_turns(setting.rounds, &candidates)?;
        report.table(&series, bytes as u64);
        report.goal(format!("{name}: over C"), series[0].speedup_over(&series[1]), 3.5);
        report.goal(format!("{name}: floor over ours"), series[0].speedup_over(&series[2]), 1.0 / 1.25);
        if let Some(cfsctl) = series.get(3) {
            report.goal(format!("{name}: over cfsctl"), series[0].speedup_over(cfsctl), 4.5);
        }
        let memory = series[1].memory as f64 / series[0].memory as f64;
        report.goal(format!("{name}: memory of C over ours"), memory, 1.0);
    }
    Ok(())
}
