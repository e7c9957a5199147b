//! Lazy mounts: contents come from the remote when files are read.

use std::fs;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libcomposefs_testkit::numbers::noise;
use libcomposefs_testkit::slow_link::{LinkSpeed, SlowLink};
use libcomposefs_testkit::{privilege, skip};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Place, bytes_below, servers};

/// Number of files, and the length of each: too long to share a frame.
const FILES: usize = 12;
const LEN: usize = 120_000;

/// A remote with an image, an empty repository `there`, and a mount point.
struct Lazy {
    place: Place,
}

impl Lazy {
    /// Announces that the test is skipped where nothing can be mounted by FUSE.
    fn new(test: &str) -> Option<Self> {
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
        for number in 0..FILES {
            fs::write(tree.join(format!("f{number}")), content(number)).unwrap();
        }
        fs::write(tree.join("small"), b"within the image").unwrap();
        place.ok("here", &["create", tree.to_str().unwrap(), "--name=big"]);
        place.ok("here", &["push", "big", place.path("remote").to_str().unwrap()]);
        Some(Self { place })
    }

    fn target(&self) -> PathBuf {
        self.place.path("mnt")
    }

    #[track_caller]
    fn mount(&self, remote: &str, more: &[&str]) {
        let (lazy, target) = (format!("--lazy={remote}"), self.target());
        self.place.ok("there", &[&["mount", &lazy, "big", target.to_str().unwrap()], more].concat());
    }

    fn remote(&self) -> String {
        self.place.path("remote").to_str().unwrap().to_owned()
    }

    fn read(&self, number: usize) -> io::Result<Vec<u8>> {
        fs::read(self.target().join(format!("f{number}")))
    }

