//! The kernel's caches, and what a disk has to read when they are empty.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Empties the page cache and the caches of inodes and names.
pub(super) fn drop_caches() -> Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").context("cannot drop the caches")
}

/// The counters of the disk under a file system, where it is one disk.
pub(super) struct Disk(Option<PathBuf>);

/// Requests and bytes read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DiskReads {
    requests: u64,
    bytes: u64,
}

impl Disk {
    pub(super) fn below(path: &Path) -> Result<Self> {
        let device = path.metadata()?.dev();
        let stat = format!("/sys/dev/block/{}:{}/stat", rustix::fs::major(device), rustix::fs::minor(device));
        Ok(Self(Some(PathBuf::from(stat)).filter(|stat| stat.exists())))
    }

    /// Since the machine was started (`Documentation/block/stat.rst`).
    pub(super) fn reads(&self) -> Result<DiskReads> {
        let Some(path) = &self.0 else { return Ok(DiskReads::default()) };
        let stat = fs::read_to_string(path)?;
        let fields: Vec<u64> = stat.split_whitespace().map_while(|field| field.parse().ok()).collect();
        let [requests, _, sectors, ..] = fields[..] else { anyhow::bail!("odd {}: {stat}", path.display()) };
        Ok(DiskReads { requests, bytes: sectors * 512 })
    }
}

impl DiskReads {
    pub(super) fn since(self, before: Self) -> Self {
        Self { requests: self.requests - before.requests, bytes: self.bytes - before.bytes }
    }
}

/// The middle ones of several runs, as two columns.
pub(super) fn median(runs: &[DiskReads]) -> String {
    let middle = |field: fn(&DiskReads) -> u64| {
        let mut values: Vec<_> = runs.iter().map(field).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    format!("{} | {:.1}", middle(|run| run.requests), middle(|run| run.bytes) as f64 / 1e6)
}
