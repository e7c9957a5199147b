//! The trees of updates: what Debian and npm had once, and what they have now.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::apt_versions::versions_of;

/// How the old and the new tree of an update are made.
pub(super) enum Trees {
    /// Debian packages, in the oldest and the newest version that the sources of apt have.
    Packages(&'static [&'static str]),
    /// Of the packages whose names match an expression, the one with the lowest number and the one with the highest.
    Names(&'static str),
    /// Packages of npm and all that they need, as of two dates.
    Npm(&'static [&'static str], [&'static str; 2]),
    /// Minimal systems of two releases of Debian.
    Releases([&'static str; 2]),
}

impl Trees {
    /// Makes the directories `old` and `new`.
    pub(super) fn make(&self, place: &Path) -> Result<()> {
        for (number, side) in ["old", "new"].into_iter().enumerate() {
            let tree = place.join(side);
            fs::create_dir(&tree)?;
            match self {
                Trees::Packages(names) => {
                    for (name, all) in versions_of(names)? {
                        let version = if number == 0 { all.first() } else { all.last() };
                        download(&format!("{name}={}", version.context("no version")?), &tree)?;
                    }
                }
                Trees::Names(expression) => {
                    let all = names(expression)?;
                    let name = if number == 0 { all.first() } else { all.last() };
                    download(name.with_context(|| format!("no package matches {expression}"))?, &tree)?;
                }
                Trees::Npm(packages, dates) => npm(packages, dates[number], &tree)?,
                Trees::Releases(releases) => release(releases[number], &place.join("debs"), &tree)?,
            }
        }
        Ok(())
    }
}

/// Returns the packages whose names match an expression, the lowest number first.
fn names(expression: &str) -> Result<Vec<String>> {
    let found = output(Command::new("apt-cache").args(["search", "--names-only", expression]))?;
    let mut names: Vec<String> = found.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    let numbers = |name: &str| -> Vec<u64> {
        name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
    };
    names.sort_by_key(|name| numbers(name));
    Ok(names)
}

fn npm(packages: &[&str], date: &str, tree: &Path) -> Result<()> {
    let fixed = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"];
    let (date, prefix) = (format!("--before={date}"), format!("--prefix={}", tree.display()));
    output(Command::new("npm").args(fixed).args([date, prefix]).args(packages).current_dir(tree))?;
    Ok(())
}

fn release(name: &str, root: &Path, tree: &Path) -> Result<()> {
    merge_usr(tree)?;
    output(Command::new("debootstrap").args(["--variant=minbase", "--download-only", name]).arg(root))?;
    unpack_all(&root.join("var/cache/apt/archives"), tree)?;
    fs::remove_dir_all(root)?;
    Ok(())
}

fn download(package: &str, tree: &Path) -> Result<()> {
    let debs = tree.with_extension("debs");
    fs::create_dir(&debs)?;
    output(Command::new("apt-get").args(["-q", "download", package]).current_dir(&debs))?;
    unpack_all(&debs, tree)?;
    fs::remove_dir_all(&debs)?;
    Ok(())
}

/// Unpacks all packages of a directory. A symlink to a directory stays one, as on an installed system.
fn unpack_all(debs: &Path, tree: &Path) -> Result<()> {
    let found: Vec<PathBuf> = fs::read_dir(debs)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let is_package = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    for deb in found.iter().filter(is_package) {
        let mut tar = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(deb).stdout(Stdio::piped()).spawn()?;
        let archive = tar.stdout.take().context("dpkg-deb has no output")?;
        output(Command::new("tar").args(["-x", "--keep-directory-symlink", "-C"]).arg(tree).stdin(archive))?;
        ensure!(tar.wait()?.success(), "dpkg-deb cannot read {}", deb.display());
    }
    Ok(())
}

/// Makes the symlinks of a system whose programs and libraries are all below `usr`.
fn merge_usr(tree: &Path) -> Result<()> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(tree.join("usr").join(name))?;
        symlink(Path::new("usr").join(name), tree.join(name))?;
    }
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}: install its package"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
