//! Image files as input: the header is checked first, no more is kept in memory than the image header declares, and
//! endless input is rejected.

use std::fs::{self, File};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libcomposefs_testkit::program::{Outcome, Program};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

/// Memory limit of the program, in KiB: far less than the files, and a few times what the program needs.
const MEMORY: &str = "160000";
const MIB: u64 = 1 << 20;

/// Fixture: an image, and other files that are given in its place.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("name"), "content").unwrap();
        let place = Self { dir };
        let _ = place.program("mkcomposefs").run([&tree, &place.path("image")], b"").ok();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn program(&self, name: &'static str) -> Program<'static> {
        Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name }
    }

    /// Creates a file with the image, followed by a hole.
    fn with_hole(&self, len: u64) {
        fs::copy(self.path("image"), self.path("hole")).unwrap();
        File::options().write(true).open(self.path("hole")).unwrap().set_len(len).unwrap();
    }

    /// Runs a command in the fixture with little memory. A command that hangs is killed after a minute, with status
    /// 124.
    fn run(&self, name: &str, arguments: &[&str], input: Stdio) -> Outcome {
        let script = format!("ulimit -v {MEMORY}; exec timeout 60 ./{name} \"$@\"");
        let program = self.path(name);
        if !program.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_composefs"), program).unwrap();
        }
        let mut command = Command::new("sh");
        command.arg0("sh").args(["-c", &script, "sh"]).args(arguments).current_dir(self.dir.path()).stdin(input);
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Outcome { status: output.status.code(), stdout: output.stdout, stderr }
    }

    fn composefs(&self, arguments: &[&str]) -> Outcome {
        self.run("composefs", arguments, Stdio::null())
    }
}

/// A hole of a terabyte after the image is not read: it would exceed the memory and the time.
#[test]
fn data_after_an_image_is_not_read() {
    let place = Place::new();
    place.with_hole(MIB << 20);
    for arguments in [
        &["ls", "hole"][..],
        &["ls", "-lR", "hole"],
        &["stat", "hole", "/name"],
        &["cat", "hole", "/name"],
        &["find", "hole"],
        &["du", "hole"],
        &["diff", "hole", "image"],
        &["extract", "hole", "out"],
    ] {
        let _ = place.composefs(arguments).ok();
    }
    assert_eq!(fs::read(place.path("out/name")).unwrap(), b"content");
    for command in ["ls", "dump", "objects"] {
        let of = |image| place.run("composefs-info", &[command, image], Stdio::null()).ok().stdout;
        assert_eq!(of("hole"), of("image"), "{command}");
    }
    let _ = place.run("composefs-dump", &["hole", "copy"], Stdio::null()).ok();
    assert_eq!(fs::read(place.path("copy")).unwrap(), fs::read(place.path("image")).unwrap());
}

/// The digest covers the whole file, so the file is hashed but not kept in memory. Verdicts also apply to the whole
/// file.
#[test]
fn data_after_an_image_is_hashed_but_not_kept() {
    let place = Place::new();
    place.with_hole(256 * MIB);
    let hole = place.composefs(&["digest", "hole"]).ok();
    let digest = hole.line().split(' ').next().unwrap().to_owned();
    let stat = place.composefs(&["stat", "hole"]).ok();
    assert!(stat.line().contains(&digest) && stat.line().contains("268435456 bytes"), "{}", stat.line());
    let check = place.composefs(&["check", "--threads=1", &format!("--digest={digest}"), "hole"]).ok();
    for words in ["the file has 268435456 bytes", "1 warning", "not canonical", "in the end", &digest] {
        assert!(check.line().contains(words), "{}", check.line());
    }
    let of_pipe = place.run("composefs", &["check", "/dev/stdin"], pipe_of(&place.path("hole"))).ok();
    assert_eq!(of_pipe.line().replace("/dev/stdin:", "hole:"), check.line());
    let _ = place.composefs(&["--repo=repo", "init", "--insecure"]).ok();
    let import = place.composefs(&["--repo=repo", "import", "hole"]);
    assert_eq!(import.status, Some(1));
    assert!(import.stderr.contains("written again") && import.stderr.contains(&digest), "{}", import.stderr);
    let _ = place.composefs(&["--repo=repo", "import", "image"]).ok();
    let wrong = place.composefs(&["extract", "image", "out", &format!("--digest={digest}")]);
    assert!(wrong.stderr.contains("nothing is extracted"), "{}", wrong.stderr);
    let _ = place.composefs(&["extract", "hole", "out", &format!("--digest={digest}")]).ok();
}

