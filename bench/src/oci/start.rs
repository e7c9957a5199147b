//! The time from a command to the first output of a container: `composefs oci run`, and the runtime alone on the same
//! OCI bundle.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rustix::mount::UnmountFlags;

use super::engine::PullEngine;
use super::layout::{self, LayerCompression, LayoutWriter};
use super::{Stage, row_of_seconds};
use crate::disk::LoopDisk;
use crate::measure::{Watch, median, program};
use crate::report::Report;

/// Number of starts of each program that count.
const STARTS: usize = 20;
/// The most that a start may take in addition to that of the runtime, in seconds.
const ADDED_MAX: f64 = 0.1;
/// What the container runs.
const COMMAND: [&str; 3] = ["--", "/bin/echo", "started"];

pub(super) fn run(stage: &Stage<'_>, report: &mut Report) -> Result<()> {
    report.heading(&format!("From the command to the first output of a container, {STARTS} starts by turns"));
    if !Command::new("crun").arg("--version").output().is_ok_and(|found| found.status.success()) {
        println!("not measured: crun is not installed");
        return Ok(());
    }
    let disk = LoopDisk::new(&stage.directory, "ext4")?;
    let store = disk.at.join("store");
    pull(stage, &store)?;
    let bundle = Bundle::new(stage, &store, &disk.at.join("bundle"))?;
    let (mut ours, mut alone) = (Vec::new(), Vec::new());
    for round in 0..=STARTS {
        let mut run = stage.engines.with_repository(PullEngine::Ours, &store);
        run.args(["oci", "run", "--rm", "--cgroups=disabled", "image"]).args(COMMAND);
        let mut crun = Command::new("crun");
        crun.args(["--cgroup-manager=disabled", "run", "--bundle"]).arg(&bundle.at).arg(format!("bench-{round}"));
        for (command, seconds) in [(&run, &mut ours), (&crun, &mut alone)] {
            let took = first_output(&mut with_second_version(command))?;
            if round > 0 {
                seconds.push(took);
            }
        }
    }
    println!("| what | median ms | min | max |\n|---|---|---|---|");
    row_of_seconds("composefs oci run", &ours);
    row_of_seconds("crun run, on the bundle of composefs oci bundle", &alone);
    println!();
    let added = median(ours.iter().zip(&alone).map(|(ours, alone)| ours - alone));
    report.figure("ms in addition to those of crun", added * 1e3);
    report.goal("100 ms over the time in addition to that of crun", ADDED_MAX / added, 1.0);
    Ok(())
}

/// Pulls an image of one layer, the small tree, into a new repository.
fn pull(stage: &Stage<'_>, store: &Path) -> Result<()> {
    let tree = stage.setting.trees.first().context("no tree is given")?;
    let writer = LayoutWriter::new(stage.directory.join("start"))?;
    let paths = layout::paths(tree, "", stage.setting.layer_bytes)?;
    let layer = writer.layer(LayerCompression::Zstd, |out| layout::archive(tree, &paths, out))?;
    writer.finish(&[layer])?;
    stage.engines.init(PullEngine::Ours, store)?;
    let mut pull = stage.engines.with_repository(PullEngine::Ours, store);
    pull.args(["oci", "pull", "--name=image"]).arg(format!("oci:{}:image", writer.directory.display()));
    program(&mut pull, Watch::Clock)?;
    Ok(std::fs::remove_dir_all(&writer.directory)?)
}

/// An OCI bundle whose mounts end with it.
struct Bundle {
    at: std::path::PathBuf,
}

impl Bundle {
    fn new(stage: &Stage<'_>, store: &Path, at: &Path) -> Result<Self> {
        let bundle = Self { at: at.to_owned() };
        let mut make = stage.engines.with_repository(PullEngine::Ours, store);
        make.args(["oci", "bundle", "--cgroups=disabled", "image"]).arg(at).args(COMMAND);
        program(&mut make, Watch::Clock)?;
        Ok(bundle)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        for mount in ["rootfs", "lower"] {
            let _ = rustix::mount::unmount(self.at.join(mount), UnmountFlags::NOFOLLOW);
        }
    }
}

/// Returns a command that sees control groups of the second version alone, where the machine has those of the first
/// too: older versions of crun refuse such a machine. Both programs are started in the same way.
fn with_second_version(command: &Command) -> Command {
    let mount = match Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        true => ":",
        false => "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
    };
    let mut wrapped = Command::new("unshare");
    wrapped.args(["-m", "sh", "-ec", &format!("{mount}; exec \"$@\""), "sh"]);
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped
}

/// Returns the seconds until the first byte of a program's output. The program must succeed.
fn first_output(command: &mut Command) -> Result<f64> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let mut output = child.stdout.take().context("no pipe")?;
    let first = output.read_exact(&mut [0]);
    let took = start.elapsed().as_secs_f64();
    std::io::copy(&mut output, &mut std::io::sink())?;
    let status = child.wait()?;
    ensure!(status.success() && first.is_ok(), "{command:?}: {status}");
    Ok(took)
}
