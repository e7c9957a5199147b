//! What a lazy mount fetches before a program needs it: the objects of a trace, and the rest.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::lazy_fixture::{FILES, Lazy, content};

/// Copies the shell and its libraries into a tree, with the directories that a command needs.
const SHELL: &str = r#"
    mkdir -p "$1"/bin "$1"/proc "$1"/dev "$1"/tmp
    file=$(readlink -f "$(command -v sh)"); cp "$file" "$1"/bin/sh
    cp -L --parents $(ldd "$file" | grep -o '/[^ :]*\.so[^ ]*') "$1" 2>/dev/null || true"#;

impl Lazy {
    /// Pushes an image with a shell and files, and the trace of a shell that reads some of the files in this order.
    /// Returns the lines of the trace.
    fn push_traced(&self, files: &[usize]) -> Vec<String> {
        let tree = self.place.path("big");
        let made = Command::new("sh").args(["-euc", SHELL, "sh"]).arg(&tree).status().unwrap();
        assert!(made.success());
        let trace = self.place.path("trace");
        let (tree, trace_option) = (tree.to_str().unwrap(), format!("--output={}", trace.display()));
        self.place.ok("here", &["create", tree, "--name=big"]);
        let script: String = files.iter().map(|file| format!("read x < /f{file} || true; ")).collect();
        let traced = self.place.run("here", &["trace", "big", &trace_option, "--", "sh", "-c", &(script + "exit 7")]);
        assert_eq!(traced.status, Some(7), "{traced:?}");
        let remote = self.remote();
        let push = |more: &[&str]| self.place.ok("here", &[&["push", "big", &remote, "--json"], more].concat());
        push(&[]);
        let pushed = push(&[&format!("--trace={}", trace.display())]);
        let pushed: serde_json::Value = serde_json::from_slice(&pushed.stdout).unwrap();
        assert_eq!(pushed["same"], false, "{pushed}");
        fs::read_to_string(trace).unwrap().lines().skip(1).map(str::to_owned).collect()
    }

    fn wait_for(&self, what: &str, is_right: impl Fn(&serde_json::Value) -> bool) {
        let begun = Instant::now();
        while !is_right(&self.status()) {
            assert!(begun.elapsed() < Duration::from_secs(90), "not {what}: {}", self.status());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn traced_objects_are_here_before_they_are_read(lazy: &Lazy) {
    let lines = lazy.push_traced(&[7, 3, 7]);
    let position = |path: &str| lines.iter().position(|line| line.ends_with(path));
    assert!(position("/bin/sh").is_some_and(|shell| Some(shell) < position(" /f7")), "{lines:?}");
    assert!(position(" /f7") < position(" /f3") && position(" /f1").is_none(), "{lines:?}");
    lazy.mount(&lazy.remote(), &[]);
    lazy.wait_for("the trace", |status| status["objects_here"] == lines.len());
    fs::rename(lazy.place.path("remote"), lazy.place.path("away")).unwrap();
    assert!(lazy.is_readable(7) && lazy.is_readable(3) && !lazy.is_readable(1));
    fs::rename(lazy.place.path("away"), lazy.place.path("remote")).unwrap();
    lazy.unmount();
    // The image is partial still, and complete without any reader.
    for (pace, file) in [("--fill=idle", 1), ("--fill=now", 2)] {
        lazy.mount(&lazy.remote(), &[pace]);
        lazy.wait_for("complete", |status| status["partial"] == false && status["missing"] == 0);
        assert!(lazy.is_readable(file));
        lazy.unmount();
        lazy.place.ok("there", &["fsck"]);
        fs::remove_dir_all(lazy.place.path("there")).unwrap();
        lazy.place.ok("there", &["init", "--insecure"]);
    }
}

#[test]
fn traced_objects_come_ahead_by_the_image_server() {
    let Some(lazy) = Lazy::new("lazy_ahead::traced_objects_come_ahead_by_the_image_server") else { return };
    traced_objects_are_here_before_they_are_read(&lazy);
}

#[test]
fn traced_objects_come_ahead_by_overlayfs() {
    let test = "lazy_ahead::traced_objects_come_ahead_by_overlayfs";
    let Some(lazy) = Lazy::by_overlay(test, FILES) else { return };
    traced_objects_are_here_before_they_are_read(&lazy);
}

#[test]
fn a_file_that_is_no_trace_is_refused() {
    let Some(lazy) = Lazy::new("lazy_ahead::a_file_that_is_no_trace_is_refused") else { return };
    let refused = |text: &[u8], reason: &str| {
        let path = lazy.place.path("trace");
        fs::write(&path, text).unwrap();
        let push = ["push", "big", &lazy.remote(), &format!("--trace={}", path.display())];
        let pushed = lazy.place.run("here", &push);
        assert!(pushed.status == Some(1) && pushed.stderr.contains(reason), "{pushed:?}");
    };
    refused(b"", "composefs trace");
    refused(b"composefs-trace 1\n/f3\n", "line 2");
    let line = |digest: &str, path: &str| format!("composefs-trace 1\n{digest} {path}\n");
    refused(line(&"77".repeat(32), "/none").as_bytes(), "names no object and no path of the image");
    // The twin: an object that the image does not have any more, found by its path.
    let path = lazy.place.path("trace");
    fs::write(&path, line(&"77".repeat(32), "/f2")).unwrap();
    lazy.place.ok("here", &["push", "big", &lazy.remote(), &format!("--trace={}", path.display())]);
    lazy.mount(&lazy.remote(), &[]);
    lazy.wait_for("the trace", |status| status["objects_here"] == 1);
    let objects = lazy.place.path("there/objects");
    let is_file_2 = |path: &Path| fs::read(path).unwrap() == content(2);
    let folders = fs::read_dir(objects).unwrap().flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    assert_eq!(folders.filter(|file| is_file_2(&file.as_ref().unwrap().path())).count(), 1);
    lazy.unmount();
}
