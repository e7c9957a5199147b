//! Operands of the commands that look into images: files, refs and digests.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

/// A directory with a tree, a repository `repo` with its image as `debian/13`, and its image file `file.img`.
struct Place {
    dir: TempDir,
    digest: String,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        fs::write(dir.path().join("tree/big"), "x".repeat(5000)).unwrap();
        fs::write(dir.path().join("tree/small"), "small\n").unwrap();
        let mut place = Self { dir, digest: String::new() };
        place.prints("--repo repo init --insecure");
        place.digest = place.prints("--repo repo create tree --name debian/13").trim().to_owned();
        fs::create_dir(place.path("other")).unwrap();
        fs::write(place.path("other/only-here"), "").unwrap();
        place.make_image("other", "file.img");
        place
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    fn make_image(&self, tree: &str, image: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_composefs"));
        command.arg0("mkcomposefs").args([tree, image]);
        assert!(command.current_dir(self.dir.path()).status().unwrap().success());
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_composefs"));
        command.args(line.split(' ')).current_dir(self.dir.path()).env("HOME", self.dir.path());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// What a command prints that succeeds.
    #[track_caller]
    fn prints(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command says that fails.
    #[track_caller]
    fn fails(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(!output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Every path below the directory.
    fn listing(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        let mut stack = vec![self.dir.path().to_owned()];
        while let Some(directory) = stack.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    stack.push(entry.path());
                }
                paths.push(entry.path());
            }
        }
        paths.sort();
        paths
    }
}

#[test]
fn every_command_takes_a_ref_and_a_digest() {
    let place = Place::new();
    for (count, image) in ["debian/13", &place.digest].into_iter().enumerate() {
        let run = |line: &str| place.prints(&format!("--repo repo {}", line.replace("IMAGE", image)));
        assert_eq!(run("ls IMAGE"), "big\nsmall\n");
        assert_eq!(run("find IMAGE --type f"), "/big\n/small\n");
        assert!(run("stat IMAGE").contains(&place.digest));
        assert!(run("stat IMAGE /small").contains("type     file\n"));
        // The objects are those of the repository.
        assert_eq!(run("cat IMAGE big small"), format!("{}small\n", "x".repeat(5000)));
        assert!(run("du IMAGE").lines().next().unwrap().ends_with("freed  missing"));
        assert!(run("check IMAGE --read").contains("objects: 1 of 1 correct: 1 read"));
        run(&format!("extract IMAGE out{count}"));
        assert_eq!(fs::read_to_string(place.path(format!("out{count}/small"))).unwrap(), "small\n");
        assert_eq!(run("diff IMAGE tree"), "");
        assert_eq!(run("digest IMAGE"), format!("{}  {image}\n", place.digest));
        let explained = run(&format!("explain-digest IMAGE --want {}", place.digest));
        // Other programs are told the path of the object: they know no refs.
        assert!(explained.contains("composefs-info dump repo/objects/"), "{explained}");
        assert!(!explained.contains("debian/13"), "{explained}");
    }
}

#[test]
fn an_existing_path_wins_over_a_ref() {
    let place = Place::new();
    assert_eq!(place.prints("--repo repo ls debian/13"), "big\nsmall\n");
    fs::create_dir(place.path("debian")).unwrap();
    fs::copy(place.path("file.img"), place.path("debian/13")).unwrap();
    assert_eq!(place.prints("--repo repo ls debian/13"), "only-here\n");
    // A file in the place of the directory is no such path.
    fs::remove_dir_all(place.path("debian")).unwrap();
    fs::write(place.path("debian"), "").unwrap();
    assert_eq!(place.prints("--repo repo ls debian/13"), "big\nsmall\n");
    // A symlink to nothing is a path that exists.
    fs::remove_file(place.path("debian")).unwrap();
    fs::create_dir(place.path("debian")).unwrap();
    std::os::unix::fs::symlink("nowhere", place.path("debian/13")).unwrap();
    assert!(place.fails("--repo repo ls debian/13").contains("Failed to open 'debian/13': No such file"));
}

#[test]
fn a_path_with_a_dot_is_never_a_ref() {
    let place = Place::new();
    place.prints("--repo repo tag debian/13 name");
    assert_eq!(place.prints("--repo repo ls name"), "big\nsmall\n");
    for path in ["./name", "../name", "name/"] {
        let error = place.fails(&format!("--repo repo ls {path}"));
        assert!(error.contains(&format!("Failed to open '{path}': No such file")), "{error}");
    }
}

#[test]
fn one_error_says_that_there_is_neither() {
    let place = Place::new();
    let commands = ["ls X", "stat X", "cat X a", "find X", "du X", "extract X new", "check X", "diff X X", "digest X"];
    for line in commands.into_iter().chain(["explain-digest X --list", "explain-digest tree --against X"]) {
        let error = place.fails(&format!("--repo repo {}", line.replace('X', "debian/14")));
        assert_eq!(
            error, "composefs: debian/14: no such file, and no ref or OCI image of that name in repo\n",
            "{line}"
        );
    }
    let digest = "ab".repeat(32);
    let error = place.fails(&format!("--repo repo ls {digest}"));
    assert_eq!(error, format!("composefs: {digest}: no such file, and no image of that digest in repo\n"));
    let error = place.fails("--repo none ls debian/13");
    let expected = "composefs: debian/13: no such file, and no repository to look it up in: ";
    assert!(error.starts_with(expected) && error.contains("none: No such file or directory"), "{error}");
}

#[test]
fn files_need_no_repository() {
    let place = Place::new();
    let before = place.listing();
    // One that is locked, one that does not exist, and the default of a user.
    let locked = File::open(place.path("repo")).unwrap();
    flock(&locked, FlockOperation::LockExclusive).unwrap();
    let start = Instant::now();
    for repository in ["--repo repo", "--repo none", "--user"] {
        for line in ["ls", "stat", "find", "du", "check", "digest"] {
            place.prints(&format!("{repository} {line} file.img"));
        }
        place.prints(&format!("{repository} diff file.img other"));
        place.fails(&format!("{repository} cat file.img none"));
        place.fails(&format!("{repository} ls ./none"));
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert_eq!(place.listing(), before);
}

#[test]
fn a_locked_repository_is_read_after_a_while() {
    let place = Place::new();
    let locked = File::open(place.path("repo")).unwrap();
    flock(&locked, FlockOperation::LockExclusive).unwrap();
    let output = place.run("--repo repo ls debian/13");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "big\nsmall\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("locked"), "{output:?}");
}

#[test]
fn a_damaged_image_is_refused() {
    let place = Place::new();
    let object = place.path(format!("repo/objects/{}/{}", &place.digest[..2], &place.digest[2..]));
    let mut bytes = fs::read(&object).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::set_permissions(&object, Permissions::from_mode(0o644)).unwrap();
    fs::write(&object, bytes).unwrap();
    for line in ["ls debian/13", "cat debian/13 small", "diff debian/13 tree", "extract debian/13 out", "du debian/13"]
    {
        let error = place.fails(&format!("--repo repo {line}"));
        assert!(error.starts_with("composefs: debian/13: the image is damaged: its digest is "), "{line}: {error}");
        assert!(error.ends_with("remedy: composefs --repo=repo fsck\n"), "{line}: {error}");
    }
    // These report the digest that they find.
    let report = place.run("--repo repo check debian/13");
    let expected = format!(", expected {}\n", place.digest);
    assert!(String::from_utf8_lossy(&report.stdout).contains(&expected), "{report:?}");
    assert_eq!(report.status.code(), Some(1));
    assert!(!place.prints("--repo repo digest debian/13").contains(&place.digest));
}

#[test]
fn a_remedy_names_the_repository() {
    let place = Place::new();
    let error = place.fails("--repo repo ls debian/13 /none");
    assert!(error.contains("remedy: composefs ls --repo=repo debian/13 / lists"), "{error}");
    let error = place.fails("--repo repo ls file.img /none");
    assert!(error.contains("remedy: composefs ls file.img / lists"), "{error}");
}

#[test]
fn objects_of_files_are_not_looked_for_in_the_repository() {
    let place = Place::new();
    place.make_image("tree", "tree.img");
    let line = |images: &str| place.prints(&format!("--repo repo du {images}"));
    assert!(!line("tree.img debian/13").contains("missing"));
    assert!(line("debian/13").contains("missing"));
    assert!(place.prints("--repo repo check tree.img debian/13").contains("objects: 1 of 1 correct"));
    assert!(!place.prints("--repo repo check tree.img").contains("objects: "));
    let error = place.fails("--repo repo cat tree.img big");
    assert!(error.contains("use --basedir=DIR to name the object directory"), "{error}");
}

#[test]
fn read_without_objects_is_refused_before_any_output() {
    let place = Place::new();
    place.make_image("tree", "tree.img");
    for line in ["check --read tree.img file.img", "--repo repo check --read tree.img", "check --read --json tree.img"]
    {
        let output = place.run(line);
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(2), &b""[..]), "{line}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("--read applies to objects"), "{line}: {output:?}");
    }
    // One image of the repository is enough, and an operand that does not exist is reported after the others.
    assert!(place.prints("--repo repo check --read tree.img debian/13").contains("objects: 1 of 1 correct: 1 read"));
    let output = place.run("--repo repo check --read tree.img none");
    assert!(output.status.code() == Some(2) && String::from_utf8_lossy(&output.stdout).contains("tree.img"));
}

#[test]
fn a_directory_has_no_digest() {
    let place = Place::new();
    let error = place.fails("digest tree");
    let expected = "composefs: tree is a directory: expected files\n\
                    remedy: mkcomposefs --print-digest-only tree prints the digest of its image, composefs digest \
                    --bootable tree that of its bootable image\n";
    assert_eq!(error, expected);
}

#[test]
fn repository_options_are_taken_where_they_act() {
    let place = Place::new();
    for line in ["--repo repo ls debian/13", "ls --repo repo debian/13", "--repo none ls --repo=repo debian/13"] {
        assert_eq!(place.prints(line), "big\nsmall\n", "{line}");
    }
    // Before the command they are taken for every command, so that an alias with --repo works.
    place.prints("--repo repo completion bash");
    let output = place.run("completion --repo repo bash");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("unexpected argument '--repo'"), "{output:?}");
    assert!(!place.prints("completion --help").contains("--repo"));
    assert!(place.prints("ls --help").contains("--repo"));
}