    /// Reads a file, which must have its content or give `EIO`.
    #[track_caller]
    fn is_readable(&self, number: usize) -> bool {
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

    fn objects(&self) -> usize {
        let all = fs::read_dir(self.place.path("there/objects")).unwrap();
        all.map(|folder| fs::read_dir(folder.unwrap().path()).map_or(0, Iterator::count)).sum()
    }

    #[track_caller]
    fn status(&self) -> Value {
        let outcome = self.place.ok("there", &["status", self.target().to_str().unwrap(), "--json"]);
        serde_json::from_slice(&outcome.stdout).unwrap()
    }

    fn unmount(&self) {
        self.place.ok("there", &["umount", self.target().to_str().unwrap()]);
    }

    /// The process that serves the mount.
    fn server(&self) -> Pid {
        let place = self.place.dir.path().as_os_str().as_bytes();
        let is_server = |process: &Path| {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            let has = |word: &[u8]| line.windows(word.len()).any(|window| window == word);
            has(place) && has(b"--lazy=")
        };
        let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
        let found = processes.filter(|path| path.join("cmdline").exists()).find(|path| is_server(path));
        let number = found.unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();
        Pid::from_raw(number).unwrap()
    }
}

impl Drop for Lazy {
    fn drop(&mut self) {
        let target = self.target();
        let program = if privilege::is_root() { "umount" } else { "fusermount3" };
        let option = if privilege::is_root() { "-l" } else { "-uz" };
        let _ = Command::new(program).arg(option).arg(target).output();
    }
}

fn content(number: usize) -> Vec<u8> {
    noise(100 + number as u64, LEN + number)
}

/// A proxy that can be made to take requests and never answer.
struct Gate {
    port: u16,
    is_closed: Arc<AtomicBool>,
}

impl Gate {
    fn before(server: u16) -> Self {
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

    fn close(&self, is_closed: bool) {
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

#[test]
fn only_what_is_read_is_fetched_and_once() {
    let test = "lazy::only_what_is_read_is_fetched_and_once";
    let Some(lazy) = Lazy::new(test) else { return };
    let home = lazy.place.path("nginx");
    fs::create_dir(&home).unwrap();
    let Some(nginx) = servers::nginx(test, lazy.place.dir.path(), &home, "") else { return };
    let link = SlowLink::start(nginx.port, LinkSpeed::cutting(u64::MAX, 0));
    lazy.mount(&format!("http://127.0.0.1:{}/remote", link.port), &[]);
    // Names, metadata and what the image holds need no object.
    assert_eq!(fs::read_dir(lazy.target()).unwrap().count(), FILES + 1);
    assert_eq!(fs::read(lazy.target().join("small")).unwrap(), b"within the image");
    assert_eq!(fs::metadata(lazy.target().join("f3")).unwrap().len(), (LEN + 3) as u64);
    assert_eq!((lazy.objects(), lazy.status()["objects_here"].as_u64()), (1, Some(0)));
    let before = link.bytes_to_client();
    assert!(before < LEN as u64, "{before} bytes for the metadata");
    // Eight readers of one file are one fetch.
    thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(|| assert!(lazy.is_readable(3))))));
    let sent = link.bytes_to_client() - before;
    assert!((LEN as u64..LEN as u64 * 11 / 10).contains(&sent), "{sent} bytes for one file");
    assert_eq!(lazy.objects(), 2);
    let status = lazy.status();
    assert_eq!((&status["objects"], &status["missing"]), (&(FILES as u64).into(), &(FILES as u64 - 1).into()));
    assert!(status["last_error"].is_null() && status["waiting"] == 0 && status["partial"] == true, "{status}");
    // Other commands know it, and refuse what needs all of it.
    let listed = String::from_utf8(lazy.place.ok("there", &["images"]).stdout).unwrap();
    assert!(listed.contains("partial big (1 of 12 objects"), "{listed}");
    let note = String::from_utf8(lazy.place.ok("there", &["fsck"]).stdout).unwrap();
    assert!(note.contains("11 objects missing") && note.contains("no problems found"), "{note}");
    let other = lazy.place.path("other");
    for refused in [
        &["export", "big", "-o", other.to_str().unwrap()][..],
        &["mount", "big", other.to_str().unwrap()],
        &["mount", "big", other.to_str().unwrap(), "--via=fuse"],
        &["push", "big", other.to_str().unwrap()],
    ] {
        let outcome = lazy.place.run("there", refused);
        let is_refused = outcome.status == Some(1) && outcome.stderr.contains("only in part");
        assert!(is_refused && outcome.stderr.contains(" pull http://127.0.0.1:"), "{refused:?}: {outcome:?}");
    }
    lazy.unmount();
}

#[test]
fn wrong_bytes_are_neither_returned_nor_stored() {
    let Some(lazy) = Lazy::new("lazy::wrong_bytes_are_neither_returned_nor_stored") else { return };
    let copy = lazy.place.path("right");
    assert!(Command::new("cp").arg("-a").arg(lazy.place.path("remote")).arg(&copy).status().unwrap().success());
    lazy.mount(&lazy.remote(), &[]);
    let mut packs = Vec::new();
    for folder in fs::read_dir(lazy.place.path("remote/packs")).unwrap() {
        packs.extend(fs::read_dir(folder.unwrap().path()).unwrap().map(|pack| pack.unwrap().path()));
    }
    for pack in &packs {
        let mut bytes = fs::read(pack).unwrap();
        // Every object of the image has a changed byte.
        bytes.iter_mut().step_by(LEN / 4).for_each(|byte| *byte ^= 1);
        fs::remove_file(pack).unwrap();
        fs::write(pack, bytes).unwrap();
    }
    for number in 0..FILES {
        assert!(!lazy.is_readable(number), "f{number}");
    }
    assert_eq!(lazy.objects(), 1);
    let message = lazy.status()["last_error"]["message"].to_string();
    assert!(message.contains("packs/"), "{message}");
    // The same mount with the right bytes.
    fs::remove_dir_all(lazy.place.path("remote")).unwrap();
    fs::rename(&copy, lazy.place.path("remote")).unwrap();
    thread::sleep(Duration::from_millis(1100));
    assert!(lazy.is_readable(0) && lazy.is_readable(FILES - 1));
    lazy.unmount();
    lazy.place.ok("there", &["fsck"]);
}

#[test]
fn a_remote_that_does_not_answer_gives_eio_in_time() {
    let test = "lazy::a_remote_that_does_not_answer_gives_eio_in_time";
    let Some(lazy) = Lazy::new(test) else { return };
    let home = lazy.place.path("nginx");
    fs::create_dir(&home).unwrap();
    let Some(nginx) = servers::nginx(test, lazy.place.dir.path(), &home, "") else { return };
    let gate = Gate::before(nginx.port);
    lazy.mount(&format!("http://127.0.0.1:{}/remote", gate.port), &["--timeout=1"]);
    assert!(lazy.is_readable(0));
    gate.close(true);
    let begun = Instant::now();
    // While a reader waits, names and other files can be read.
    thread::scope(|scope| {
        let waiting = scope.spawn(|| lazy.is_readable(1));
        while lazy.status()["waiting"] != 1 {
            assert!(!waiting.is_finished(), "the reader did not wait");
        }
        assert!(lazy.is_readable(0) && fs::metadata(lazy.target().join("f2")).is_ok());
        assert!(!waiting.join().unwrap());
    });
    let waited = begun.elapsed();
    // A program that waits can be killed.
    let path = lazy.target().join("f4");
    let mut cat = Command::new("cat").arg(path).stdout(Stdio::null()).spawn().unwrap();
    while lazy.status()["waiting"] != 1 {
        assert!(cat.try_wait().unwrap().is_none(), "cat did not wait");
    }
    cat.kill().unwrap();
    assert_eq!(cat.wait().unwrap().signal(), Some(9));
    // One second at least, and as long again for the length of the object at 100 kB/s.
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    assert!(lazy.status()["last_error"]["message"].to_string().contains("did not answer within"));
    gate.close(false);
    thread::sleep(Duration::from_millis(1100));
    assert!(lazy.is_readable(1) && lazy.is_readable(2));
    lazy.unmount();
}

#[test]
fn a_server_without_ranges_sends_a_pack_once() {
    let test = "lazy::a_server_without_ranges_sends_a_pack_once";
    let Some(lazy) = Lazy::new(test) else { return };
    let Some(python) = servers::python(test, lazy.place.dir.path()) else { return };
    let link = SlowLink::start(python.port, LinkSpeed::cutting(u64::MAX, 0));
    lazy.mount(&format!("http://127.0.0.1:{}/remote", link.port), &[]);
    assert!((0..FILES).rev().all(|number| lazy.is_readable(number)));
    let (sent, stored) = (link.bytes_to_client(), bytes_below(&lazy.place.path("remote")));
    // Twelve files are one pack, of which a part came before the answer was known to be the whole of it.
    assert!(sent <= stored * 2 + 20_000, "{sent} bytes were sent, {stored} are stored");
    lazy.unmount();
}

#[test]
fn gc_and_sigkill_leave_whole_objects_only() {
    let Some(lazy) = Lazy::new("lazy::gc_and_sigkill_leave_whole_objects_only") else { return };
    lazy.mount(&lazy.remote(), &[]);
    // Not one after the other: the next file would come with it.
    assert!(lazy.is_readable(0) && lazy.is_readable(9));
    lazy.place.ok("there", &["gc", "--grace=0"]);
    assert_eq!(lazy.objects(), 3);
    // Without a name it is kept as long as it is mounted.
    lazy.place.ok("there", &["untag", "big"]);
    lazy.place.ok("there", &["gc", "--grace=0"]);
    assert!(lazy.objects() == 3 && lazy.is_readable(2));
    thread::scope(|scope| {
        let readers: Vec<_> = (3..FILES).map(|number| scope.spawn(move || number)).collect();
        let target = lazy.target();
        for reader in readers {
            let path = target.join(format!("f{}", reader.join().unwrap()));
            scope.spawn(move || drop(fs::read(path)));
        }
        kill_process(lazy.server(), Signal::KILL).unwrap();
    });
    let target = lazy.target();
    let error = lazy.place.run("there", &["status", target.to_str().unwrap()]);
    assert!(error.status == Some(1) && error.stderr.contains("the server has ended"), "{error:?}");
    lazy.unmount();
    let report = String::from_utf8(lazy.place.ok("there", &["fsck"]).stdout).unwrap();
    assert!(report.contains("no problems found"), "{report}");
    assert!(fs::read_dir(lazy.place.path("there/images")).unwrap().all(|name| name.unwrap().file_name() == "refs"));
    // What was fetched is still here for the next mount.
    let here = lazy.objects();
    lazy.mount(&lazy.remote(), &[]);
    assert!(here >= 4 && lazy.status()["objects_here"] == here as u64 - 1);
    assert!((0..FILES).all(|number| lazy.is_readable(number)));
    lazy.unmount();
    // Without a name and a mount, all of it goes: once the server has ended, which the unmount does not wait for. The
    // first gc still sees the lease of the killed process.
    lazy.place.ok("there", &["untag", "big"]);
    let begun = Instant::now();
    while lazy.objects() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} objects are left", lazy.objects());
        lazy.place.ok("there", &["gc", "--grace=0"]);
    }
}

