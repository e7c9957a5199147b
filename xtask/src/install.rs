//! `cargo xtask install`: the release build, under all its names.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{paths, process};

/// The names of the one program besides its own.
pub(crate) const NAMES: &[&str] =
    &["mkcomposefs", "composefs-info", "composefs-dump", "composefs-fuse", "mount.composefs"];
/// The one that mount(8) runs, and where alone it looks for it.
const MOUNT_HELPER: &str = "mount.composefs";
const MOUNT_HELPERS: &str = "/usr/sbin";

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Directory to install to.
    #[arg(long, default_value = "/usr/local")]
    prefix: PathBuf,
    /// Put everything below this directory instead of the root, as for a package.
    #[arg(long)]
    destdir: Option<PathBuf>,
}

/// Runs `cargo xtask install`.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(paths::checkout()).args(["build", "--release", "-p", "composefs-cli"]);
    process::run(&mut cargo)?;
    let below = |path: &Path| match &options.destdir {
        Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_owned(),
    };
    let program = options.prefix.join("bin/composefs");
    install(&paths::target().join("release/composefs"), &below(&program))?;
    for name in NAMES {
        link(Path::new("composefs"), &below(&options.prefix.join("bin").join(name)))?;
    }
    let helper = Path::new(MOUNT_HELPERS).join(MOUNT_HELPER);
    match link(&program, &below(&helper)) {
        Err(error) if error.downcast_ref().is_some_and(|e: &std::io::Error| not_permitted(e.kind())) => {
            println!("{MOUNT_HELPERS} is not writable: for `mount -t composefs`, have root run");
            println!("    ln -s {} {}", program.display(), helper.display());
            Ok(())
        }
        other => other,
    }
}

fn not_permitted(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// Copies a program beside its place and renames it there, so that one that runs is not disturbed.
fn install(from: &Path, to: &Path) -> Result<()> {
    let dir = to.parent().context("no parent")?;
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let new = tempfile::NamedTempFile::new_in(dir).with_context(|| format!("cannot write to {}", dir.display()))?;
    fs::copy(from, new.path()).with_context(|| format!("cannot copy {}", from.display()))?;
    fs::set_permissions(new.path(), fs::Permissions::from_mode(0o755))?;
    new.persist(to)?;
    println!("{}", to.display());
    Ok(())
}

fn link(target: &Path, at: &Path) -> Result<()> {
    fs::create_dir_all(at.parent().context("no parent")?)?;
    match fs::remove_file(at) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    symlink(target, at)?;
    println!("{} -> {}", at.display(), target.display());
    Ok(())
}
