//! Lazy mounts by overlayfs: their holder and worker, and what is left when both have ended.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use libcomposefs_testkit::numbers::Numbers;
use libcomposefs_testkit::slow_link::{LinkSpeed, SlowLink};
use rustix::process::{Pid, Signal, kill_process};

use super::lazy_fixture::{FILES, Lazy, content};
use super::lying_server::LyingServer;
use super::servers;

/// Number of times that the worker is killed in each run of the test.
const KILLS: usize = 20;
/// Number of files that are read while the worker is killed.
const AT_ONCE: usize = 3;

fn is_full() -> bool {
    std::env::var_os("COMPOSEFS_FULL").is_some()
}

impl Lazy {
    /// The holder and the worker.
    fn holder_and_worker(&self) -> (Pid, Pid) {
        let begun = Instant::now();
        loop {
            let all = self.servers();
            let worker =
                all.iter().find(|(_, parent)| all.iter().any(|(pid, _)| pid.as_raw_nonzero().get() == *parent));
            let holder = worker.and_then(|(_, parent)| Pid::from_raw(*parent));
            if let (Some((worker, _)), Some(holder)) = (worker, holder) {
                return (holder, *worker);
            }
            assert!(begun.elapsed() < Duration::from_secs(90), "no worker among {all:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_for_the_end(&self) {
        let begun = Instant::now();
        while !self.servers().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(90), "{:?} still run", self.servers());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_worker_that_is_killed_costs_no_error() {
    let test = "lazy_overlay::a_worker_that_is_killed_costs_no_error";
    let Some(lazy) = Lazy::by_overlay(test, KILLS * AT_ONCE) else { return };
    let home = lazy.place.path("nginx");
    fs::create_dir(&home).unwrap();
    let Some(nginx) = servers::nginx(test, lazy.place.dir.path(), &home, "") else { return };
    let link = SlowLink::start(nginx.port, LinkSpeed::new(Duration::from_millis(10), None));
    let remote = format!("http://127.0.0.1:{}/remote", link.port);
    let rounds = if is_full() { 50 } else { 1 };
    for round in 0..rounds {
        let mut random = Numbers(round + 1);
        if round > 0 {
            fs::remove_dir_all(lazy.place.path("there")).unwrap();
            lazy.place.ok("there", &["init", "--insecure"]);
        }
        lazy.mount(&remote, &[]);
        let (holder, mut last) = lazy.holder_and_worker();
        let mut waited = 0;
        for kill in 0..KILLS {
            let moment = Duration::from_micros(random.below(70_000) as u64);
            // Not one after the other: the next file would come with it.
            let files = (0..AT_ONCE).map(|reader| reader * KILLS + kill);
            let readers: Vec<_> = files
                .map(|file| {
                    let path = lazy.target().join(format!("f{file}"));
                    (file, thread::spawn(move || fs::read(path)))
                })
                .collect();
            thread::sleep(moment);
            waited += readers.iter().filter(|(_, reader)| !reader.is_finished()).count();
            kill_process(last, Signal::KILL).unwrap();
            let begun = Instant::now();
            for (file, reader) in readers {
                while !reader.is_finished() {
                    assert!(begun.elapsed() < Duration::from_secs(90), "f{file}, killed after {moment:?}: no answer");
                    thread::sleep(Duration::from_millis(1));
                }
                let found = reader.join().unwrap();
                let found = found.unwrap_or_else(|error| panic!("f{file}, killed after {moment:?}: {error}"));
                assert!(found == content(file), "f{file} has another content");
            }
            let begun = Instant::now();
            loop {
                let (same, worker) = lazy.holder_and_worker();
                if same == holder && worker != last {
                    last = worker;
                    break;
                }
                assert!(begun.elapsed() < Duration::from_secs(90), "no worker was started");
            }
        }
        assert!(waited >= 5, "only {waited} lookups waited when the worker was killed");
        let status = lazy.status();
        assert_eq!((&status["restarts"], &status["last_end"]), (&KILLS.into(), &"signal 9".into()), "{status}");
        assert_eq!(
            (&status["way"], &status["served"], &status["missing"]),
            (&"overlay".into(), &true.into(), &0.into())
        );
        lazy.unmount();
        lazy.wait_for_the_end();
    }
    lazy.place.ok("there", &["fsck"]);
}

#[test]
fn a_complete_image_needs_no_process() {
    let Some(lazy) = Lazy::by_overlay("lazy_overlay::a_complete_image_needs_no_process", FILES) else { return };
    lazy.mount(&lazy.remote(), &[]);
    assert!(lazy.is_readable(5));
    let target = lazy.target();
    lazy.place.ok("there", &["fill", target.to_str().unwrap(), "--wait"]);
    lazy.wait_for_the_end();
    fs::rename(lazy.place.path("remote"), lazy.place.path("away")).unwrap();
    assert!((0..FILES).all(|number| lazy.is_readable(number)));
    let status = lazy.status();
    assert_eq!((&status["served"], &status["partial"], &status["missing"]), (&false.into(), &false.into(), &0.into()));
    // Without a process, the mount keeps the image.
    lazy.place.ok("there", &["untag", "big"]);
    lazy.place.ok("there", &["gc", "--grace=0"]);
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    assert!((0..FILES).all(|number| lazy.is_readable(number)));
    lazy.unmount();
}

#[test]
fn objects_that_were_removed_are_fetched_again() {
    let Some(lazy) = Lazy::by_overlay("lazy_overlay::objects_that_were_removed_are_fetched_again", FILES) else {
        return;
    };
    lazy.mount(&lazy.remote(), &[]);
    assert!(lazy.is_readable(0) && lazy.is_readable(9));
    lazy.place.ok("there", &["gc", "--grace=0"]);
    assert_eq!(lazy.objects(), 3);
    lazy.place.ok("there", &["untag", "big"]);
    lazy.place.ok("there", &["gc", "--grace=0"]);
    // The holder has a lease.
    assert!(lazy.objects() == 3 && lazy.is_readable(2));
    // A gc that knows no leases.
    let image = lazy.status()["digest"].as_str().unwrap().to_owned();
    for folder in ["objects", "partial/incoming"] {
        for file in files_below(lazy.place.path("there").join(folder)) {
            if !file.to_str().unwrap().replace('/', "").ends_with(&image) {
                fs::remove_file(file).unwrap();
            }
        }
    }
    assert_eq!(lazy.objects(), 1);
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    assert!((0..FILES).all(|number| lazy.is_readable(number)));
    assert_eq!(lazy.objects(), FILES + 1);
    lazy.unmount();
    lazy.wait_for_the_end();
    // Without a name and a mount all of it goes, and the second names too.
    let begun = Instant::now();
    while lazy.objects() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} objects are left", lazy.objects());
        lazy.place.ok("there", &["gc", "--grace=0"]);
    }
}

#[test]
fn what_is_missing_gives_an_error_if_both_processes_are_killed() {
    let test = "lazy_overlay::what_is_missing_gives_an_error_if_both_processes_are_killed";
    let Some(lazy) = Lazy::by_overlay(test, FILES) else { return };
    lazy.mount(&lazy.remote(), &[]);
    assert!(lazy.is_readable(3));
    let (holder, worker) = lazy.holder_and_worker();
    kill_process(holder, Signal::KILL).unwrap();
    // The worker alone fetches.
    assert!(lazy.is_readable(7));
    kill_process(worker, Signal::KILL).unwrap();
    lazy.wait_for_the_end();
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    assert!(lazy.is_readable(3) && lazy.is_readable(7));
    let error = lazy.read(5).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOTCONN.raw_os_error()), "{error}");
    let target = lazy.target();
    let told = String::from_utf8(lazy.place.ok("there", &["status", target.to_str().unwrap()]).stdout).unwrap();
    assert!(told.contains("holder and worker have ended: unmount it, and mount it again"), "{told}");
    lazy.unmount();
    lazy.mount(&lazy.remote(), &[]);
    assert!((0..FILES).all(|number| lazy.is_readable(number)));
    // A signal to the holder ends the mount.
    kill_process(lazy.holder_and_worker().0, Signal::TERM).unwrap();
    lazy.wait_for_the_end();
    assert!(!lazy.target().join("small").exists());
}