#[test]
fn fill_makes_it_an_image_for_every_program() {
    let test = "lazy::fill_makes_it_an_image_for_every_program";
    let Some(lazy) = Lazy::new(test) else { return };
    lazy.mount(&lazy.remote(), &[]);
    assert!(lazy.is_readable(5));
    let target = lazy.target();
    let target = target.to_str().unwrap();
    cfsctl(test, &lazy);
    // The ref of the remote leads to another image by now.
    let tree = lazy.place.path("tree");
    lazy.place.ok("here", &["create", tree.to_str().unwrap(), "--name=big"]);
    lazy.place.ok("here", &["push", "big", &lazy.remote()]);
    lazy.place.ok("there", &["fill", target]);
    let begun = Instant::now();
    while lazy.status()["partial"] == true {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", lazy.status());
        thread::sleep(Duration::from_millis(20));
    }
    let filled = lazy.place.ok("there", &["fill", target, "--wait"]);
    assert!(String::from_utf8(filled.stdout).unwrap().contains(": complete"));
    assert_eq!((lazy.status()["missing"].as_u64(), lazy.objects()), (Some(0), FILES + 1));
    fs::rename(lazy.place.path("remote"), lazy.place.path("away")).unwrap();
    assert!((0..FILES).all(|number| lazy.is_readable(number)));
    lazy.unmount();
    assert_eq!(lazy.place.ok("there", &["images", "-q"]).stdout, b"big\n");
    assert_eq!(bytes_below(&lazy.place.path("there/partial")), 0);
    lazy.place.ok("there", &["fsck"]);
    cfsctl(test, &lazy);
    // A mount of the image without the remote.
    lazy.place.ok("there", &["mount", "big", target]);
    assert!((0..FILES).all(|number| lazy.is_readable(number)));
    lazy.unmount();
    // A directory that is no lazy mount.
    let error = lazy.place.run("there", &["fill", target, "--wait"]);
    assert!(error.status == Some(1) && error.stderr.contains("no lazy mount") | error.stderr.contains("not the mount"));
}

