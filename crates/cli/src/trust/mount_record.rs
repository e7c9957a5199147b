//! Records of mounts: by whose signatures and under which rule an image was accepted when it was mounted.
//!
//! A record is a file `trusted/NAMESPACE-MOUNT` in `/run/composefs`, or in `$XDG_RUNTIME_DIR/composefs` of another
//! user, by the numbers of the mount namespace and of the mount. It is for people: no command decides by it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use libcomposefs_image::Digest;
use libcomposefs_mount::MountEntry;
use libcomposefs_store::publish::replace_file;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::process::geteuid;
use serde_json::{Value, json};

use super::{Judgement, NamedImage, open_file, report};

const MACHINE: &str = "/run/composefs";
/// Greatest size of a record, in bytes.
const RECORD_MAX: u64 = 1 << 20;

/// Writes the record of the mount at a directory. A failure is a warning: the image is mounted.
pub(crate) fn remember(target: &Path, image: NamedImage<'_>, judgement: &Judgement) {
    if judgement.accepted.is_empty() {
        return;
    }
    if let Err(error) = write(target, image, judgement) {
        tell!("composefs: warning: `composefs mounts` will not say who vouches for {image}: {error:#}");
    }
}

fn write(target: &Path, image: NamedImage<'_>, judgement: &Judgement) -> anyhow::Result<()> {
    let directory = directory().context("XDG_RUNTIME_DIR is not set")?;
    let failed = || format!("cannot write to {}", directory.display());
    fs::create_dir_all(&directory).with_context(failed)?;
    let stat = statx(CWD, target, AtFlags::empty(), StatxFlags::MNT_ID)?;
    if stat.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        bail!("this kernel gives mounts no numbers");
    }
    let namespace = namespace()?;
    remove_old(&directory, namespace);
    let policies: Vec<_> = judgement.accepted.iter().map(report::accepted_json).collect();
    let record = json!({ "digest": image.digest.to_hex(), "name": image.name, "policies": policies });
    let path = directory.join(format!("{namespace}-{}", stat.stx_mnt_id));
    let record = record.to_string();
    let write = |file: &mut File| file.write_all(record.as_bytes()).map_err(anyhow::Error::from);
    replace_file(&path, 0o644, write).with_context(failed)?;
    Ok(())
}

/// Returns the record of a mount of this mount namespace: an object with `name` and `policies`.
pub(crate) fn read(mount: &MountEntry) -> Option<Value> {
    let name = format!("{}-{}", namespace().ok()?, mount.id?);
    let file = open_file(&directory()?.join(name)).ok()?;
    let is_readable = file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= RECORD_MAX);
    let record: Value = serde_json::from_reader(is_readable.then_some(file)?).ok()?;
    // Numbers are used again.
    let digest = mount.digest.as_ref().map(Digest::to_hex)?;
    (record["digest"].as_str() == Some(&digest)).then_some(record)
}

/// Removes the records of mounts that are no more. What cannot be removed is removed another time.
fn remove_old(directory: &Path, namespace: u64) {
    let Ok(mounts) = libcomposefs_mount::mounts() else { return };
    let Ok(entries) = fs::read_dir(directory) else { return };
    let own = format!("{namespace}-");
    for entry in entries.flatten() {
        let is_old = |id: u64| !mounts.iter().any(|mount| mount.id == Some(id));
        let id = entry.file_name().to_str().and_then(|name| name.strip_prefix(&own)?.parse().ok());
        if id.is_some_and(is_old) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Returns the number of the mount namespace of this process.
fn namespace() -> anyhow::Result<u64> {
    let metadata = File::open("/proc/self/ns/mnt").and_then(|file| file.metadata());
    Ok(metadata.context("cannot open /proc/self/ns/mnt: is /proc mounted?")?.ino())
}

fn directory() -> Option<PathBuf> {
    let base = match geteuid().is_root() {
        true => PathBuf::from(MACHINE),
        false => PathBuf::from(Some(std::env::var_os("XDG_RUNTIME_DIR")?).filter(is_absolute)?).join("composefs"),
    };
    Some(base.join("trusted"))
}

fn is_absolute(path: &OsString) -> bool {
    Path::new(path).is_absolute()
}
