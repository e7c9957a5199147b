//! Lazy mounts: contents come from the remote when files are read.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libcomposefs_testkit::skip;
use libcomposefs_testkit::slow_link::{LinkSpeed, SlowLink};
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::lazy_fixture::{FILES, Gate, LEN, Lazy};
use super::{bytes_below, servers};

#[test]
fn an_image_server_fetches_only_what_is_read_and_once() {
    let test = "lazy::an_image_server_fetches_only_what_is_read_and_once";
    only_what_is_read_is_fetched_and_once(test, Lazy::new(test));
}

#[test]
fn an_overlay_fetches_only_what_is_read_and_once() {
    let test = "lazy::an_overlay_fetches_only_what_is_read_and_once";
    only_what_is_read_is_fetched_and_once(test, Lazy::by_overlay(test, FILES));
}

#[test]
fn an_image_server_neither_returns_nor_stores_wrong_bytes() {
    let test = "lazy::an_image_server_neither_returns_nor_stores_wrong_bytes";
    wrong_bytes_are_neither_returned_nor_stored(Lazy::new(test));
}

#[test]
fn an_overlay_neither_returns_nor_stores_wrong_bytes() {
    let test = "lazy::an_overlay_neither_returns_nor_stores_wrong_bytes";
    wrong_bytes_are_neither_returned_nor_stored(Lazy::by_overlay(test, FILES));
}

#[test]
fn an_image_server_gives_eio_in_time_if_the_remote_does_not_answer() {
    let test = "lazy::an_image_server_gives_eio_in_time_if_the_remote_does_not_answer";
    a_remote_that_does_not_answer_gives_eio_in_time(test, Lazy::new(test));
}

#[test]
fn an_overlay_gives_eio_in_time_if_the_remote_does_not_answer() {
    let test = "lazy::an_overlay_gives_eio_in_time_if_the_remote_does_not_answer";
    a_remote_that_does_not_answer_gives_eio_in_time(test, Lazy::by_overlay(test, FILES));
}

fn only_what_is_read_is_fetched_and_once(test: &str, lazy: Option<Lazy>) {
    let Some(lazy) = lazy else { return };
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

fn wrong_bytes_are_neither_returned_nor_stored(lazy: Option<Lazy>) {
    let Some(lazy) = lazy else { return };
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

fn a_remote_that_does_not_answer_gives_eio_in_time(test: &str, lazy: Option<Lazy>) {
    let Some(lazy) = lazy else { return };
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
        assert!(begun.elapsed() < Duration::from_secs(90), "{}", lazy.status());
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
        (&["-o", "upperdir=u,workdir=w"][..], 1, "kernel's mount"),
        (&["-o", "basedir=/srv"], 1, "basedir= cannot be used with --lazy"),
        (&["-o", "signed"], 1, "signed cannot be used with --lazy"),
        (&["-o", &wrong_digest], 1, "wrong fs-verity"),
        (&["--insecure"], 2, "cannot be used with"),
        (&["--image-only"], 2, "cannot be used with"),
        (&["--timeout=0"], 2, "--timeout"),
    ] {
        let outcome = lazy.place.run("there", &[&["mount", &remote, "big", target, "--via=fuse"], more].concat());
        assert!(outcome.status == Some(status) && outcome.stderr.contains(message), "{more:?}: {outcome:?}");
    }
    let without = lazy.place.run("there", &["mount", "big", target, "--timeout=5"]);
    assert_eq!(without.status, Some(2), "{without:?}");
    for (name, message) in [("other", "has no ref other"), ("..", "cannot name an image")] {
        let outcome = lazy.place.run("there", &["mount", &remote, name, target]);
        assert!(outcome.status == Some(1) && outcome.stderr.contains(message), "{outcome:?}");
    }
    assert_eq!(lazy.objects(), 0);
    let plan = lazy.place.ok("there", &["mount", &remote, "big", target, "--via=fuse", "--dry-run"]);
    let plan = String::from_utf8(plan.stdout).unwrap();
    assert!(plan.contains("fetched when a file is read") && plan.contains("60 s"), "{plan}");
    let status = lazy.place.run("there", &["status", target]);
    assert!(status.status == Some(1) && status.stderr.contains("is not the mount point of a lazy mount"), "{status:?}");
    let mounted = lazy.place.ok("there", &["mount", &remote, "big", target, "--via=fuse", "--json"]);
    let mounted: Value = serde_json::from_slice(&mounted.stdout).unwrap();
    let plan = &mounted["plan"];
    assert_eq!((&plan["verified_by"], &plan["lazy"]["ref"]), (&"server".into(), &"big".into()), "{mounted}");
    lazy.unmount();
}
