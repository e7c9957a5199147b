//! `cargo xtask dist`: a tarball and Debian packages of the release build, in `target/dist`.
//!
//! [`Staged`] has all that is installed, once, as it would lie below `/`; the tarball and each package are parts of it.

mod deb;
mod man;
pub(crate) mod stage;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{paths, process};
use deb::Package;
use stage::Staged;

/// The version of the C library that ours takes the place of: packages that depend on it must be content with ours.
const REPLACES: &str = "1.0.8";

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Directory to write the files to.
    #[arg(long)]
    output: Option<PathBuf>,
}

/// The task: prints the files.
pub(crate) fn run(options: &Options) -> Result<()> {
    let output = options.output.clone().unwrap_or_else(|| paths::target().join("dist"));
    for file in build(&output)? {
        println!("{}", file.display());
    }
    Ok(())
}

/// Builds everything into a directory, and gives the files: the tarball, then the packages.
pub(crate) fn build(output: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(output).with_context(|| format!("cannot create {}", output.display()))?;
    let work = tempfile::tempdir()?;
    let version = VERSION;
    let staged = Staged::build(&work.path().join("stage"), REPLACES)?;
    let mut files = vec![tarball(&staged, output, version)?];
    for package in packages(&format!("{REPLACES}+rs{version}-1")) {
        let root = work.path().join(package.name);
        staged.copy(&root, |path| package.has(path))?;
        files.push(package.build(&root, output)?);
    }
    Ok(files)
}

fn packages(version: &str) -> [Package; 4] {
    [
        Package {
            name: "composefs",
            version: version.to_owned(),
            section: "admin",
            depends: Vec::new(),
            summary: "file system images whose file contents live once, by content",
            description: "composefs, mkcomposefs, composefs-info, composefs-dump, composefs-fuse and mount.composefs: \
                          build, look into, verify, mount and distribute read-only file system images.",
            paths: &[
                "usr/bin",
                "usr/sbin",
                "usr/share/man",
                "usr/share/bash-completion",
                "usr/share/zsh",
                "usr/share/fish",
                "usr/lib/systemd",
                "usr/share/doc/composefs",
            ],
            library: None,
        },
        Package {
            name: "composefs-initramfs",
            version: version.to_owned(),
            section: "admin",
            depends: Vec::new(),
            summary: "boot from a composefs image",
            description: "composefs-setup-root, which mounts the image that the kernel command line names as the root \
                          of the system, and the files by which dracut and initramfs-tools add it to an initramfs.",
            paths: &[
                "usr/lib/composefs",
                "usr/lib/dracut",
                "usr/share/initramfs-tools",
                stage::BOOT_PAGE,
                "usr/share/doc/composefs-initramfs",
            ],
            library: None,
        },
        Package {
            name: "libcomposefs1",
            version: version.to_owned(),
            section: "libs",
            depends: Vec::new(),
            summary: "library of composefs for programs of C",
            description: "libcomposefs.so.1, with the interface of the C library of that name, for ostree and others.",
            paths: &[stage::LIBDIR, "usr/share/doc/libcomposefs1"],
            library: Some("libcomposefs 1 libcomposefs1 (>= 1.0.8)"),
        },
        Package {
            name: "libcomposefs-dev",
            version: version.to_owned(),
            section: "libdevel",
            depends: vec![format!("libcomposefs1 (= {version})")],
            summary: "headers of composefs for programs of C",
            description: "What is needed to build programs with libcomposefs.so.1.",
            paths: &["usr/include", stage::DEVELOPMENT_LINK, stage::PKG_CONFIG, "usr/share/doc/libcomposefs-dev"],
            library: None,
        },
    ]
}

/// All of it, to be unpacked below `/` or `/usr/local`.
fn tarball(staged: &Staged, output: &Path, version: &str) -> Result<PathBuf> {
    let name = format!("composefs-{version}-{}-linux", std::env::consts::ARCH);
    let file = output.join(format!("{name}.tar.xz"));
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "-cJf"]).arg(&file);
    tar.arg(format!("--mtime=@{}", epoch()?)).arg(format!("--transform=s,^\\./usr,{name},S"));
    process::output(tar.arg("-C").arg(&staged.root).arg("./usr"))?;
    Ok(file)
}

/// Version of the project, as in Cargo.toml.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The time of the commit: the same commit gives the same files.
fn epoch() -> Result<String> {
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    let mut git = Command::new("git");
    Ok(process::text(git.current_dir(paths::checkout()).args(["log", "-1", "--format=%ct"]))?.trim().to_owned())
}
