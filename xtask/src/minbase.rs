//! A real system tree: what debootstrap's minbase variant makes of the machine's own suite, kept in the cache.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{apt, paths, process};

/// A machine that is no Debian of its own gets this one.
const SUITE: &str = "bookworm";

/// The root of the tree, built if it is not there; `None` where only root could build it.
pub(crate) fn set_up() -> Result<Option<PathBuf>> {
    let suite = suite();
    let dir = paths::cache("minbase")?;
    let _lock = paths::lock(&dir)?;
    let home = dir.join(&suite);
    if home.exists() {
        return Ok(Some(home));
    }
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    eprintln!("minbase: building Debian {suite}");
    let work = tempfile::tempdir_in(&dir)?;
    let root = work.path().join("root");
    let mut debootstrap = Command::new(process::require("debootstrap")?);
    debootstrap.args(["--variant=minbase", &suite]).arg(&root).arg(apt::mirror()?);
    process::output(&mut debootstrap).with_context(|| format!("cannot build Debian {suite}"))?;
    // Packages that are unpacked already.
    fs::remove_dir_all(root.join("var/cache/apt/archives"))?;
    // It takes its name when it is whole.
    fs::rename(&root, &home)?;
    Ok(Some(home))
}

/// The suite of the machine, as far as it has one.
fn suite() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value =
        |key: &str| release.lines().find_map(|line| line.strip_prefix(key)).map(|v| v.trim_matches('"').to_owned());
    value("VERSION_CODENAME=").filter(|_| value("ID=").as_deref() == Some("debian")).unwrap_or_else(|| SUITE.to_owned())
}
