//! The processes that hold the lock of the repository, and the users who could.
//!
//! The lock is `flock` on the directory of the repository, so every user who may open the directory can hold it. The
//! kernel has no finer permission for that.

use std::fmt;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use libcomposefs_sys::xattr::{self, Target};
use rustix::fs::{Stat, fstat, major, minor};

use super::{Repository, RepositoryError, io_error};

/// A user or group, other than the owner, who may open the directory of the repository for reading, and so lock it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// Every user who can reach the directory.
    Everyone,
    /// Members of the group that owns the directory, or of a group in its access control list.
    Group(u32),
    /// A user in the access control list of the directory.
    User(u32),
}

impl fmt::Display for Opener {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => out.write_str("every user"),
            Self::Group(gid) => write!(out, "group {gid}"),
            Self::User(uid) => write!(out, "user {uid}"),
        }
    }
}

/// A process that holds the lock of the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// ID of the process.
    pub pid: u32,
    /// Name of the program, if it can be read.
    pub program: Option<String>,
    /// True if the lock is exclusive, so that no other process can publish or remove anything.
    pub is_alone: bool,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "process {}", self.pid)?;
        match &self.program {
            Some(program) => write!(out, " ({program})"),
            None => Ok(()),
        }
    }
}

impl Repository {
    /// Lists users other than the owner who may open the directory of the repository and lock it, according to its mode
    /// and access control list. The list is empty if a parent directory lets only its owner pass.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub fn openers(&self) -> Result<Vec<Opener>, RepositoryError> {
        let stat = fstat(&self.dir).map_err(io_error("stat", &self.dir.path))?;
        let is_closed = |path: &std::path::Path| fs::metadata(path).is_ok_and(|stat| stat.mode() & 0o011 == 0);
        if self.dir.path.canonicalize().is_ok_and(|path| path.ancestors().skip(1).any(is_closed)) {
            return Ok(Vec::new());
        }
        if stat.st_mode & 0o004 != 0 {
            return Ok(vec![Opener::Everyone]);
        }
        let mut acl = Vec::new();
        let has_acl = xattr::get(Target::File(self.dir.as_fd()), c"system.posix_acl_access", &mut acl);
        if has_acl.is_ok_and(|has| has) {
            return Ok(openers_of_acl(&acl, stat.st_gid));
        }
        Ok(if stat.st_mode & 0o040 != 0 { vec![Opener::Group(stat.st_gid)] } else { Vec::new() })
    }

    /// Lists the processes that hold the lock, according to `/proc/locks`. Processes of other PID namespaces are not
    /// listed.
    #[must_use]
    pub fn lock_holders(&self) -> Vec<LockHolder> {
        let (Ok(text), Ok(stat)) = (fs::read_to_string("/proc/locks"), fstat(&self.dir)) else {
            return Vec::new();
        };
        let mut holders: Vec<LockHolder> = text.lines().filter_map(|line| holder(line, &stat)).collect();
        holders.dedup_by_key(|holder| holder.pid);
        holders.retain(|holder| holder.pid != std::process::id());
        holders
    }
}

/// Parses an access control list (`include/uapi/linux/posix_acl_xattr.h`).
fn openers_of_acl(acl: &[u8], owner: u32) -> Vec<Opener> {
    const USER: u16 = 0x02;
    const OWNING_GROUP: u16 = 0x04;
    const GROUP: u16 = 0x08;
    const MASK: u16 = 0x10;
    const READ: u16 = 4;
    let entries: Vec<(u16, u16, u32)> = acl
        .get(4..)
        .unwrap_or_default()
        .chunks_exact(8)
        .map(|entry| {
            let short = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
            (short(0), short(2), u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]))
        })
        .collect();
    let mask = entries.iter().find(|(tag, ..)| *tag == MASK).map_or(READ, |(_, mask, _)| *mask);
    let opener = |&(tag, permissions, id): &(u16, u16, u32)| match tag {
        _ if permissions & mask & READ == 0 => None,
        USER => Some(Opener::User(id)),
        OWNING_GROUP => Some(Opener::Group(owner)),
        GROUP => Some(Opener::Group(id)),
        _ => None,
    };
    entries.iter().filter_map(opener).collect()
}

/// Parses a line of `/proc/locks`: `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`. A line with `->` is of a process
/// that waits.
fn holder(line: &str, stat: &Stat) -> Option<LockHolder> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, mode, pid, place, ..] = words[..] else { return None };
    let mut place = place.splitn(3, ':');
    let [Some(device_major), Some(device_minor), Some(inode)] = [place.next(), place.next(), place.next()] else {
        return None;
    };
    if inode.parse::<u64>().ok()? != stat.st_ino {
        return None;
    }
    let pid: u32 = pid.parse().ok()?;
    let device = (u32::from_str_radix(device_major, 16).ok()?, u32::from_str_radix(device_minor, 16).ok()?);
    // On btrfs this device number is not that of the files: then the process must have the directory open.
    if device != (major(stat.st_dev), minor(stat.st_dev)) && !has_open(pid, stat) {
        return None;
    }
    let program = fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim_end().to_owned());
    Some(LockHolder { pid, program, is_alone: mode == "WRITE" })
}

fn has_open(pid: u32, stat: &Stat) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let is_it = |entry: fs::DirEntry| {
        fs::metadata(entry.path()).is_ok_and(|other| (other.dev(), other.ino()) == (stat.st_dev, stat.st_ino))
    };
    open.flatten().any(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_control_lists_are_masked() {
        let entry = |tag: u16, permissions: u16, id: u32| {
            [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let list = |mask: u16| {
            let entries = [
                entry(0x01, 7, u32::MAX),
                entry(0x02, 5, 1000),
                entry(0x02, 1, 1001),
                entry(0x04, 4, u32::MAX),
                entry(0x08, 7, 50),
                entry(0x10, mask, u32::MAX),
                entry(0x20, 0, u32::MAX),
            ];
            [&2u32.to_le_bytes()[..], &entries.concat()].concat()
        };
        assert_eq!(openers_of_acl(&list(7), 9), [Opener::User(1000), Opener::Group(9), Opener::Group(50)]);
        assert_eq!(openers_of_acl(&list(1), 9), []);
        assert_eq!(openers_of_acl(&[2, 0, 0], 9), []);
    }
}
