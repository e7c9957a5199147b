//! `cargo xtask peers`: the existing implementations, set up in the cache as black boxes to compare with.
//!
//! The versions are pinned: a comparison with another one would say something else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::apt::{self, Suite};
use crate::crates_io::{self, Profile};
use crate::paths;

/// The C implementation: version, suite, and the packages it runs with. They come with a libc of their own, so that the
/// machine may be older than the suite.
const C_VERSION: &str = "1.0.8";
const C_SUITE: &str = "sid";
const C_PACKAGES: &[&str] = &["composefs", "libcomposefs1", "libc6", "libssl3t64", "zlib1g", "libzstd1"];
const C_PROGRAMS: &[&str] = &["mkcomposefs", "composefs-info", "mount.composefs"];
/// The Rust implementation: its package, version and program.
const RUST_CRATE: &str = "composefs-ctl";
const RUST_VERSION: &str = "0.9.4";
const RUST_PROGRAM: &str = "cfsctl";

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Also the Rust implementation, which takes minutes to build.
    #[arg(long)]
    rust: bool,
}

/// The task: prints the directory with the programs.
pub(crate) fn run(options: &Options) -> Result<()> {
    let bin = if options.rust { set_up_all(Profile::Quick)? } else { set_up()? };
    println!("{}", bin.display());
    Ok(())
}

/// Sets up both implementations where they are missing and returns the directory of their programs. The Rust one is
/// built with this profile.
pub(crate) fn set_up_all(profile: Profile) -> Result<PathBuf> {
    let bin = set_up()?;
    let dir = paths::cache("peers")?;
    let _lock = paths::lock(&dir)?;
    crates_io::install(RUST_CRATE, RUST_VERSION, RUST_PROGRAM, &dir, profile)?;
    Ok(bin)
}

/// The C implementation, set up if need be; gives the directory with its programs.
pub(crate) fn set_up() -> Result<PathBuf> {
    let dir = paths::cache("peers")?;
    let _lock = paths::lock(&dir)?;
    let bin = dir.join("bin");
    if !bin.join(C_PROGRAMS[0]).exists() {
        set_up_c(&dir, &bin)?;
    }
    Ok(bin)
}

fn set_up_c(dir: &Path, bin: &Path) -> Result<()> {
    let packages: Vec<String> = C_PACKAGES.iter().map(|&name| name.to_owned()).collect();
    let work = tempfile::tempdir_in(dir)?;
    let root = work.path().join("root");
    let debs = Suite::open(C_SUITE)?.download(&packages, &work.path().join("deb"))?;
    let pinned = format!("composefs_{C_VERSION}");
    let is_pinned = |deb: &PathBuf| deb.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&pinned));
    ensure!(debs.iter().any(is_pinned), "Debian {C_SUITE} no longer has composefs {C_VERSION}: {debs:?}");
    for deb in &debs {
        apt::unpack(deb, &root)?;
    }
    let home = dir.join("root");
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    fs::rename(&root, &home)?;
    let find = |name: &str| find(&home, name)?.with_context(|| format!("no {name} in the packages"));
    let (loader, libc) = (find("ld-linux-x86-64.so.2")?, find("libc.so.6")?);
    let libraries = libc.parent().context("no parent")?;
    fs::create_dir_all(bin)?;
    // The first name is written last: it tells that all is there.
    for name in C_PROGRAMS.iter().rev() {
        let program = find(name)?;
        let words =
            [loader.as_path(), Path::new("--library-path"), libraries, Path::new("--argv0"), Path::new(name), &program];
        let words: Vec<_> = words.iter().map(|word| format!("'{}'", word.display())).collect();
        let script = bin.join(name);
        fs::write(&script, format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ")))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The regular file of that name below `dir`.
fn find(dir: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if let Some(found) = find(&entry.path(), name)? {
                return Ok(Some(found));
            }
        } else if kind.is_file() && entry.file_name() == name {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}
