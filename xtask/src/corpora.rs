//! `cargo xtask corpora`: odd tar archives from the tests of other programs, taken out of Debian's packages.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::apt::{self, Suite};
use crate::paths;

/// The packages are always those of this suite: the test of the archives names those that are read in another way.
const SUITE: &str = "bookworm";
/// Tests of Go's archive/tar and of tar-split, of Python's tarfile, and of containers-storage.
const PACKAGES: &[&str] =
    &["golang-github-vbatts-tar-split-dev", "libpython3.11-testsuite", "golang-github-containers-storage-dev"];

/// The task: prints the directory with the packages' files.
pub(crate) fn run() -> Result<()> {
    println!("{}", set_up()?.display());
    Ok(())
}

/// Fetches the packages if they are not there, and returns the directory with their files.
pub(crate) fn set_up() -> Result<PathBuf> {
    let dir = paths::cache("corpora")?;
    let _lock = paths::lock(&dir)?;
    let home = dir.join("tar");
    if home.exists() {
        return Ok(home);
    }
    let work = tempfile::tempdir_in(&dir)?;
    let root = work.path().join("root");
    let packages: Vec<String> = PACKAGES.iter().map(|&name| name.to_owned()).collect();
    for deb in Suite::open(SUITE)?.download(&packages, &work.path().join("deb"))? {
        apt::unpack(&deb, &root)?;
    }
    // It takes its name when it is whole.
    fs::rename(&root, &home)?;
    Ok(home)
}
