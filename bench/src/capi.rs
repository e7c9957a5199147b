//! `lcfs_write_to` of our library and of the C one, called by the same program.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::Setting;
use crate::measure::{Candidate, Run, by_turns};
use crate::report::Report;

const ENTRIES: &str = "60000";

pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    report.heading(&format!("lcfs_write_to of a tree of {ENTRIES} entries, the digest too"));
    let program = build(setting)?;
    let libraries = setting.peers.parent().context("no peers")?.join("root/usr/lib/x86_64-linux-gnu");
    let ours = || {
        let mut command = Command::new(&program);
        command.env("LD_LIBRARY_PATH", &setting.scratch);
        command
    };
    let theirs = || {
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(&libraries).arg(&program);
        command
    };
    let series = by_turns(
        setting.rounds,
        &[
            Candidate::new("composefs", |_| write(setting, ours(), "ours")),
            Candidate::new("C 1.0.8", |_| write(setting, theirs(), "theirs")),
        ],
    )?;
    let image = |name: &str| std::fs::read(setting.scratch.join(name));
    let bytes = image("ours")?;
    ensure!(bytes == image("theirs")?, "the images differ");
    report.table(&series, bytes.len() as u64);
    for (name, mut command) in [("composefs", ours()), ("C 1.0.8", theirs())] {
        println!("* {name} calls the callback {} times", output(setting, &mut command, "image")?.1);
    }
    report.goal("lcfs_write_to over C", series[0].speedup_over(&series[1]), 4.0);
    Ok(())
}

fn build(setting: &Setting) -> Result<std::path::PathBuf> {
    let library = setting.composefs.canonicalize()?.with_file_name("libcomposefs.so");
    for name in ["libcomposefs.so", "libcomposefs.so.1"] {
        symlink(&library, setting.scratch.join(name))?;
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = setting.scratch.join("write-tree");
    let mut cc = Command::new("cc");
    cc.arg("-O2").arg("-I").arg(here.join("../crates/capi/include")).arg("-o").arg(&program);
    cc.arg(here.join("src/capi/write_tree.c")).arg("-L").arg(&setting.scratch).arg("-lcomposefs");
    ensure!(cc.status()?.success(), "cannot build the program that writes");
    Ok(program)
}

fn write(setting: &Setting, mut command: Command, name: &str) -> Result<Run> {
    Ok(Run { wall: output(setting, &mut command, name)?.0, memory: 0 })
}

fn output(setting: &Setting, command: &mut Command, name: &str) -> Result<(f64, u64)> {
    let output = command.arg(setting.scratch.join(name)).arg(ENTRIES).output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let (seconds, calls) = text.trim().split_once(' ').context("odd output")?;
    Ok((seconds.parse()?, calls.parse()?))
}
