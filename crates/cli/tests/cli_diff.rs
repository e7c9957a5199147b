//! `composefs diff` from the command line.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use libcomposefs_testkit::golden;
use libcomposefs_testkit::program::{Outcome, Program};
use serde_json::Value;

fn program(name: &'static str) -> Program<'static> {
    Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name }
}

fn diff<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>, input: &[u8]) -> Outcome {
    let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
    program("composefs").run(std::iter::once("diff".into()).chain(arguments), input)
}

/// Returns the JSON report of a command that exits with the given status.
fn json<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>, status: i32) -> Value {
    let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
    let outcome = diff(arguments.chain(["--json".into()]), b"");
    assert_eq!(outcome.status, Some(status), "{}", outcome.stderr);
    serde_json::from_slice(&outcome.stdout).unwrap()
}

fn image(dump: &[u8], version: &str) -> Vec<u8> {
    let versions = [format!("--min-version={version}"), format!("--max-version={version}")];
    let line = versions.iter().map(String::as_str).chain(["--from-file", "-", "-"]);
    program("mkcomposefs").run(line, dump).ok().stdout
}

const DUMP: &[u8] = b"\
/ 0 40755 2 0 0 0 100.0 - - -
/a\\x1b[2Jb 3 100644 1 0 0 0 100.0 - abc - user.x=1
/dir 0 40755 2 0 0 0 200.0 - - -
/dir/file 2 100644 1 0 0 0 300.0 - hi -
/link 2 120777 1 0 0 0 100.0 to - -
";

/// Creates a directory with files of these names.
fn place(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

fn replaced(text: &[u8], old: &str, new: &str) -> Vec<u8> {
    let text = std::str::from_utf8(text).unwrap();
    assert!(text.contains(old));
    text.replace(old, new).into_bytes()
}

#[test]
fn status_is_equal_different_or_error() {
    let other = replaced(DUMP, "hi", "ho");
    let dir =
        place(&[("a", &image(DUMP, "0")), ("same", &image(DUMP, "0")), ("b", &image(&other, "0")), ("text", DUMP)]);
    let path = |name: &str| dir.path().join(name);
    let status = |a: &str, b: &str| diff([path(a), path(b)], b"").status;
    for equal in ["a", "same", "text"] {
        let outcome = diff([path("a"), path(equal)], b"");
        assert_eq!((outcome.status, outcome.stdout.len(), &outcome.stderr[..]), (Some(0), 0, ""), "{equal}");
    }
    assert_eq!(status("a", "b"), Some(1));
    assert_eq!(status("text", "b"), Some(1));
    let quiet = diff([path("a").as_os_str(), path("b").as_os_str(), OsStr::new("--quiet")], b"");
    assert_eq!((quiet.status, quiet.stdout.len()), (Some(1), 0));
    fs::write(path("cut"), &fs::read(path("a")).unwrap()[..2000]).unwrap();
    fs::write(path("other"), b"neither").unwrap();
    fs::write(path("empty"), b"").unwrap();
    fs::write(path("bad"), b"/ 0 40755 2 0 0 0 100.0 - - -\n/a 0\n").unwrap();
    for (name, message) in [
        ("cut", "Failed to load"),
        ("other", "nor a dump"),
        ("empty", "is empty"),
        ("missing", "cannot open"),
        ("bad", "line 2"),
    ] {
        let outcome = diff([path("a"), path(name)], b"");
        assert_eq!((outcome.status, outcome.stdout.len()), (Some(2), 0), "{name}");
        assert!(outcome.stderr.contains(message) && outcome.stderr.contains(name), "{name}: {}", outcome.stderr);
    }
}

#[test]
fn contradictory_options_are_rejected() {
    let dir = place(&[("a", &image(DUMP, "0")), ("b", &image(DUMP, "1"))]);
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name).into_os_string().into_string().unwrap());
    for (options, message) in [
        (&["--ignore", "colour"][..], "there is no field \"colour\""),
        (&["--user-xattrs"], "--user-xattrs applies to directories only"),
        (&["--path", "/no/such"], "neither side has the path /no/such"),
        (&["--user-xattrs", "--skip-xattrs"], "cannot be used with"),
        (&["--no-such-option"], "unexpected argument"),
    ] {
        let outcome = diff([&a[..], &b].iter().chain(options), b"");
        assert_eq!(outcome.status, Some(2), "{options:?}");
        assert!(outcome.stderr.contains(message), "{options:?}: {}", outcome.stderr);
    }
    let outcome = diff(["-", "-"], b"");
    assert_eq!(outcome.status, Some(2));
    assert!(outcome.stderr.contains("only one side"), "{}", outcome.stderr);
}

