//! `composefs-info` and `composefs-dump` from the command line.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use libcomposefs_testkit::golden;
use libcomposefs_testkit::program::{Outcome, Program};

fn program(name: &'static str) -> Program<'static> {
    Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name }
}

fn info<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Outcome {
    program("composefs-info").run(arguments, b"")
}

fn build(dump: &[u8], version: &str) -> Vec<u8> {
    let versions = [format!("--min-version={version}"), format!("--max-version={version}")];
    let line = versions.iter().map(String::as_str).chain(["--from-file", "-", "-"]);
    program("mkcomposefs").run(line, dump).ok().stdout
}

const DUMP: &[u8] = b"\
/ 0 40755 2 0 0 0 0.0 - - -
/a\\x20b\\n 0 40755 2 0 0 0 0.0 - - -
/a\\x20b\\n/link 0 @100644 1 0 0 0 0.0 /obj - -
/a\\x20b\\n/sym 3 120777 1 0 0 0 0.0 x\\x20= - -
/inline 2 100644 1 0 0 0 0.0 - hi -
/null 0 20666 1 0 0 259 0.0 - - -
/obj 100 100644 2 0 0 0 0.0 /sub/obj\\x20ect - -
/other 100 100644 2 0 0 0 0.0 - - -
/same 100 100644 2 0 0 0 0.0 /sub/obj\\x20ect - -
/zobj 100 100644 2 0 0 0 0.0 missing - -
";

/// Creates a directory with the image of the dump above.
fn place() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    fs::write(&image, build(DUMP, "0")).unwrap();
    let image = image.to_str().unwrap().to_owned();
    (dir, image)
}

#[test]
fn goldens_survive_dumping_and_rewriting() {
    let dir = tempfile::tempdir().unwrap();
    let (source, copy) = (dir.path().join("source"), dir.path().join("copy"));
    let mut images = 0;
    for case in golden::good() {
        for version in ["0", "1"] {
            let name = format!("{} version {version}", case.name);
            let image = build(&case.dump, version);
            fs::write(&source, &image).unwrap();
            let text = info([OsStr::new("dump"), source.as_os_str()]).ok().stdout;
            assert!(build(&text, version) == image, "{name}: the dump gives another image");
            let _ = program("composefs-dump").run([&source, &copy], b"").ok();
            assert!(fs::read(&copy).unwrap() == image, "{name}: the copy differs");
            images += 1;
        }
    }
    assert_eq!(images, 232);
}

#[test]
fn commands_print_the_expected_lines() {
    let (dir, image) = place();
    let out = |line: &[&str]| String::from_utf8(info(line.iter().chain([&image.as_str()])).ok().stdout).unwrap();
    // Only the first path of an inode shows its object.
    let list = "/a b\\n/\t\n/a b\\n/link\t@ /sub/obj\\x20ect\n/a b\\n/sym\t-> x\\x20=\n/inline\n/null\n/obj\n/other\n\
                /same\t@ /sub/obj\\x20ect\n/zobj\t@ missing\n";
    assert_eq!(out(&["ls"]), list);
    let lines = out(&["dump"]);
    let line = |path: &str| lines.lines().find(|line| line.starts_with(path)).unwrap().to_owned();
    assert_eq!(line("/ "), "/ 4096 40755 3 0 0 0 0.0 - - -");
    assert_eq!(line("/a\\x20b\\n "), "/a\\x20b\\n 58 40755 2 0 0 0 0.0 - - -");
    assert_eq!(line("/a\\x20b\\n/link"), "/a\\x20b\\n/link 100 @100644 2 0 0 0 0.0 /obj - -");
    assert_eq!(line("/inline"), "/inline 2 100644 1 0 0 0 0.0 - hi -");
    assert_eq!(out(&["objects"]), "/sub/obj ect\nmissing\n");
    assert_eq!(out(&["objects", &image]), out(&["objects"]));
    assert_eq!(out(&["ls", &image]), [list, list].concat());
    // Without --basedir all objects are missing.
    assert_eq!(out(&["missing-objects"]), "/sub/obj ect\nmissing\n");
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("sub/obj ect"), "").unwrap();
    let basedir = format!("--basedir={}", dir.path().display());
    assert_eq!(out(&[&basedir, "missing-objects"]), "missing\n");
    fs::write(dir.path().join("missing"), "").unwrap();
    assert_eq!(out(&["missing-objects", "--basedir", dir.path().to_str().unwrap()]), "");
}

