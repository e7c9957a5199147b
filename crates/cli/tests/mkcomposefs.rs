//! `mkcomposefs` from the command line.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use libcomposefs_image::{Algorithm, verity};
use libcomposefs_testkit::golden;
use libcomposefs_testkit::program::{Outcome, Program};

fn mkcomposefs() -> Program<'static> {
    Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name: "mkcomposefs" }
}

fn run(line: &str) -> Outcome {
    mkcomposefs().run(line.split_whitespace(), b"")
}

/// Creates a small tree with every kind of file that requires no privilege.
fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("d/e")).unwrap();
    fs::write(root.join("d/inline"), b"short").unwrap();
    fs::write(root.join("d/empty"), b"").unwrap();
    fs::write(root.join("d/e/big"), vec![b'x'; 100_000]).unwrap();
    fs::hard_link(root.join("d/e/big"), root.join("again")).unwrap();
    symlink("d/e/big", root.join("link")).unwrap();
}

#[test]
fn goldens_are_reproduced_by_the_command() {
    for case in golden::good() {
        let out = mkcomposefs().run(["--from-file", "--print-digest", "-", "-"], &case.dump).ok();
        let raised = case.name.starts_with("mixed-")
            || case.name.starts_with("whiteout-") && case.name != "whiteout-chr-not-zero";
        let want = &case.images[usize::from(raised)];
        let line = format!("{}\n", want.verity);
        let image = out.stdout.strip_suffix(line.as_bytes()).unwrap_or_else(|| panic!("{}", case.name));
        assert_eq!(image.len() as u64, want.len, "{}", case.name);
        assert_eq!(verity::digest(Algorithm::Sha256, image).to_hex(), want.verity, "{}", case.name);
    }
}

#[test]
fn bad_dumps_exit_with_status_1_and_name_file_line_and_field() {
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("a.dump");
    for case in golden::bad() {
        fs::write(&dump, &case.dump).unwrap();
        let image = dir.path().join("image");
        let out = mkcomposefs().run([OsString::from("--from-file"), dump.clone().into(), image.clone().into()], b"");
        assert_eq!(out.status, Some(1), "{}", case.name);
        let words = case.message.as_deref().unwrap_or("Directories can't be hardlinked");
        let start = format!("mkcomposefs: {}: line ", dump.display());
        assert!(out.stderr.starts_with(&start), "{}: {}", case.name, out.stderr);
        assert!(out.stderr.contains(", field ") && out.stderr.contains(words), "{}: {}", case.name, out.stderr);
        assert!(!image.exists(), "{} left an image", case.name);
    }
}

/// Returns a dump of `count` opaque directories that contain a whiteout.
fn opaque_directories(count: usize, xattr: &str) -> String {
    let mut dump = "/ 0 40755 2 0 0 0 0.0 - - -\n".to_owned();
    for n in 0..count {
        let name = format!("/a\\x1b{n}");
        dump += &format!("{name} 0 40755 2 0 0 0 0.0 - - - {xattr}\n{name}/gone 0 20644 1 0 0 0 0.0 - - -\n");
    }
    dump
}

#[test]
fn lost_opaque_directories_cause_a_warning() {
    let opaque = "trusted.overlay.opaque=y";
    let arguments = ["--from-file", "-", "-"];
    // As with the C tool, the image is that of a tree in which the directories were never opaque.
    let image = mkcomposefs().run(arguments, opaque_directories(1, "trusted.overlay.opaque=x").as_bytes()).ok();
    assert_eq!(image.stderr, "");
    let warned = mkcomposefs().run(arguments, opaque_directories(1, opaque).as_bytes());
    assert_eq!((warned.status, warned.stdout == image.stdout), (Some(0), true));
    let start = "mkcomposefs: warning: /a\\x1b0: this directory is opaque and contains a whiteout.";
    assert!(warned.stderr.starts_with(start) && warned.stderr.lines().count() == 1, "{}", warned.stderr);
    let many = mkcomposefs().run(arguments, opaque_directories(12, opaque).as_bytes()).ok();
    assert_eq!(many.stderr.lines().count(), 6, "{}", many.stderr);
    assert!(
        many.stderr.ends_with("7 more directories are not opaque in the image for the same reason\n"),
        "{}",
        many.stderr
    );
    // Repository commands print the same warning, and no check reports the image as damaged.
    let dir = tempfile::tempdir().unwrap();
    let repo = format!("--repo={}", dir.path().join("repo").display());
    let composefs = Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name: "composefs" };
    let _ = composefs.run([&repo, "init", "--insecure"], b"").ok();
    let imported = composefs.run([&repo, "import", "-"], opaque_directories(1, opaque).as_bytes()).ok();
    assert!(imported.stderr.contains("composefs: warning: /a\\x1b0: this directory is opaque"), "{}", imported.stderr);
    let path = dir.path().join("image");
    fs::write(&path, &image.stdout).unwrap();
    let checked = composefs.run(["check", "--strict", path.to_str().unwrap()], b"").ok();
    assert!(checked.line().contains("note: /a") && checked.line().contains("sound: 0 errors"), "{}", checked.line());
}

