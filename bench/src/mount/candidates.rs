//! The same tree in several file systems, and how each is mounted.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rustix::mount::UnmountFlags;

use crate::Setting;

use super::caches::Disk;

/// The role of a candidate in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Ours,
    Reference,
    Squashfs,
    Source,
    /// Ours, whose objects a script reads ahead: the last candidate but one, for contents alone.
    Scripted,
    /// Ours with `--warm`: the last candidate, for contents alone.
    Warmed,
    /// Shown without a comparison.
    Other,
}

/// A file system with the tree.
pub(super) struct FileSystem {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) disk: Disk,
    /// The words of the command that mounts it, if it has to be.
    mount: Vec<OsString>,
    root: PathBuf,
}

/// A mounted one. Dropping it unmounts.
pub(super) struct Mounted<'f> {
    at: Option<&'f Path>,
    /// The time of the mount, in seconds.
    pub(super) wall: f64,
}

impl FileSystem {
    /// Returns the directory of the tree.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn is_mounted(&self) -> bool {
        !self.mount.is_empty()
    }

    pub(super) fn mount(&self) -> Result<Mounted<'_>> {
        let Some((program, arguments)) = self.mount.split_first() else { return Ok(Mounted { at: None, wall: 0.0 }) };
        let start = Instant::now();
        let status = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status();
        let status = status.with_context(|| format!("cannot run {}", program.display()))?;
        let mounted = Mounted { at: Some(&self.root), wall: start.elapsed().as_secs_f64() };
        ensure!(status.success(), "{:?}: {status}", self.mount);
        Ok(mounted)
    }
}

impl Mounted<'_> {
    /// A loop device goes by itself: mount(8) and composefs ask for that.
    pub(super) fn unmount(mut self) -> Result<()> {
        match self.at.take() {
            Some(at) => rustix::mount::unmount(at, UnmountFlags::NOFOLLOW).with_context(|| at.display().to_string()),
            None => Ok(()),
        }
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            let _ = rustix::mount::unmount(at, UnmountFlags::NOFOLLOW);
        }
    }
}

const READ_AHEAD: &str = include_str!("read_ahead.py");
/// The faster one of its common compressions, at a fast level: the level shows in the size.
const SQUASHFS_OPTIONS: &[&str] = &["-comp", "zstd", "-Xcompression-level", "3", "-quiet", "-no-progress"];

/// Makes the images of `tree`, and says with what.
pub(super) fn set_up(setting: &Setting, tree: &Path) -> Result<Vec<FileSystem>> {
    let scratch = setting.scratch.canonicalize()?;
    let path = |name: &str| scratch.join(name);
    let [image, objects, squashfs, erofs] = ["mount.img", "mount.objects", "mount.squashfs", "mount.erofs"].map(path);
    said(setting.ours().arg(format!("--digest-store={}", objects.display())).arg(tree).arg(&image))?;
    said(Command::new("mksquashfs").arg(tree).arg(&squashfs).args(SQUASHFS_OPTIONS))?;
    said(Command::new("mkfs.erofs").arg(&erofs).arg(tree))?;
    println!("\n* {}, {}", version("mksquashfs", "-version")?, SQUASHFS_OPTIONS[..4].join(" "));
    println!("* {}, uncompressed", version("mkfs.erofs", "--version")?);

    let maker = Maker { scratch: &scratch };
    let basedir = format!("basedir={}", objects.display());
    let ours = |options: &str| {
        words([
            &setting.composefs,
            Path::new("mount"),
            &image,
            Path::new("-o"),
            Path::new(&(basedir.clone() + options)),
        ])
    };
    let looped = |kind: &str, image: &Path| {
        words(["mount", "-t", kind, "-o", "ro,loop"].map(Path::new).into_iter().chain([image]))
    };
    let mut reference = without_shell(&setting.peers.join("mount.composefs"))?;
    reference.extend(words([Path::new("-o"), Path::new(&basedir), &image]));

    let mut made = vec![
        maker.make("composefs", Role::Ours, ours(""))?,
        maker.make("composefs, readahead=off", Role::Other, ours(",readahead=off"))?,
        maker.make("C 1.0.8", Role::Reference, reference)?,
    ];
    if let Some(cfsctl) = setting.cfsctl() {
        let mount = of_repository(&cfsctl, &path("mount.repository"), tree)?;
        made.push(maker.make("cfsctl 0.9.4", Role::Other, mount)?);
    }
    made.push(maker.make("squashfs on a loop device", Role::Squashfs, looped("squashfs", &squashfs))?);
    made.push(maker.make("EROFS with the contents, on a loop device", Role::Other, looped("erofs", &erofs))?);
    let kind = said(Command::new("findmnt").args(["--noheadings", "--output=FSTYPE", "--target"]).arg(tree))?;
    made.push(FileSystem {
        name: format!("the source, {}", kind.trim()),
        role: Role::Source,
        disk: Disk::below(tree)?,
        mount: Vec::new(),
        root: tree.to_owned(),
    });
    let script =
        [Path::new("python3"), Path::new("-c"), Path::new(READ_AHEAD), &list_objects(setting, &image)?, &objects];
    let scripted = words(script).into_iter().chain(ours("")).collect();
    made.push(maker.make("composefs and a script that reads ahead", Role::Scripted, scripted)?);
    let warmed = ours("").into_iter().chain([OsString::from("--warm")]).collect();
    made.push(maker.make("composefs --warm", Role::Warmed, warmed)?);
    Ok(made)
}

