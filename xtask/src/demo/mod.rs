//! `cargo xtask demo`: the main job on real input, step by step as it happens.
//!
//! One script tells the story. Where the file system of the target directory has no fs-verity the script runs there all
//! the same, unverified, and then again on a part of the tree in a virtual machine, whose kernel can verify.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::install::NAMES;
use crate::kernel::Kernel;
use crate::test::programs::Programs;
use crate::vm::{End, Machine, Stream};
use crate::{paths, process, setup};

const STORY: &str = include_str!("story.sh");
/// Part of the tree that goes into the virtual machine: emulation is too slow for more.
const SAMPLE_FILES: usize = 200;
const SAMPLE_BYTES: u64 = 4 << 20;

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The tree to make an image of.
    #[arg(default_value = "/usr/share/doc")]
    tree: PathBuf,
}

/// Runs `cargo xtask demo`.
pub(crate) fn run(options: &Options) -> Result<()> {
    if process::text(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!("not root: mounting takes root; run `cargo xtask demo` as root");
    }
    let tree = options.tree.canonicalize().with_context(|| format!("cannot find {}", options.tree.display()))?;
    setup::run()?;
    println!("building the program");
    let programs = Programs::build_product()?;
    let work = tempfile::Builder::new().prefix("demo-").tempdir_in(paths::target())?;
    let verified = has_fs_verity(work.path())?;
    let release = process::text(Command::new("uname").arg("-r"))?;
    let with = if verified { "with" } else { "without" };
    println!("\nHere: Linux {}, {with} fs-verity below {}", release.trim(), work.path().display());
    let told = tell_here(&programs, &tree, work.path(), verified);
    told?;
    let mut ran = vec![format!("ran: the whole story here, on {}, {with} fs-verity", tree.display())];
    if !verified {
        ran.push("skipped here: every step that verifies, as this file system or kernel has no fs-verity".to_owned());
        let release = tell_in_vm(&programs, &sample(&tree, work.path())?)?;
        ran.push(format!(
            "ran: the whole story in a virtual machine with Linux {release}, verified, on a part of the tree"
        ));
    }
    println!("\nEverything went as told, and is cleaned up.\n{}", ran.join("\n"));
    Ok(())
}

/// Tries it on a file: whether the kernel has it is not all, the file system must have it switched on.
fn has_fs_verity(dir: &Path) -> Result<bool> {
    let probe = dir.join("probe");
    fs::write(&probe, "probe")?;
    let enabled = Command::new("fsverity").arg("enable").arg(&probe).output().context("cannot run fsverity")?;
    fs::remove_file(&probe)?;
    Ok(enabled.status.success())
}

fn tell_here(programs: &Programs, tree: &Path, work: &Path, verified: bool) -> Result<()> {
    let bin = work.join("bin");
    fs::create_dir(&bin)?;
    for name in NAMES {
        std::os::unix::fs::symlink(&programs.composefs, bin.join(name))?;
    }
    let story = work.join("story");
    fs::create_dir(&story)?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell.args(["-c", STORY]).env("TREE", tree).env("WORK", &story);
    shell.env("VERIFIED", if verified { "yes" } else { "no" });
    shell.env("PATH", format!("{}:{path}:/usr/sbin:/sbin", bin.display()));
    process::run(&mut shell).context("the story did not go as told")
}

/// The first files of the tree, as many as are fit for a guest, with their directories.
fn sample(tree: &Path, work: &Path) -> Result<PathBuf> {
    let sample = work.join("sample");
    let (mut files, mut bytes) = (0, 0);
    let mut waiting = vec![PathBuf::new()];
    while let Some(below) = waiting.pop() {
        fs::create_dir(sample.join(&below))?;
        let mut entries = fs::read_dir(tree.join(&below))?.collect::<std::io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = below.join(entry.file_name());
            let meta = entry.metadata()?;
            if meta.is_dir() && files < SAMPLE_FILES {
                waiting.push(path);
            } else if meta.is_file() && files < SAMPLE_FILES && bytes + meta.len() <= SAMPLE_BYTES {
                fs::copy(entry.path(), sample.join(&path))?;
                files += 1;
                bytes += meta.len();
            }
        }
    }
    Ok(sample)
}

/// Tells the story in a guest; returns the release of its kernel.
fn tell_in_vm(programs: &Programs, sample: &Path) -> Result<String> {
    let kernel = Kernel::Stable.fetch()?;
    println!("\nThe verified half: a virtual machine with Linux {}, on a part of the tree", kernel.release);
    let script = format!("export TREE=/tree WORK=/mnt VERIFIED=yes\n{STORY}");
    let mut machine = Machine::new(kernel, &script)?.timeout(Duration::from_secs(300));
    programs.install(machine.payload())?;
    for tool in ["mount", "umount", "fsverity"] {
        machine.payload().program(tool)?;
    }
    machine.payload().tree("tree", sample);
    let exit = machine.run(&mut |stream, line| match stream {
        Stream::Stdout => println!("{line}"),
        Stream::Stderr | Stream::Qemu => eprintln!("{line}"),
    })?;
    Ok(exit.expect(End::Exited(0))?.release)
}
