//! A remote with an image, an empty repository, and a mount point, for tests of lazy mounts.

use std::fs;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use libcomposefs_testkit::numbers::noise;
use libcomposefs_testkit::{privilege, skip};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Place;

/// Number of files, and the length of each: too long to share a frame.
pub(super) const FILES: usize = 12;
pub(super) const LEN: usize = 120_000;

/// A remote with an image, an empty repository `there`, and a mount point.
pub(super) struct Lazy {
    pub(super) place: Place,
    /// The option for the way.
    via: &'static str,
}

impl Lazy {
    /// A mount by the image server. Announces that the test is skipped where nothing can be mounted by FUSE.
    pub(super) fn new(test: &str) -> Option<Self> {
        Self::with(test, "--via=fuse", FILES)
    }

    /// A mount by overlayfs, of an image with this number of files. Announces that the test is skipped where the kernel
    /// cannot do it.
    pub(super) fn by_overlay(test: &str, files: usize) -> Option<Self> {
        if !privilege::is_root() {
            skip::announce(test, "lazy mounts by overlayfs need root");
            return None;
        }
        let lazy = Self::with(test, "--via=overlay", files)?;
        let (remote, target) = (format!("--lazy={}", lazy.remote()), lazy.target());
        let planned =
            lazy.place.run("there", &["mount", &remote, "big", target.to_str().unwrap(), "--via=overlay", "--dry-run"]);
        if planned.status == Some(0) {
            return Some(lazy);
        }
        assert!(planned.stderr.contains("Linux 6.15"), "{planned:?}");
        skip::announce(test, &planned.stderr);
        None
    }

    fn with(test: &str, via: &'static str, files: usize) -> Option<Self> {
        let has_program = || Command::new("fusermount3").arg("-V").output().is_ok();
        let device = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse");
        if device.is_err() || !(privilege::is_root() || has_program()) {
            skip::announce(test, "mounting by FUSE needs /dev/fuse, and root or fusermount3");
            return None;
        }
        let place = Place::new(1);
        let (tree, mnt) = (place.path("big"), place.path("mnt"));
        fs::create_dir(&tree).unwrap();
        fs::create_dir(&mnt).unwrap();
        for number in 0..files {
            fs::write(tree.join(format!("f{number}")), content(number)).unwrap();
        }
        fs::write(tree.join("small"), b"within the image").unwrap();
        place.ok("here", &["create", tree.to_str().unwrap(), "--name=big"]);
        place.ok("here", &["push", "big", place.path("remote").to_str().unwrap()]);
        Some(Self { place, via })
    }

    pub(super) fn target(&self) -> PathBuf {
        self.place.path("mnt")
    }

    #[track_caller]
    pub(super) fn mount(&self, remote: &str, more: &[&str]) {
        let (lazy, target) = (format!("--lazy={remote}"), self.target());
        self.place.ok("there", &[&["mount", &lazy, "big", target.to_str().unwrap(), self.via], more].concat());
    }

    pub(super) fn remote(&self) -> String {
        self.place.path("remote").to_str().unwrap().to_owned()
    }

    pub(super) fn read(&self, number: usize) -> io::Result<Vec<u8>> {
        fs::read(self.target().join(format!("f{number}")))
    }

    /// Reads a file, which must have its content or give `EIO`.
    #[track_caller]
    pub(super) fn is_readable(&self, number: usize) -> bool {
        match self.read(number) {
            Ok(found) => {
                assert!(found == content(number), "f{number} has another content");
                true
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()), "{error}");
                false
            }
        }
    }

    pub(super) fn objects(&self) -> usize {
        let all = fs::read_dir(self.place.path("there/objects")).unwrap();
        all.map(|folder| fs::read_dir(folder.unwrap().path()).map_or(0, Iterator::count)).sum()
    }

    #[track_caller]
    pub(super) fn status(&self) -> Value {
        let outcome = self.place.ok("there", &["status", self.target().to_str().unwrap(), "--json"]);
        serde_json::from_slice(&outcome.stdout).unwrap()
    }

    pub(super) fn unmount(&self) {
        self.place.ok("there", &["umount", self.target().to_str().unwrap()]);
    }

    /// The processes that serve the mount, with those that started them.
    pub(super) fn servers(&self) -> Vec<(Pid, i32)> {
        let place = self.place.dir.path().as_os_str().as_bytes();
        let is_server = |process: &Path| {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            let has = |word: &[u8]| line.windows(word.len()).any(|window| window == word);
            has(place) && has(b"--lazy=")
        };
        let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
        let found = processes.filter(|path| path.join("cmdline").exists()).filter(|path| is_server(path));
        let numbers = found.filter_map(|path| {
            let stat = fs::read_to_string(path.join("stat")).ok()?;
            let (_, fields) = stat.rsplit_once(") ")?;
            let mut fields = fields.split(' ');
            // A process that has ended stays in the list until its parent has waited for it.
            let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
            let number = path.file_name()?.to_str()?.parse().ok()?;
            (state != "Z").then_some((Pid::from_raw(number)?, parent))
        });
        numbers.collect()
    }

    /// The process that serves the mount by FUSE.
    pub(super) fn server(&self) -> Pid {
        self.servers()[0].0
    }
}

impl Drop for Lazy {
    fn drop(&mut self) {
        let target = self.target();
        let program = if privilege::is_root() { "umount" } else { "fusermount3" };
        let option = if privilege::is_root() { "-l" } else { "-uz" };
        let _ = Command::new(program).arg(option).arg(target).output();
        // A test that failed may have a thread that waits for an answer.
        for (server, _) in self.servers() {
            let _ = kill_process(server, Signal::KILL);
        }
    }
}

pub(super) fn content(number: usize) -> Vec<u8> {
    noise(100 + number as u64, LEN + number)
}

/// A proxy that can be made to take requests and never answer.
pub(super) struct Gate {
    pub(super) port: u16,
    is_closed: Arc<AtomicBool>,
}

impl Gate {
    pub(super) fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, is_closed) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let flag = Arc::clone(&is_closed);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { return };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let flag = Arc::clone(&flag);
                    thread::spawn(move || pass(from, to, &flag));
                }
            }
        });
        Self { port, is_closed }
    }

    pub(super) fn close(&self, is_closed: bool) {
        self.is_closed.store(is_closed, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, is_closed: &AtomicBool) {
    use std::io::{Read as _, Write as _};
    let mut piece = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        if is_closed.load(Ordering::SeqCst) {
            // What was asked for now never arrives; later connections work when the gate is open again.
            thread::sleep(Duration::from_secs(30));
            break;
        }
        if to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