#[test]
fn a_failure_keeps_the_old_image() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    fs::write(&image, "old").unwrap();
    let out = mkcomposefs().run([Path::new("--from-file"), Path::new("-"), &image], b"nonsense\n");
    assert_eq!(out.status, Some(1));
    assert_eq!(fs::read(&image).unwrap(), b"old");
    let root = b"/ 0 40755 2 0 0 0 0.0 - - -\n";
    let _ = mkcomposefs().run([Path::new("--from-file"), Path::new("-"), &image], root).ok();
    assert_eq!(fs::metadata(&image).unwrap().len() % 4096, 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something was left beside the image");
}

#[test]
fn the_same_tree_gives_the_same_bytes_with_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    make_tree(&root);
    for n in 0..300 {
        fs::write(root.join(format!("d/file{n}")), format!("{n}").repeat(n + 1)).unwrap();
    }
    for links in ["", "--hardlinks"] {
        let digest = |threads| run(&format!("--print-digest-only {links} --threads={threads} {}", root.display())).ok();
        let first = digest(1);
        for threads in [2, 3, 16] {
            assert_eq!(digest(threads), first);
        }
        // The entries of a copy are in another order on disk.
        let copy = dir.path().join("copy");
        let arguments = [Path::new("-a"), &root, &copy];
        assert!(std::process::Command::new("cp").args(arguments).status().unwrap().success());
        let of_copy = run(&format!("--print-digest-only {links} {}", copy.display())).ok();
        assert_eq!(of_copy, first);
        fs::remove_dir_all(&copy).unwrap();
    }
}

#[test]
fn a_store_receives_each_content_once() {
    let dir = tempfile::tempdir().unwrap();
    let (root, store, image) = (dir.path().join("root"), dir.path().join("a/b/store"), dir.path().join("image"));
    make_tree(&root);
    let arguments = format!("--print-digest --digest-store={} {} {}", store.display(), root.display(), image.display());
    let first = run(&arguments).ok();
    let digest = verity::digest(Algorithm::Sha256, &vec![b'x'; 100_000]);
    let object = store.join(digest.object_path());
    assert_eq!(fs::read(&object).unwrap(), vec![b'x'; 100_000]);
    assert_eq!(fs::metadata(&object).unwrap().permissions().mode() & 0o7777, 0o644);
    let count = || walk(&store).iter().filter(|p| p.is_file()).count();
    assert_eq!(count(), 1);
    // A damaged object is replaced. If its size is right, it is only detected with --verify-store.
    let same_size = vec![b'y'; 100_000];
    for (damage, option, found) in [
        (&b"xx"[..], "", true),
        (&same_size, "", false),
        (&same_size, "--verify-store ", true),
        (b"", "--verify-store ", true),
    ] {
        fs::set_permissions(&object, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&object, damage).unwrap();
        assert_eq!(run(&format!("{option}{arguments}")).ok().stdout, first.stdout);
        assert_eq!(fs::read(&object).unwrap()[..] == [b'x'; 100_000], found, "{option}{damage:.10?}");
        assert_eq!(count(), 1);
    }
    let alone = run(&format!("--verify-store --print-digest-only {}", root.display()));
    assert_eq!(alone.status, Some(1));
    assert!(alone.stderr.contains("--digest-store"), "{}", alone.stderr);
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}

#[test]
fn additional_options() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    make_tree(&root);
    let digest = |options: &str| run(&format!("--print-digest-only {options} {}", root.display())).ok().stdout;
    let plain = digest("");
    for options in ["--hardlinks", "--inline-max=0", "--exclude=*.x --exclude=empty", "--source-date-epoch=1"] {
        assert_ne!(digest(options), plain, "{options}");
    }
    assert_eq!(digest("--inline-max=64"), plain);
    assert_eq!(digest("--exclude=big --include=big"), plain);
    assert_eq!(digest("--exclude=nothing-like-it"), plain);
    assert_eq!(digest("--algorithm=sha512").len(), 129);
    // All inodes of a tree that was just created are later than 1970.
    assert_eq!(digest("--source-date-epoch=0"), digest("--use-epoch"));
    for help in ["--help", "--version"] {
        assert!(!run(help).ok().stdout.is_empty());
    }
}

#[test]
fn special_destinations_are_written_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let root = b"/ 0 40755 2 0 0 0 0.0 - - -\n";
    let want = mkcomposefs().run(["--from-file", "-", "-"], root).ok().stdout;
    // A symlink to a file: its target is replaced, the symlink stays.
    let (file, link) = (dir.path().join("file"), dir.path().join("link"));
    fs::write(&file, "old").unwrap();
    symlink("file", &link).unwrap();
    let _ = mkcomposefs().run([Path::new("--from-file"), Path::new("-"), &link], root).ok();
    assert_eq!(fs::read(&file).unwrap(), want);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    // The magic link of a descriptor of the caller: the bytes must be written to its file, not to the name.
    let out = mkcomposefs().run(["--from-file", "-", "/proc/self/fd/1"], root).ok();
    assert_eq!(out.stdout, want);
    let out = mkcomposefs().run(["--from-file", "-", "/dev/stdout"], root).ok();
    assert_eq!(out.stdout, want);
}
