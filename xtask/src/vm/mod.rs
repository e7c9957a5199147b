//! Virtual machines with the kernels of [`crate::kernel`], for whatever needs fs-verity, mounts or a power cut.
//!
//! A [`Machine`] describes one boot: kernel, payload, script, disks. It runs by qemu's own translator, never by KVM, so
//! that results do not depend on where it runs. The script has a fresh ext4 with fs-verity as its working directory
//! `/mnt`; its output arrives line by line while it runs, and its exit status is the machine's.

mod base;
mod cpio;
pub(crate) mod disk;
pub(crate) mod interactive;
pub(crate) mod modules;
pub(crate) mod payload;
mod qemu;
pub(crate) mod slots;
pub(crate) mod volatile_disk;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::kernel::Fetched;
use payload::Payload;
use volatile_disk::{Loss, Tally};

/// Number of retries after a boot that dies before it reaches the script.
const BOOT_RETRIES: u32 = 2;

/// Description of one boot.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    kernel: Fetched,
    payload: Payload,
    /// True if the payload is the whole initramfs.
    is_whole: bool,
    /// An initramfs that is used as it is, in place of the payload.
    initramfs: Option<PathBuf>,
    /// Time of its clock at the start, as qemu reads it; `None`: the time of the host.
    clock: Option<String>,
    /// Words after those of every command line.
    words: String,
    timeout: Duration,
    memory_mib: u32,
    scratch: Disk,
    second: Option<Disk>,
    power_cut: Option<PowerCut>,
    firmware: Option<UefiFiles>,
}

/// The files of a firmware.
#[derive(Clone, Debug)]
struct UefiFiles {
    code: PathBuf,
    /// Each run has a copy of them.
    variables: PathBuf,
}

/// A disk of the machine.
#[derive(Clone, Debug)]
pub(crate) enum Disk {
    /// A new one, forgotten afterwards.
    Fresh {
        /// Size of the disk, in MiB.
        mib: u64,
    },
    /// This file, created if it does not exist, and kept.
    Kept {
        /// Path of the raw image.
        file: PathBuf,
        /// The size if it is created.
        mib: u64,
    },
    /// One that this process serves at a Unix socket.
    Served {
        /// Path of the socket.
        socket: PathBuf,
    },
}

#[derive(Clone, Debug)]
struct PowerCut {
    marker: String,
    loss: Loss,
}

impl Machine {
    /// A machine with this kernel that runs a script of the host's `sh`.
    pub(crate) fn new(kernel: Fetched, script: &str) -> Result<Self> {
        let mut payload = Payload::default();
        // busybox's own shell would prefer its applets to programs of the same name.
        payload.program("sh")?;
        payload.link("usr/bin/sh", "../sbin/sh");
        payload.bytes("payload/command", script);
        Ok(Self::of(kernel, payload))
    }

    /// A machine with this kernel, an initramfs of the payload alone, and these words on the kernel command line. What
    /// runs there writes `release=` and `exit=` to the second serial line.
    pub(crate) fn with_initramfs(kernel: Fetched, payload: Payload, words: &str) -> Self {
        Self { is_whole: true, words: format!(" {words}"), ..Self::of(kernel, payload) }
    }

    /// A machine with this kernel, an initramfs that another program has made, and these words.
    pub(crate) fn with_initramfs_file(kernel: Fetched, initramfs: PathBuf, words: &str) -> Self {
        Self { initramfs: Some(initramfs), ..Self::with_initramfs(kernel, Payload::default(), words) }
    }

    /// Sets its clock, to a time like `1970-01-02T00:00:00`.
    pub(crate) fn clock(mut self, time: &str) -> Self {
        self.clock = Some(time.to_owned());
        self
    }

    fn of(kernel: Fetched, payload: Payload) -> Self {
        Self {
            kernel,
            payload,
            is_whole: false,
            initramfs: None,
            clock: None,
            words: String::new(),
            timeout: Duration::from_secs(120),
            memory_mib: 1024,
            scratch: Disk::Fresh { mib: 512 },
            second: None,
            power_cut: None,
            firmware: None,
        }
    }

    /// Returns the files that the guest has besides the base system. Its memory must hold it twice while it boots.
    pub(crate) fn payload(&mut self) -> &mut Payload {
        &mut self.payload
    }

    /// When to give up.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the size of its memory.
    pub(crate) fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// The disk that is mounted at `/mnt`, `/dev/vda`. An image that exists must hold an ext4.
    pub(crate) fn scratch(mut self, disk: Disk) -> Self {
        self.scratch = disk;
        self
    }

    /// An additional disk, `/dev/vdb`, unformatted if it is new.
    pub(crate) fn second_disk(mut self, disk: Disk) -> Self {
        self.second = Some(disk);
        self
    }

    /// Boots by UEFI: by a firmware whose code and variables are in these files.
    pub(crate) fn firmware(mut self, code: PathBuf, variables: PathBuf) -> Self {
        self.firmware = Some(UefiFiles { code, variables });
        self
    }

    /// Cuts the power as soon as the script prints this line. What the guest had not flushed to its scratch disk by
    /// then is lost; that disk should be a kept one.
    pub(crate) fn cut_power_at(mut self, marker: &str, loss: Loss) -> Self {
        self.power_cut = Some(PowerCut { marker: marker.to_owned(), loss });
        self
    }

    /// Boots it and follows it to its end, giving each line as it is printed.
    ///
    /// About one boot in twenty of a 7.3 kernel dies under emulation before its first program runs, in code that the
    /// kernel patches as it starts. A boot that has not come as far as the script is tried again, and says so.
    pub(crate) fn run(&self, on_line: &mut dyn FnMut(Stream, &str)) -> Result<Exit> {
        let _slot = slots::take();
        let mut exit = qemu::run(self, on_line)?;
        // An initramfs of its own may end the machine before it says anything.
        let retries = if self.is_whole { 0 } else { BOOT_RETRIES };
        for _ in 0..retries {
            if exit.end != End::Died || !exit.release.is_empty() {
                break;
            }
            eprintln!(
                "vm: Linux {} died while it booted, trying again\n{}",
                self.kernel.release,
                last_lines(&exit.console, 5)
            );
            exit = qemu::run(self, on_line)?;
        }
        Ok(exit)
    }
}

/// The stream a line was printed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// The script's standard output.
    Stdout,
    /// The script's standard error.
    Stderr,
    /// Error messages of qemu itself.
    Qemu,
}

/// The end of a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The script exited with this status.
    Exited(i32),
    /// The timeout passed before its end.
    TimedOut,
    /// The guest went away without a verdict: a panic, or qemu failed.
    Died,
    /// The power was cut as asked for.
    PowerCut,
}

/// The result of a boot.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) end: End,
    /// The kernel's release as the guest says it.
    pub(crate) release: String,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// The last of the kernel's console, and qemu's own words.
    pub(crate) console: String,
    pub(crate) took: Duration,
    /// Counts of the scratch disk, if a power cut was asked for.
    pub(crate) disk: Option<Tally>,
}

impl Exit {
    /// Fails unless it ended so, with what was seen last.
    pub(crate) fn expect(self, end: End) -> Result<Self> {
        if self.end == end {
            return Ok(self);
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let seen = [("stdout", text(&self.stdout)), ("stderr", text(&self.stderr)), ("console", self.console)];
        let seen = seen.iter().filter(|(_, text)| !text.trim().is_empty());
        let seen: String = seen.map(|(name, text)| format!("\n--- {name}\n{}", last_lines(text, 15))).collect();
        bail!("the machine (kernel {:?}) should have ended as {end:?}, but {:?}{seen}", self.release, self.end)
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