#[test]
fn changes_are_stored_above_a_lazy_mount() {
    let Some(lazy) = Lazy::by_overlay("lazy_overlay::changes_are_stored_above_a_lazy_mount", FILES) else { return };
    let (upper, work) = (lazy.place.path("upper"), lazy.place.path("work"));
    fs::create_dir(&upper).unwrap();
    fs::create_dir(&work).unwrap();
    lazy.mount(&lazy.remote(), &["-o", &format!("upperdir={},workdir={}", upper.display(), work.display())]);
    // Copying up fetches.
    let appended = Command::new("sh").arg("-c").arg("echo more >> f4").current_dir(lazy.target()).status().unwrap();
    assert!(appended.success());
    let expected = [content(4), b"more\n".to_vec()].concat();
    assert!(lazy.read(4).unwrap() == expected && fs::read(upper.join("f4")).unwrap() == expected);
    assert_eq!(lazy.status()["objects_here"], 1);
    lazy.unmount();
}

#[test]
fn no_lie_of_a_server_is_returned_or_stored() {
    let Some(lazy) = Lazy::by_overlay("lazy_overlay::no_lie_of_a_server_is_returned_or_stored", KILLS) else { return };
    let server = LyingServer::start(lazy.place.dir.path().to_owned());
    lazy.mount(&format!("http://127.0.0.1:{}/remote", server.port), &["--timeout=1"]);
    let rounds = if is_full() { 50 } else { 1 };
    for seed in 1..=rounds {
        server.lie(seed);
        let begun = Instant::now();
        let readable = thread::scope(|scope| {
            let lazy = &lazy;
            let readers: Vec<_> = (0..KILLS).map(|number| scope.spawn(move || lazy.is_readable(number))).collect();
            readers.into_iter().map(|reader| reader.join().unwrap()).filter(|is_readable| *is_readable).count()
        });
        // One second, as long again for an object at 100 kB/s, and once more for the frame without its neighbours.
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        // A lie about one frame of several leaves the others right, and so does what comes after the last byte.
        assert!(readable < KILLS / 2, "{readable} of {KILLS} files");
        lazy.place.ok("there", &["fsck"]);
        // The answers of this round are forgotten.
        thread::sleep(Duration::from_millis(1100));
    }
    server.lie(0);
    assert!((0..KILLS).all(|number| lazy.is_readable(number)));
    lazy.unmount();
    lazy.place.ok("there", &["fsck"]);
}

