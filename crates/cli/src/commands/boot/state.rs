//! The state of an image on the disk, as `composefs-setup-root` expects it (`docs/boot.md`).

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;

use anyhow::Context as _;
use libcomposefs_content::NoProgress;
use libcomposefs_image::Digest;
use libcomposefs_image::display::shown;
use libcomposefs_image::tree::{InodeId, Kind, Tree};
use libcomposefs_repo::Repository;
use libcomposefs_store::Basedirs;
use libcomposefs_store::extract::{ExtractReport, Options, Selection, extract};
use rustix::process::geteuid;

use crate::error_text::with_remedy;

/// The `/var` that images share, below the disk.
const SHARED_VAR: &str = "state/os/default/var";

/// Makes what is missing of the state of an image. It is on disk when this returns.
///
/// `/var` is that of the booted image, or the one that images share. The first image on a disk has its own `/var`
/// copied there.
pub(super) fn prepare(
    sysroot: &Path,
    repository: &Repository,
    digest: &Digest,
    tree: &Tree,
    booted: Option<&Digest>,
) -> anyhow::Result<()> {
    let of = |digest: &Digest| format!("state/deploy/{}", digest.to_hex());
    let own = sysroot.join(of(digest));
    make_directory(&own)?;
    let etc = own.join("etc");
    if etc.symlink_metadata().is_err() {
        let upper = etc.join("upper");
        make_directory(&upper)?;
        take_attributes(&upper, tree)?;
        fs::DirBuilder::new().mode(0o700).create(etc.join("work")).with_context(|| cannot_make(&etc))?;
    }
    let var = own.join("var");
    if var.symlink_metadata().is_err() {
        let of_booted = booted.map(|booted| of(booted) + "/var");
        let is_kept = |path: &String| sysroot.join(path).symlink_metadata().is_ok_and(|found| found.is_dir());
        let target = match of_booted.filter(is_kept) {
            // The running system has a /var of its own.
            Some(_) => format!("../{}/var", booted.map(Digest::to_hex).unwrap_or_default()),
            None => {
                share_var(sysroot, repository, tree)?;
                "../../os/default/var".to_owned()
            }
        };
        symlink(target, &var).with_context(|| cannot_make(&var))?;
    }
    let disk = fs::File::open(sysroot).with_context(|| format!("cannot open {}", sysroot.display()))?;
    rustix::fs::syncfs(&disk).with_context(|| format!("cannot sync {}", sysroot.display()))
}

fn cannot_make(path: &Path) -> String {
    format!("cannot make {}", path.display())
}

fn make_directory(path: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).with_context(|| cannot_make(path))
}

/// Gives the directory of the changes of `/etc` the mode and the owner that the image's has: the mount shows them.
fn take_attributes(upper: &Path, tree: &Tree) -> anyhow::Result<()> {
    let Some(etc) = tree.child(InodeId::ROOT, b"etc").map(|entry| tree.inode(entry.inode)) else { return Ok(()) };
    let set = || -> io::Result<()> {
        if geteuid().is_root() {
            chown(upper, Some(etc.uid()), Some(etc.gid()))?;
        }
        fs::set_permissions(upper, fs::Permissions::from_mode(etc.mode() & 0o7777))
    };
    set().with_context(|| format!("cannot set owner and mode of {}", upper.display()))
}

/// Makes the `/var` that images share, as a copy of the image's, unless it exists.
fn share_var(sysroot: &Path, repository: &Repository, tree: &Tree) -> anyhow::Result<()> {
    let shared = sysroot.join(SHARED_VAR);
    if shared.symlink_metadata().is_ok() {
        return Ok(());
    }
    let is_directory = |id: InodeId| tree.inode(id).kind() == Kind::Directory;
    if !tree.child(InodeId::ROOT, b"var").is_some_and(|entry| is_directory(entry.inode)) {
        return make_directory(&shared);
    }
    // An interrupted copy has another name.
    let unfinished = sysroot.join("state/os/.new");
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", unfinished.display()));
        }
        _ => {}
    }
    make_directory(&unfinished)?;
    let selection = Selection::of_paths(tree, &[b"/var"])?;
    let basedirs = Basedirs::open(&[repository.objects().path()])?;
    let report = extract(tree, &selection, &basedirs, &unfinished, &Options::default(), &NoProgress)?;
    expect_whole(&report)?;
    make_directory(shared.parent().unwrap_or(sysroot))?;
    let copied = fs::rename(unfinished.join("var"), &shared).and_then(|()| fs::remove_dir_all(&unfinished));
    copied.with_context(|| cannot_make(&shared))
}

fn expect_whole(report: &ExtractReport) -> anyhow::Result<()> {
    let Some(failure) = report.failures.first() else { return Ok(()) };
    let (count, path) = (report.failures.len(), shown(&failure.path));
    Err(with_remedy(
        format!("{count} files of the image's /var cannot be copied, such as {path}: {}", failure.error),
        "composefs check names what the image lacks",
    ))
}
