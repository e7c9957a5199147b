//! The image server in user space, beside the kernel's mount and the C tool's server.
//!
//! What is measured is CPU time, of this process and of the server together: on a shared machine the wall time of two
//! processes that wait for each other says little. The caches of the file system are cold where that is said, the
//! objects themselves are in memory.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::mount::UnmountFlags;

use crate::Setting;
use crate::measure::Series;
use crate::mount::{is_private, walk};
use crate::report::Report;

/// What is done with each mount, in this order.
const STEPS: [&str; 5] = ["walk, cold", "walk, warm", "all contents, cold", "all contents, warm", "open all files"];

/// The least number of rounds: a round takes some seconds only.
const MIN_ROUNDS: usize = 5;

struct MeasuredWay {
    name: &'static str,
    program: PathBuf,
    /// The name that the program is called by.
    argv0: &'static str,
    words: Vec<String>,
    is_server: bool,
}

/// A mount that goes with this value.
struct MeasuredMount<'t> {
    target: &'t Path,
    server: Option<Child>,
}

pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    ensure!(is_private(), "the mounts are measured as root and in a mount namespace of their own: cargo xtask bench");
    let tree = setting.trees.first().context("no tree is given")?;
    let (image, objects) = (setting.scratch.join("fuse.img"), setting.scratch.join("fuse.objects"));
    let target = setting.scratch.join("fuse.mnt");
    fs::create_dir(&target)?;
    let mut make = setting.ours();
    make.arg(format!("--digest-store={}", objects.display())).arg(tree).arg(&image);
    ensure!(make.status()?.success(), "{make:?}");
    let ways = ways(setting, &image, &objects);
    let mut series: Vec<Vec<Series>> =
        STEPS.iter().map(|_| ways.iter().map(|way| Series::empty(way.name)).collect()).collect();
    let mut bytes = 0;
    for round in 0..=setting.rounds.max(MIN_ROUNDS) {
        for (at, way) in ways.iter().enumerate() {
            let (seconds, read) = one_round(way, &target).with_context(|| way.name)?;
            bytes = read;
            // The first round brings the objects into memory.
            for (step, second) in series.iter_mut().zip(seconds).filter(|_| round > 0) {
                step[at].runs.push(second);
            }
        }
    }
    print(setting, report, &series, bytes);
    Ok(())
}

fn ways(setting: &Setting, image: &Path, objects: &Path) -> Vec<MeasuredWay> {
    let options = format!("source={},basedir={}", image.display(), objects.display());
    let fuse = |name, program: &Path, more: &[&str]| MeasuredWay {
        name,
        program: program.to_owned(),
        argv0: "composefs-fuse",
        words: ["-f", "-o", &options].iter().chain(more).map(|&word| word.to_owned()).collect(),
        is_server: true,
    };
    let words = vec![image.display().to_string(), "-o".to_owned(), format!("basedir={}", objects.display())];
    let kernel = MeasuredWay {
        name: "kernel's mount",
        program: setting.composefs.clone(),
        argv0: "mount.composefs",
        words,
        is_server: false,
    };
    let mut ways = vec![
        kernel,
        fuse("ours, verified", &setting.composefs, &[]),
        fuse("ours, not verified", &setting.composefs, &["--insecure"]),
    ];
    let theirs = setting.peers.join("composefs-fuse");
    if theirs.exists() {
        ways.push(fuse("C, not verified", &theirs, &[]));
    }
    ways
}

/// Returns the seconds of each step, and the bytes of all contents.
fn one_round(way: &MeasuredWay, target: &Path) -> Result<([f64; STEPS.len()], u64)> {
    let mounted = MeasuredMount::new(way, target)?;
    let mut files = Vec::new();
    let mut bytes = 0;
    let mut seconds = [0.0; STEPS.len()];
    let mut before = mounted.cpu_seconds()?;
    for (step, second) in seconds.iter_mut().enumerate() {
        match step {
            0 => files = walk::files(target)?,
            1 => drop(walk::files(target)?),
            2 | 3 => bytes = walk::read(target)?.bytes,
            _ => {
                for file in &files {
                    fs::File::open(file).with_context(|| file.display().to_string())?;
                }
            }
        }
        let now = mounted.cpu_seconds()?;
        *second = now - before;
        before = now;
    }
    Ok((seconds, bytes))
}

fn print(setting: &Setting, report: &mut Report, series: &[Vec<Series>], bytes: u64) {
    for (step, series) in STEPS.iter().zip(series) {
        report.heading(&format!("In user space: {step} (CPU time of client and server)"));
        report.table(series, if step.contains("contents") { bytes } else { 0 });
    }
    let [_, walk, cold, warm, open] = series else { return };
    for (what, series) in [("walk, warm", walk), ("all contents, warm", warm), ("open all files", open)] {
        if let [kernel, ours, ..] = series.as_slice() {
            report.goal(format!("{what}: the kernel's mount over ours, verified"), ours.speedup_over(kernel), 1.0);
        }
    }
    if let [_, ours, plain, theirs @ ..] = cold.as_slice() {
        let what = "all contents, cold: ours, not verified, over ours, verified";
        report.goal(what, ours.speedup_over(plain), 1.0 / 1.25);
        match theirs {
            [theirs, ..] => {
                let what = "all contents, cold: C, not verified, over ours, verified";
                report.goal(what, ours.speedup_over(theirs), 1.0 / 0.9);
            }
            [] => println!("* the C tool's server is not in {}: not measured", setting.peers.display()),
        }
    }
}

impl<'t> MeasuredMount<'t> {
    fn new(way: &MeasuredWay, target: &'t Path) -> Result<Self> {
        let mut command = Command::new(&way.program);
        command.arg0(way.argv0).args(&way.words).arg(target).stdin(Stdio::null());
        if !way.is_server {
            // mount.composefs takes its operands in this order: image, mount point.
            ensure!(command.status()?.success(), "{command:?}");
            return Ok(Self { target, server: None });
        }
        let before = device(target)?;
        let mounted = Self { target, server: Some(command.spawn()?) };
        for _ in 0..1000 {
            if device(target)? != before {
                return Ok(mounted);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("{command:?} does not mount");
    }

    fn cpu_seconds(&self) -> Result<f64> {
        let own = cpu_seconds(std::process::id())?;
        Ok(own + self.server.as_ref().map_or(Ok(0.0), |server| cpu_seconds(server.id()))?)
    }
}

impl Drop for MeasuredMount<'_> {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.target, UnmountFlags::DETACH);
        if let Some(server) = &mut self.server {
            let _ = server.wait();
        }
    }
}

fn device(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(fs::metadata(path)?.dev())
}

/// Returns the CPU time of all threads that a process has now.
fn cpu_seconds(process: u32) -> Result<f64> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let first = text.split(' ').next().context("schedstat is empty")?;
        nanoseconds += first.parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e9)
}