#[test]
fn filter_selects_entries_of_the_root() {
    let (_dir, image) = place();
    let out = |line: &[&str]| String::from_utf8(info(line.iter().chain([&image.as_str()])).ok().stdout).unwrap();
    assert_eq!(out(&["ls", "--filter=inline", "--filter", "null", "--filter=none"]), "/inline\n/null\n");
    assert_eq!(out(&["dump", "--filter=none"]), "/ 4096 40755 3 0 0 0 0.0 - - -\n");
    // The remaining name is not a hard link.
    let text = out(&["dump", "--filter=a b\n"]);
    assert!(text.contains("/a\\x20b\\n/link 100 100644 2 0 0 0 0.0 /sub/obj\\x20ect - -\n"), "{text}");
    assert_eq!(out(&["objects", "--filter=zobj"]), "missing\n");
}

#[test]
fn measure_file_prints_digests() {
    let dir = tempfile::tempdir().unwrap();
    let (a, empty) = (dir.path().join("a"), dir.path().join("empty"));
    fs::write(&a, "content_a\n").unwrap();
    fs::write(&empty, "").unwrap();
    let out = info([Path::new("measure-file"), &a, &empty]).ok();
    let digests = [
        "cc3da5b14909626fc99443f580e4d8c9b990e85e0a1d18883dc89b23d43e173f",
        "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95",
    ];
    assert_eq!(out.line(), digests.join("\n"));
    let out = info([Path::new("measure-file"), &a, dir.path()]);
    assert_eq!((out.status, out.line()), (Some(1), digests[0]));
    assert!(out.stderr.starts_with(&format!("composefs-info: failed to measure '{}': ", dir.path().display())));
    let out = info([Path::new("measure-file"), &dir.path().join("none")]);
    assert_eq!(out.status, Some(1));
    assert!(out.stderr.contains("none': No such file"), "{}", out.stderr);
}

#[test]
fn failures_have_status_1_and_the_messages_of_the_reference() {
    let (dir, image) = place();
    let none = dir.path().join("none").to_str().unwrap().to_owned();
    let text = dir.path().join("text").to_str().unwrap().to_owned();
    fs::write(&text, "no image".repeat(1000)).unwrap();
    for (line, words, usage) in [
        (vec![], "No command specified", true),
        (vec!["x", &image], "Unknown command 'x'", false),
        (vec!["ls"], "No image path specified", true),
        (vec!["measure-file"], "No files specified", true),
        (vec!["ls", &image, "--filter=a/b"], "Filter must be a single name: a/b", false),
        (vec!["ls", &none], &format!("Failed to open '{none}': No such file or directory"), false),
        (vec!["dump", &text], &format!("Failed to load '{text}': Invalid argument"), false),
        (vec!["objects", &image, &none], "Failed to open", false),
        (vec!["objects", &image, "--basedir", &none], &format!("Can't open basedir `{none}`"), false),
    ] {
        let out = info(&line);
        assert_eq!(out.status, Some(1), "{line:?}");
        assert!(out.stderr.starts_with(&format!("composefs-info: {words}")), "{line:?}: {}", out.stderr);
        assert_eq!(out.stderr.contains("usage: composefs-info"), usage, "{line:?}: {}", out.stderr);
        assert!(out.stdout.is_empty(), "{line:?}");
    }
    // Output before the failure is printed.
    let out = info(["ls", &image, &none]);
    assert_eq!(out.status, Some(1));
    assert!(out.stdout.starts_with(b"/a b"));
    // The message contains the location of the damage.
    let mut damaged = fs::read(&image).unwrap();
    let name = damaged.windows(6).position(|bytes| bytes == b"inline").unwrap();
    damaged[name] = b'/';
    fs::write(&text, &damaged).unwrap();
    let out = info(["ls", &text]);
    assert!(out.stderr.contains("/, inode 36, offset ") && out.stderr.contains("holds a slash"), "{}", out.stderr);
    for (line, words) in [
        (vec![], "No source path specified\nusage"),
        (vec![image.as_str()], "No destination path specified\nusage"),
        (vec![&image, "a", "b"], "Too many arguments\nusage"),
        (vec![&none, &text], "Failed to open"),
    ] {
        let out = program("composefs-dump").run(&line, b"");
        assert_eq!(out.status, Some(1), "{line:?}");
        assert!(out.stderr.starts_with(&format!("composefs-dump: {words}")), "{line:?}: {}", out.stderr);
    }
    // A failed copy leaves the existing destination unchanged.
    let out = program("composefs-dump").run([&text, &image], b"");
    assert_eq!(out.status, Some(1));
    let _ = info(["ls", &image]).ok();
}

#[test]
fn help_and_version() {
    for name in ["composefs-info", "composefs-dump"] {
        let out = program(name).run(["--help"], b"").ok();
        assert!(String::from_utf8_lossy(&out.stdout).contains("Example"), "{name}");
        let out = program(name).run(["--version"], b"").ok();
        assert!(out.line().starts_with(&format!("{name} (composefs) ")), "{}", out.line());
    }
}