/// A superblock may declare more bytes than the file has, and a file may not be an image.
#[test]
fn truncated_images_and_other_files_are_rejected() {
    let place = Place::new();
    let mut image = fs::read(place.path("image")).unwrap();
    image[1024 + 36..][..4].copy_from_slice(&[0xff; 4]);
    fs::write(place.path("lies"), &image).unwrap();
    let refused = place.composefs(&["ls", "lies"]);
    assert!(refused.stderr.contains("Invalid argument") && refused.stderr.contains("4294967295"), "{}", refused.stderr);
    let refused = place.run("composefs", &["ls", "/dev/stdin"], pipe_of(&place.path("lies")));
    assert!(refused.stderr.contains("4294967295"), "{}", refused.stderr);
    // A file of a terabyte that is not an image.
    File::create(place.path("zeros")).unwrap().set_len(MIB << 20).unwrap();
    for arguments in [&["ls", "zeros"][..], &["--repo=repo", "import", "zeros"]] {
        let _ = place.composefs(&["--repo=repo", "init", "--insecure"]);
        let refused = place.composefs(arguments);
        assert_eq!(refused.status, Some(1));
        assert!(refused.stderr.contains("not a composefs image"), "{}", refused.stderr);
    }
}

/// A pipe that provides the content of a file.
fn pipe_of(file: &Path) -> Stdio {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut file = File::open(file).unwrap();
    // If the program does not read all of it, writing fails with a broken pipe.
    std::thread::spawn(move || drop(std::io::copy(&mut file, &mut writer)));
    Stdio::from(reader)
}

#[test]
fn endless_input_is_rejected() {
    let place = Place::new();
    mknodat(CWD, place.path("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _listener = UnixListener::bind(place.path("socket")).unwrap();
    let _ = place.composefs(&["--repo=repo", "init", "--insecure"]).ok();
    for (file, words) in
        [("fifo", "it is a FIFO"), ("socket", "it is a socket"), ("/dev/zero", "it is a character device")]
    {
        for arguments in [
            &["ls", file][..],
            &["stat", file],
            &["cat", file, "/name"],
            &["find", file],
            &["du", file],
            &["check", file],
            &["extract", file, "out"],
            &["diff", file, "image"],
            &["--repo=repo", "import", file],
        ] {
            let refused = place.composefs(arguments);
            let expected = if matches!(arguments[0], "check" | "diff") { 2 } else { 1 };
            assert_eq!(refused.status, Some(expected), "{arguments:?}: {}", refused.stderr);
            assert!(refused.stderr.contains(words), "{arguments:?}: {}", refused.stderr);
        }
        let refused = place.run("composefs-info", &["ls", file], Stdio::null());
        assert_eq!(refused.status, Some(1));
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
}

/// Counterpart: pipes with an end are accepted under all their names.
#[test]
fn pipes_are_accepted() {
    let place = Place::new();
    let image = place.path("image");
    for path in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
        for input in [pipe_of(&image), File::open(&image).unwrap().into()] {
            let listed = place.run("composefs", &["ls", path], input).ok();
            assert_eq!(listed.line(), "name", "{path}");
        }
    }
    let _ = place.run("composefs", &["diff", "-", "image"], pipe_of(&image)).ok();
    // A FIFO opened by the shell.
    mknodat(CWD, place.path("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let fifo = rustix::fs::open(place.path("fifo"), OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    fs::write(place.path("fifo"), fs::read(&image).unwrap()).unwrap();
    let listed = place.run("composefs", &["ls", "/dev/stdin"], fifo.into());
    assert_eq!((listed.status, listed.line()), (Some(0), "name"), "{}", listed.stderr);
}

#[test]
fn nested_braces_do_not_panic() {
    let place = Place::new();
    let nested = format!("{}a{}", "{".repeat(2000), "}".repeat(2000));
    let exclude = place.run("mkcomposefs", &["--exclude", &nested, "tree", "out"], Stdio::null());
    assert_eq!(exclude.status, Some(1));
    for found in [exclude, place.composefs(&["find", "image", "--name", &nested])] {
        assert!(found.stderr.contains("nested more than 32 deep") && found.stderr.contains("{{{"), "{}", found.stderr);
        assert!(!found.stderr.contains("panicked"), "{}", found.stderr);
    }
    let _ = place.run("mkcomposefs", &["--exclude", "{a,{b,{c,name}}}", "tree", "out"], Stdio::null()).ok();
    assert_eq!(place.composefs(&["ls", "out"]).ok().line(), "");
}
