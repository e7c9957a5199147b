//! The pull of an image that differs in a hundredth of its files from one that the store has, in the format
//! zstd:chunked.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::engine::{PullEngine, PullEngines};
use super::layout::{self, LayoutWriter};
use super::{Stage, row, table};
use crate::cost::Cost;
use crate::measure::{Watch, program};
use crate::report::Report;

/// One of this number of files differs.
const CHANGED_OF: usize = 100;

/// Number of times that podman may try to push.
const PUSH_TRIES: usize = 8;

pub(super) fn run(stage: &Stage<'_>, report: &mut Report) -> Result<()> {
    report.heading("Pull of an image of which 1 % of the files differ, zstd:chunked");
    if let Err(error) = make(stage) {
        println!("not measured: {error:#}");
        return Ok(());
    }
    table();
    let ours = update(stage, PullEngine::Ours, "chunked", &[])?;
    let partial = update(stage, PullEngine::Podman, "chunked", &[])?;
    let whole = update(stage, PullEngine::Podman, "plain", &[])?;
    println!("\n| what | bytes |\n|---|---|");
    for (name, bytes) in [("composefs", ours), ("podman, enable_partial_images", partial), ("podman, whole", whole)] {
        println!("| {name} | {bytes} |");
    }
    println!();
    report.goal("bytes of podman's whole pull over ours", whole as f64 / ours as f64, 10.0);
    report.goal("bytes of podman's partial pull over ours", partial as f64 / ours as f64, 1.0);
    Ok(())
}

/// Pulls the first image, then the second, and returns the bytes that the second one took.
fn update(stage: &Stage<'_>, engine: PullEngine, form: &str, more: &[&str]) -> Result<u64> {
    let store = stage.directory.join("store");
    stage.engines.init(engine, &store)?;
    let name = |version| format!("127.0.0.1:{}/{form}-{version}", stage.proxy.port);
    stage.engines.pull(engine, &store, &name("one"), more)?;
    let before = stage.proxy.all_bytes();
    let cost: Cost = stage.engines.pull(engine, &store, &name("two"), more)?;
    let bytes = stage.proxy.all_bytes() - before;
    row(&format!("{}, {form}", PullEngines::name(engine)), cost);
    PullEngines::remove(&store)?;
    Ok(bytes)
}

/// Makes both images with podman, each in the format zstd:chunked and compressed by gzip.
fn make(stage: &Stage<'_>) -> Result<()> {
    let small = stage.setting.trees.first().context("no tree is given")?;
    let tree = stage.directory.join("tree");
    let mut copy = Command::new("cp");
    program(copy.arg("-a").arg(small).arg(&tree), Watch::Clock)?;
    let store = stage.directory.join("build");
    let made = ["one", "two"].into_iter().try_for_each(|version| {
        if version == "two" {
            change(&tree)?;
        }
        build(stage, &store, &tree, version)
    });
    PullEngines::remove(&store)?;
    fs::remove_dir_all(&tree)?;
    made
}

/// Appends a line to every hundredth file.
fn change(tree: &Path) -> Result<()> {
    let files = layout::paths(tree, "", u64::MAX)?;
    let files = files.iter().map(|path| tree.join(path)).filter(|path| path.is_file() && !path.is_symlink());
    for path in files.step_by(CHANGED_OF) {
        OpenOptions::new().append(true).open(&path)?.write_all(b"changed\n")?;
    }
    Ok(())
}

fn build(stage: &Stage<'_>, store: &Path, tree: &Path, version: &str) -> Result<()> {
    let writer = LayoutWriter::new(stage.directory.join("archive"))?;
    let archive = writer.directory.join("tar");
    let paths = layout::paths(tree, "", stage.setting.layer_bytes)?;
    layout::archive(tree, &paths, &mut fs::File::create(&archive)?)?;
    let mut import = stage.engines.podman(store)?;
    import.arg("import").arg("--quiet").arg(&archive).arg(format!("localhost/{version}"));
    ensure!(import.stdin(Stdio::null()).output()?.status.success(), "{import:?} failed");
    for (form, compression) in [("chunked", "zstd:chunked"), ("plain", "gzip")] {
        let mut push = stage.engines.podman(store)?;
        push.args(["push", "--quiet", "--tls-verify=false", "--compression-format", compression]);
        push.arg(format!("localhost/{version}"));
        push.arg(format!("docker://{}/{form}-{version}", stage.registry.address));
        // podman 4.3 sometimes fails to write the format ("happened during read: short write"), or writes another
        // archive than the one it has.
        let name = format!("docker://{}/{form}-{version}", stage.registry.address);
        let mut check = Command::new(&stage.setting.composefs);
        check.args(["oci", "digest", "--tls-verify=false", &name]);
        let mut push_and_check = || program(&mut push, Watch::Clock).and_then(|_| program(&mut check, Watch::Clock));
        let mut pushed = push_and_check();
        for _ in 1..PUSH_TRIES {
            if pushed.is_ok() {
                break;
            }
            pushed = push_and_check();
        }
        pushed?;
    }
    fs::remove_file(&archive)?;
    Ok(())
}