#[test]
fn causes_come_first_and_names_cannot_move_the_cursor() {
    let other = replaced(&replaced(DUMP, "00.0", "07.0"), "user.x=1", "user.x=\\x1b[31m");
    let dir = place(&[("a", &image(DUMP, "0")), ("b", &image(&other, "0"))]);
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    let text = diff([&a, &b], b"").stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(!text.contains('\x1b'), "{text}");
    let (summary, paths) = text.split_once("\n\nall 5 entries differ in mtime:\n").unwrap();
    for words in [
        "A: ",
        "all 5 entries differ in mtime\n    all mtimes of B are shifted by +7 seconds",
        "xattr user.x differs on 1 file",
    ] {
        assert!(summary.contains(words), "{words}: {text}");
    }
    for words in
        ["  /dir/file  1970-01-01T00:05:00Z -> 1970-01-01T00:05:07Z\n", "  /a\\x1b[2Jb  \"1\" -> \"\\x1b[31m\"\n"]
    {
        assert!(paths.contains(words), "{words}: {text}");
    }
    let brief = diff([a.as_os_str(), b.as_os_str(), OsStr::new("--brief")], b"").stdout;
    assert!(!String::from_utf8(brief).unwrap().contains("/dir/file"));
    let limited = diff([a.as_os_str(), b.as_os_str(), OsStr::new("--limit=2")], b"").stdout;
    assert!(String::from_utf8(limited).unwrap().contains("... and 3 more"));
    let ignored = diff([a.as_os_str(), b.as_os_str(), OsStr::new("--ignore=mtime,xattr:user.x,image")], b"");
    assert_eq!((ignored.status, ignored.stdout.len()), (Some(0), 0));
    let part = diff([a.as_os_str(), b.as_os_str(), OsStr::new("--path=/link"), OsStr::new("--ignore=mtime")], b"");
    assert_eq!(part.status, Some(0));
}

#[test]
fn json_report_is_complete() {
    let other =
        [&replaced(&replaced(DUMP, "hi", "ho"), "user.x=1", "user.y=\\xff")[..], b"/new 0 100600 1 0 0 0 1.0 - - -\n"]
            .concat();
    let dir = place(&[("a", &image(DUMP, "0")), ("b", &image(&other, "1"))]);
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    let report = json([&a, &b], 1);
    assert_eq!(report["equal"], false);
    assert_eq!(
        (&report["a"]["form"], &report["a"]["version"], &report["b"]["version"]),
        (&"image".into(), &0.into(), &1.into())
    );
    assert_eq!(report["image"], serde_json::json!(["version", "build-time", "forms"]));
    assert_eq!(report["counts"]["fields"], serde_json::json!({"content": 1, "xattrs": 1}));
    let changes = serde_json::json!([
        {"path": "/a\u{1b}[2Jb", "xattrs": [
            {"name": "user.x", "a": "1", "b": null},
            {"name": "user.y", "a": null, "b": "\u{fffd}", "b_hex": "ff"},
        ]},
        {"path": "/dir/file", "content": {"a": "hi", "b": "ho"}},
        {"path": "/new", "only": "b", "type": "file"},
    ]);
    assert_eq!(report["changes"], changes);
    let causes = report["causes"].as_array().unwrap();
    assert_eq!(causes.len(), 4);
    assert!(causes.iter().all(|cause| cause["count"] == 1 && cause["hints"].is_array() && cause["text"].is_string()));
    let identical = json([&a, &a], 0);
    assert_eq!((&identical["equal"], &identical["changes"]), (&true.into(), &serde_json::json!([])));
}

