//! The kernel's caches and the counters of its disks: what was read anew, and what was there already.

use std::fs;

use anyhow::{Context as _, Result};

/// Empties the page cache and the caches of inodes and names.
pub(crate) fn drop_caches() -> Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").context("cannot drop the caches")
}

/// Returns the number of sectors of 512 bytes read so far from a disk (`Documentation/block/stat.rst`).
pub(crate) fn sectors_read(disk: &str) -> Result<u64> {
    let path = format!("/sys/block/{disk}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    stat.split_whitespace().nth(2).and_then(|field| field.parse().ok()).with_context(|| format!("odd {path}: {stat}"))
}