/// Writes the names of the objects of an image to a file, in the order of the paths.
fn list_objects(setting: &Setting, image: &Path) -> Result<PathBuf> {
    let info = image.with_file_name("composefs-info");
    std::os::unix::fs::symlink(setting.composefs.canonicalize()?, &info)?;
    let dump = said(Command::new(&info).arg("dump").arg(image))?;
    let objects = dump.lines().filter(|line| line.split(' ').nth(10).is_some_and(|digest| digest.len() == 64));
    let names: Vec<&str> = objects.filter_map(|line| line.split(' ').nth(8)).collect();
    ensure!(!names.is_empty(), "the image has no objects");
    let list = image.with_file_name("mount.list");
    std::fs::write(&list, names.join("\n"))?;
    Ok(list)
}

struct Maker<'s> {
    scratch: &'s Path,
}

impl Maker<'_> {
    /// A candidate with a mount point of its own, which becomes the last word of `mount`.
    fn make(&self, name: &str, role: Role, mut mount: Vec<OsString>) -> Result<FileSystem> {
        let root = self.scratch.join(format!("mount.{}", name.replace([' ', ',', '='], "-")));
        std::fs::create_dir(&root)?;
        mount.push(root.clone().into());
        Ok(FileSystem { name: name.to_owned(), role, disk: Disk::below(self.scratch)?, mount, root })
    }
}

/// A repository of cfsctl with an image of `tree`, and the words that mount it.
fn of_repository(cfsctl: &Path, repository: &Path, tree: &Path) -> Result<Vec<OsString>> {
    let command = || {
        let mut command = Command::new(cfsctl);
        command.arg("--repo").arg(repository);
        command
    };
    said(command().args(["init", "--insecure", "--algorithm=fsverity-sha256-12"]))?;
    let id = said(command().args(["create-image", "--no-propagate-usr-to-root"]).arg(tree))?;
    let id = id.trim().rsplit(':').next().unwrap_or_default().to_owned();
    Ok(words([cfsctl, Path::new("--repo"), repository].into_iter().chain(["mount", "--fuse=no", &id].map(Path::new))))
}

/// Returns the command line that the script of a peer starts, as `cargo xtask peers` writes it, so that the start of
/// the shell is not measured.
fn without_shell(script: &Path) -> Result<Vec<OsString>> {
    let text = std::fs::read_to_string(script).with_context(|| script.display().to_string())?;
    let line = text.lines().find(|line| line.starts_with("exec '")).context("the peer is no such script")?;
    Ok(line.split('\'').skip(1).step_by(2).map(OsString::from).collect())
}

fn words<'w>(words: impl IntoIterator<Item = &'w Path>) -> Vec<OsString> {
    words.into_iter().map(OsString::from).collect()
}

/// The first line with the program's name, wherever it prints it, and whatever it thinks of the question.
fn version(program: &str, question: &str) -> Result<String> {
    let output = Command::new(program).arg(question).output().with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Ok(said.lines().find(|line| line.contains(program)).unwrap_or(program).to_owned())
}

/// Runs a program, which must succeed, and gives what it printed.
fn said(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}\n{complaint}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