#[test]
fn the_plan_says_who_verifies() {
    let Some(lazy) = Lazy::by_overlay("lazy_overlay::the_plan_says_who_verifies", 1) else { return };
    let (remote, target) = (format!("--lazy={}", lazy.remote()), lazy.target());
    let target = target.to_str().unwrap();
    for via in ["--via=auto", "--via=kernel", "--via=overlay"] {
        let planned = lazy.place.ok("there", &["mount", &remote, "big", target, via, "--dry-run"]);
        let planned = String::from_utf8(planned.stdout).unwrap();
        assert!(planned.contains("compared with its digest before it is stored"), "{planned}");
        assert!(planned.contains("reading does not verify"), "{planned}");
    }
    let mounted = lazy.place.ok("there", &["mount", &remote, "big", target, "--json"]);
    let mounted: serde_json::Value = serde_json::from_slice(&mounted.stdout).unwrap();
    let plan = &mounted["plan"];
    assert_eq!((&plan["via"], &plan["verified_by"]), (&"overlay".into(), &"fetch".into()), "{mounted}");
    assert_eq!((&plan["lazy"]["ref"], &mounted["mounted"]["overlay"]), (&"big".into(), &"detached".into()));
    assert!(lazy.is_readable(0));
    lazy.unmount();
}

fn files_below(directory: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(path) } else { vec![path] }).collect()
}