#[test]
fn a_directory_is_compared_as_it_would_be_built() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(root.join("sub/small"), b"small").unwrap();
    fs::write(root.join("large"), vec![7; 9000]).unwrap();
    fs::hard_link(root.join("large"), root.join("sub/again")).unwrap();
    symlink("large", root.join("to")).unwrap();
    let built = dir.path().join("image");
    for options in
        [&["--hardlinks"][..], &[], &["--algorithm=sha512"], &["--inline-max=0"], &["--inline-max=5000", "--hardlinks"]]
    {
        let arguments = options.iter().map(OsStr::new).chain([root.as_os_str(), built.as_os_str()]);
        let _ = program("mkcomposefs").run(arguments, b"").ok();
        for sides in [[&built, &root], [&root, &built]] {
            let outcome = diff(sides, b"");
            let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
            assert_eq!((outcome.status, &text[..]), (Some(0), ""), "{options:?}: {}", outcome.stderr);
        }
        let dump = program("composefs-info").run([OsStr::new("dump"), built.as_os_str()], b"").ok().stdout;
        assert_eq!(diff([OsStr::new("-"), root.as_os_str()], &dump).status, Some(0), "{options:?}");
        assert_eq!(diff([built.as_os_str(), OsStr::new("-")], &dump).status, Some(0), "{options:?}");
    }
    assert_eq!(diff([&root, &root], b"").status, Some(0));
    let report = json([built.as_os_str(), root.as_os_str(), OsStr::new("--hardlinks=no")], 1);
    assert_eq!(report["causes"][0]["field"], "hardlinks");
    assert_eq!(report["causes"][0]["hints"][0]["hint"], "no-hardlinks");
    assert_eq!(report["counts"]["fields"], serde_json::json!({"hardlinks": 2, "nlink": 2}));
    fs::set_permissions(root.join("sub/small"), fs::Permissions::from_mode(0o600)).unwrap();
    let report = json([&built, &root], 1);
    assert_eq!(report["changes"], serde_json::json!([{"path": "/sub/small", "mode": {"a": "0644", "b": "0600"}}]));
}

#[test]
fn an_epoch_is_recognised_and_can_be_requested() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("file"), b"").unwrap();
    let built = dir.path().join("image");
    let _ = program("mkcomposefs").run([OsStr::new("--use-epoch"), root.as_os_str(), built.as_os_str()], b"").ok();
    let report = json([&built, &root], 1);
    assert_eq!(report["causes"][0]["hints"][0]["hint"], "epoch");
    assert_eq!(report["causes"][0]["hints"][0]["side"], "a");
    assert_eq!(diff([built.as_os_str(), root.as_os_str(), OsStr::new("--use-epoch")], b"").status, Some(0));
}

#[test]
fn versions_of_one_dump_differ_in_the_version() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    let mut with_whiteouts = 0;
    for case in golden::good() {
        fs::write(&a, image(&case.dump, "0")).unwrap();
        fs::write(&b, image(&case.dump, "1")).unwrap();
        let report = json([&a, &b], 1);
        let causes = report["causes"].as_array().unwrap();
        if causes.is_empty() {
            assert_eq!(report["image"], serde_json::json!(["version"]), "{}", case.name);
            assert_eq!(report["counts"]["changed"], 0, "{}", case.name);
            continue;
        }
        // The marks of version 1 on the directories of whiteouts are the only difference.
        with_whiteouts += 1;
        let is_mark = |cause: &Value| cause["xattr"].as_str().is_some_and(|name| name.ends_with("overlay.opaque"));
        assert!(causes.iter().all(is_mark), "{}: {causes:?}", case.name);
    }
    assert!((1..40).contains(&with_whiteouts), "{with_whiteouts}");
}
