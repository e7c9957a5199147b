//! Reads the kernel's log from a moment on: what `dmesg` would show of a failure that just happened.
//!
//! Some file systems do not report their reason through the mount context; overlayfs, EROFS and fs-verity often only
//! log it. `/dev/kmsg` returns one record per read (`Documentation/ABI/testing/dev-kmsg`).

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, SeekFrom};
use rustix::io::Errno;

/// The kernel's log, positioned at the moment it was opened.
#[derive(Debug)]
pub struct KernelLog {
    /// `None` where the log may not be read.
    records: Option<OwnedFd>,
}

impl KernelLog {
    /// Opens the log at its present end. Where it may not be read, it will simply hold nothing.
    #[must_use]
    pub fn from_now() -> Self {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let records = rustix::fs::open("/dev/kmsg", flags, Mode::empty()).ok();
        let records = records.filter(|fd| rustix::fs::seek(fd, SeekFrom::End(0)).is_ok());
        Self { records }
    }

    /// Returns the texts since the last call (or the opening) that begin with one of `prefixes`, such as `overlayfs: `.
    ///
    /// They may stem from another process: the kernel's log names no process.
    pub fn lines(&mut self, prefixes: &[&str]) -> Vec<String> {
        let Some(fd) = &self.records else { return Vec::new() };
        let mut record = [0; 8192];
        let mut lines = Vec::new();
        loop {
            match rustix::io::read(fd, &mut record) {
                Ok(0) => break,
                Ok(len) => lines.extend(text(&record[..len]).filter(|t| prefixes.iter().any(|p| t.starts_with(p)))),
                // The record was overwritten before we came to it; the next read gives the oldest one left.
                Err(Errno::PIPE | Errno::INTR) => {}
                Err(_) => break,
            }
        }
        lines
    }
}

/// The text of a record `priority,sequence,time,flags;text\n key=value\n`.
fn text(record: &[u8]) -> Option<String> {
    let start = record.iter().position(|&b| b == b';')? + 1;
    let line = record[start..].split(|&b| b == b'\n').next()?;
    Some(String::from_utf8_lossy(line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_taken_apart() {
        let record = b"3,1234,5678,-;overlayfs: no such layer\n SUBSYSTEM=x\n";
        assert_eq!(text(record).as_deref(), Some("overlayfs: no such layer"));
        assert_eq!(text(b"no record"), None);
    }
}
