//! The check that the first program can start: its loss would be a panic of the kernel instead of a message.

use std::os::fd::{BorrowedFd, OwnedFd};

use libcomposefs_sys::in_root::open_in_root;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use crate::error::BootError;

/// Most bytes that are read of a program: a larger one is not worth the time.
const READ_MAX: u64 = 16 << 20;
const CHUNK: usize = 128 << 10;
/// Longest path of a loader.
const LOADER_MAX: usize = 4096;
const PT_INTERP: u32 = 3;
/// Most programs that follow from one: the kernel itself goes five steps (`exec_binprm` in `fs/exec.c`).
const NAMED_MAX: usize = 5;
/// Bytes of a script in which the kernel looks for the interpreter (`BINPRM_BUF_SIZE`).
const SCRIPT_LINE_MAX: usize = 256;

/// Reads the program at `path` in the root, and the interpreter or loader that it names: so the kernel verifies their
/// blocks. Returns false if there is no such program.
pub(crate) fn check(root: BorrowedFd<'_>, path: &str) -> Result<bool, BootError> {
    let head = match read(root, path) {
        // Overlayfs says the same of a file whose object is missing.
        Err(BootError::Init { errno: Errno::NOENT, .. }) if !exists(root, path) => return Ok(false),
        head => head?,
    };
    let mut next = named(&head);
    for _ in 0..NAMED_MAX {
        let Some(path) = next else { break };
        next = named(&read(root, &path)?);
    }
    Ok(true)
}

/// Returns the path of the program that the kernel starts for this one.
fn named(head: &[u8]) -> Option<String> {
    interpreter(head).or_else(|| loader(head))
}

/// Returns the path of the interpreter that the first line of a script names (`load_script` in `fs/binfmt_script.c`).
fn interpreter(head: &[u8]) -> Option<String> {
    let line = head.get(..SCRIPT_LINE_MAX.min(head.len()))?.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let path = line.trim_ascii_start().split(|byte| matches!(byte, b' ' | b'\t' | 0)).next()?;
    String::from_utf8(path.to_vec()).ok().filter(|path| !path.is_empty())
}

/// Returns true if the root has an entry at this path, whether it can be read or not.
fn exists(root: BorrowedFd<'_>, path: &str) -> bool {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).is_ok()
}

/// Reads a file, and returns its first bytes.
fn read(root: BorrowedFd<'_>, path: &str) -> Result<Vec<u8>, BootError> {
    let failed = |errno| BootError::Init { path: path.to_owned(), errno };
    let file: OwnedFd = open_in_root(root, path.as_bytes()).map_err(failed)?;
    let mut head = Vec::new();
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    while offset < READ_MAX {
        match rustix::io::pread(&file, &mut buffer, offset) {
            Ok(0) => break,
            Ok(len) => {
                if offset == 0 {
                    head = buffer.get(..len).unwrap_or_default().to_vec();
                }
                offset += len as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(head)
}

/// Returns the path of the loader that an ELF file of this machine's kind names (`PT_INTERP`, elf(5)), as far as it is
/// in the first bytes of the file.
fn loader(head: &[u8]) -> Option<String> {
    if head.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let number = |at: usize, len: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for index in 0..count {
        let entry = usize::try_from(table.checked_add(index.checked_mul(size)?)?).ok()?;
        if number(entry, 4)? == u64::from(PT_INTERP) {
            let start = usize::try_from(number(entry.checked_add(8)?, 8)?).ok()?;
            let len = usize::try_from(number(entry.checked_add(32)?, 8)?).ok().filter(|len| *len <= LOADER_MAX)?;
            let path = head.get(start..start.checked_add(len)?)?;
            let path = path.split(|byte| *byte == 0).next()?;
            return String::from_utf8(path.to_vec()).ok().filter(|path| !path.is_empty());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_of_a_program_is_found() {
        let program = std::fs::read("/proc/self/exe").unwrap();
        let found = loader(&program);
        assert!(found.as_ref().is_none_or(|path| path.starts_with("/lib")), "{found:?}");
        // Whatever is cut off or changed, nothing panics.
        let head = program.get(..4096).unwrap_or(&program);
        for len in 0..head.len() {
            let _ = loader(&head[..len]);
        }
        for at in 0..1024.min(head.len()) {
            let mut changed = head.to_vec();
            changed[at] ^= 0xff;
            let _ = loader(&changed);
        }
        assert_eq!(loader(b"#!/bin/sh\n"), None);
    }

    #[test]
    fn the_interpreter_of_a_script_is_found() {
        assert_eq!(named(b"#!/bin/sh\n").as_deref(), Some("/bin/sh"));
        assert_eq!(named(b"#! \t/usr/bin/env -S bash\n").as_deref(), Some("/usr/bin/env"));
        assert_eq!(named(b"#!/bin/busybox").as_deref(), Some("/bin/busybox"));
        for none in [&b""[..], b"#!", b"#!\n/bin/sh", b"#/bin/sh"] {
            assert_eq!(named(none), None);
        }
    }
}