/// Has cfsctl check the repository, which it must find sound, whether the image is partial or not.
fn cfsctl(test: &str, lazy: &Lazy) {
    let peers = std::env::var_os("COMPOSEFS_PEERS").map(PathBuf::from);
    let Some(program) = peers.map(|dir| dir.join("cfsctl")).filter(|program| program.exists()) else {
        return skip::announce(test, "cfsctl 0.9.4 is not there: `cargo xtask peers --rust`");
    };
    let mut command = Command::new(program);
    let checked = command.arg("--insecure").arg("--repo").arg(lazy.place.path("there")).arg("fsck").output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn the_command_line_is_checked_before_anything_is_fetched() {
    let Some(lazy) = Lazy::new("lazy::the_command_line_is_checked_before_anything_is_fetched") else { return };
    let (remote, target) = (format!("--lazy={}", lazy.remote()), lazy.target());
    let target = target.to_str().unwrap();
    let wrong_digest = format!("digest={}", "ab".repeat(32));
    for (more, status, message) in [
        (&["--via=kernel"][..], 1, "served in user space"),
        (&["--via=overlay"], 1, "served in user space"),
        (&["-o", "upperdir=u,workdir=w"], 1, "kernel's mount"),
        (&["-o", "basedir=/srv"], 1, "basedir= cannot be used with --lazy"),
        (&["-o", "signed"], 1, "signed cannot be used with --lazy"),
        (&["-o", &wrong_digest], 1, "wrong fs-verity"),
        (&["--insecure"], 2, "cannot be used with"),
        (&["--image-only"], 2, "cannot be used with"),
        (&["--timeout=0"], 2, "--timeout"),
    ] {
        let outcome = lazy.place.run("there", &[&["mount", &remote, "big", target], more].concat());
        assert!(outcome.status == Some(status) && outcome.stderr.contains(message), "{more:?}: {outcome:?}");
    }
    let without = lazy.place.run("there", &["mount", "big", target, "--timeout=5"]);
    assert_eq!(without.status, Some(2), "{without:?}");
    for (name, message) in [("other", "has no ref other"), ("..", "cannot name an image")] {
        let outcome = lazy.place.run("there", &["mount", &remote, name, target]);
        assert!(outcome.status == Some(1) && outcome.stderr.contains(message), "{outcome:?}");
    }
    assert_eq!(lazy.objects(), 0);
    let plan = lazy.place.ok("there", &["mount", &remote, "big", target, "--dry-run"]);
    let plan = String::from_utf8(plan.stdout).unwrap();
    assert!(plan.contains("fetched when a file is read") && plan.contains("60 s"), "{plan}");
    let status = lazy.place.run("there", &["status", target]);
    assert!(status.status == Some(1) && status.stderr.contains("is not the mount point of a lazy mount"), "{status:?}");
    let mounted = lazy.place.ok("there", &["mount", &remote, "big", target, "--json"]);
    let mounted: Value = serde_json::from_slice(&mounted.stdout).unwrap();
    let plan = &mounted["plan"];
    assert_eq!((&plan["verified_by"], &plan["lazy"]["ref"]), (&"server".into(), &"big".into()), "{mounted}");
    lazy.unmount();
}
