//! The end of a container: its exit status, signals, and everything that is removed.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{ContainerImage, find};

/// Directories with changes, and states of crun: what containers leave if they are not cleaned up.
fn leftovers() -> Vec<PathBuf> {
    let list = |path: &str| fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path());
    let is_changes = |path: &PathBuf| path.to_string_lossy().contains("composefs-run-");
    let mut found: Vec<_> = list("/var/tmp").filter(is_changes).collect();
    // The bundle is a mount in the namespace of the container.
    found.extend(list("/run/composefs/oci"));
    found.sort();
    found
}

/// Returns the directory with the changes of a container that wrote its name to `/data/own`.
fn changes_of(id: &str) -> Option<PathBuf> {
    let is_own =
        |path: &PathBuf| fs::read_to_string(path.join("upper/data/own")).is_ok_and(|name| name.trim_end() == id);
    leftovers().into_iter().find(is_own)
}

fn is_known_to_crun(id: &str) -> bool {
    let list = std::process::Command::new(find("crun").unwrap()).arg("list").output().unwrap();
    String::from_utf8_lossy(&list.stdout).contains(id)
}

pub(crate) fn changes_do_not_reach_the_image(image: &ContainerImage) {
    let script = "echo changed > /data/file; rm /bin/stty; mkdir -p /a/b/c; cat /data/file; ls /bin/stty; \
        hostname > /data/own; hostname";
    let output = image.output(&[], &["/bin/sh", "-c", script]);
    let text = String::from_utf8(output.stdout).unwrap();
    let (first, id) = text.trim_end().split_once('\n').unwrap();
    assert_eq!(first, "changed");
    assert!(id.len() == 12 && !is_known_to_crun(id), "{id}");
    assert_eq!(changes_of(id), None);
    assert_eq!(image.run(&[], &["/bin/cat", "/data/file"]), "of the image\n");
    assert!(image.root().join("bin/stty").is_symlink() && !image.root().join("a").exists());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("/run/composefs"), "{mounts}");
    // The root has the mode of the image's, so that other users can enter it.
    assert_eq!(image.run(&[], &["/bin/stat", "-c", "%a %u", "/"]), "755 0\n");
}

pub(crate) fn exit_statuses_are_those_of_podman(image: &ContainerImage) {
    let shell = |script: &str| image.status(&[], &["/bin/sh", "-c", script]).0;
    assert_eq!([shell("exit 0"), shell("exit 7"), shell("exit 255")], [0, 7, 255]);
    assert_eq!(shell("sh -c 'kill -9 $$'; exit $?"), 137);
    let (status, message) = image.status(&[], &["/bin/none"]);
    assert_eq!(status, 127, "{message}");
    assert!(message.contains("executable file `/bin/none` not found"), "{message}");
    assert!(message.ends_with("\ncomposefs: crun cannot start the container\n"), "{message}");
    assert_eq!(image.status(&[], &["none"]).0, 127);
    assert_eq!(image.status(&[], &["/data"]).0, 126);
    assert_eq!(image.status(&["-v/nonexistent/source:/x"], &["/bin/id"]).0, 125);
    image.configure("");
    let (status, message) = image.status(&[], &[]);
    assert_eq!((status, message.contains("no command")), (125, true), "{message}");
}

/// Lets a shell wait for a signal, for a minute at most.
const WAIT: &str = "i=0; while [ $i -lt 600 ]; do sleep 0.1; i=$((i + 1)); done; exit 99";

/// Starts a container and waits for its first line, which is returned.
fn started(image: &ContainerImage, script: &str) -> (Child, String) {
    let mut command = image.command(&[], &["/bin/sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim_end().to_owned())
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

pub(crate) fn signals_are_those_of_the_command(image: &ContainerImage) {
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::INT, "INT"), (Signal::HUP, "HUP"), (Signal::USR1, "USR1")] {
        let (mut child, id) = started(image, &format!("trap 'exit 5' {name}; hostname; {WAIT}"));
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(5), "{name}");
        assert!(!is_known_to_crun(&id));
    }
    // A signal that the command does not handle ends it. The first process of a container ignores such signals, so
    // the shell is not the first.
    let (mut child, _) = started(image, "sh -c 'kill -TERM $$'; echo $?");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

pub(crate) fn a_failure_leaves_nothing(image: &ContainerImage) {
    let before = leftovers();
    for options in [&["-v/nonexistent/source:/x"][..], &["--tmpfs=/x:nonsense=1"]] {
        assert_eq!(image.status(options, &["/bin/id"]).0, 125, "{options:?}");
    }
    image.configure(r#""User":"stranger""#);
    assert_eq!(image.status(&[], &["/bin/id"]).0, 125);
    let new: Vec<_> = leftovers().into_iter().filter(|path| !before.contains(path)).collect();
    // Other tests run at the same time, whose directories are locked.
    assert!(new.iter().all(is_locked), "{new:?}");
}

fn is_locked(path: &PathBuf) -> bool {
    let Ok(directory) = fs::File::open(path) else { return true };
    rustix::fs::flock(&directory, rustix::fs::FlockOperation::NonBlockingLockShared).is_err()
}

pub(crate) fn a_killed_process_is_cleaned_up(image: &ContainerImage) {
    let (mut child, id) = started(image, &format!("hostname > /data/own; hostname; {WAIT}"));
    let own = || changes_of(&id);
    let directory = own().expect("the changes are on disk");
    send(&child, Signal::KILL);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    // The container ends with it, and its directory stays.
    for _ in 0..100 {
        if !is_known_to_crun(&id) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(!is_known_to_crun(&id));
    assert!(own().is_none_or(|own| own == directory));
    // The next container of any test removes the directory, once the runtime has ended.
    for _ in 0..100 {
        image.run(&[], &["/bin/id"]);
        if own().is_none() {
            return;
        }
    }
    panic!("{:?} is not removed", own());
}
