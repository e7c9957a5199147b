//! Comparison with the reference, Debian's `mkcomposefs` 1.0.8, as a black box: random dumps and real trees.
//!
//! `COMPOSEFS_PEERS` names the directory with the reference's programs; `cargo xtask test` sets it up.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use libcomposefs_image::Algorithm;
use libcomposefs_testkit::program::Program;
use libcomposefs_testkit::{random, skip, stats};

fn ours() -> Program<'static> {
    Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name: "mkcomposefs" }
}

/// Returns the reference; if it is missing, announces that the test is skipped.
fn reference(test: &str) -> Option<PathBuf> {
    let peers = std::env::var_os("COMPOSEFS_PEERS").map(PathBuf::from);
    let program = peers.map(|peers| peers.join("mkcomposefs")).filter(|program| program.exists());
    if program.is_none() {
        skip::announce(test, "COMPOSEFS_PEERS does not name a folder with the reference's mkcomposefs");
    }
    program
}

#[test]
fn random_dumps_give_the_same_bytes() {
    let Some(reference) = reference("random_dumps_give_the_same_bytes") else { return };
    let reference = Program { path: &reference, name: "mkcomposefs" };
    let (mut dumps, mut bytes, mut links, mut whiteouts, mut many) = (0, 0, 0, 0, 0);
    let models = random::series(Algorithm::Sha256, 40, 60).chain(random::series(Algorithm::Sha256, 250, 15));
    for model in models {
        let dump = model.dump();
        for versions in [&["--min-version=0", "--max-version=0"][..], &["--min-version=1"], &[]] {
            let arguments = [versions, &["--from-file", "-", "-"]].concat();
            let want = reference.run(&arguments, &dump);
            let got = ours().run(&arguments, &dump);
            let same = want.status == got.status && want.stdout == got.stdout;
            let text = String::from_utf8_lossy(&dump);
            assert!(
                same,
                "{versions:?}: {:?} {} and {:?} {}\n{text}",
                want.status, want.stderr, got.status, got.stderr
            );
            assert_eq!(want.status, Some(0), "{}\n{text}", want.stderr);
            dumps += 1;
            bytes += got.stdout.len();
        }
        use libcomposefs_testkit::model::NodeKind;
        links += model.nodes.iter().filter(|n| matches!(n.kind, NodeKind::Link(_))).count();
        whiteouts += model.nodes.iter().filter(|n| n.kind == NodeKind::Device(0o020000, 0)).count();
        many += model.nodes.iter().filter(|n| n.xattrs.len() > 128).count();
    }
    assert!(links > 0 && whiteouts > 0 && many > 1, "{links} links, {whiteouts} whiteouts, {many} with many xattrs");
    stats::show(&format!(
        "compared with mkcomposefs 1.0.8: {dumps} images of random dumps, {bytes} bytes; {links} links, {whiteouts} \
         whiteouts, {many} inodes with more than 128 xattrs"
    ));
}

#[test]
fn invalid_owners_are_read_as_in_the_reference() {
    let Some(reference) = reference("invalid_owners_are_read_as_in_the_reference") else { return };
    let reference = Program { path: &reference, name: "mkcomposefs" };
    let mut accepted = 0;
    for uid in
        ["", "x", "0", "1", "4294967296", "8589934592", "-4294967296", "4294967297", "-1", "99999999999999999999"]
    {
        for (gid, rdev) in [("0", "0"), ("x", "0"), ("0", "x"), ("x", "y"), ("4294967296", "x")] {
            let dump = format!("/ 4096 40755 2 {uid} {gid} {rdev} 1.0 - - -\n");
            let arguments = ["--from-file", "-", "-"];
            let (want, got) = (reference.run(arguments, dump.as_bytes()), ours().run(arguments, dump.as_bytes()));
            assert_eq!(want.status, got.status, "{dump}{}{}", want.stderr, got.stderr);
            assert!(want.stdout == got.stdout, "{dump}");
            accepted += usize::from(got.status == Some(0));
        }
    }
    assert_eq!(accepted, 36);
}

#[test]
fn real_trees_give_the_same_bytes() {
    let Some(reference) = reference("real_trees_give_the_same_bytes") else { return };
    let reference = Program { path: &reference, name: "mkcomposefs" };
    let (mut trees, mut bytes) = (0, 0);
    for tree in ["/etc", "/usr/bin", "/usr/sbin", "/usr/share/doc", "/usr/lib/systemd", "/dev", "/usr/include"] {
        if !Path::new(tree).is_dir() {
            continue;
        }
        for options in [&[][..], &["--use-epoch", "--user-xattrs"], &["--skip-devices", "--skip-xattrs", "--threads=3"]]
        {
            if tree == "/dev" && options.is_empty() && !is_root_owned_devices() {
                continue;
            }
            let arguments = [options, &[tree, "-"]].concat();
            let (want, got) = (reference.run(&arguments, b""), ours().run(&arguments, b""));
            assert_eq!(want.status, got.status, "{tree}: {} and {}", want.stderr, got.stderr);
            assert!(want.stdout == got.stdout, "{tree} {options:?}: the images differ");
            bytes += got.stdout.len();
        }
        trees += 1;
    }
    assert!(trees > 1);
    stats::show(&format!("compared with mkcomposefs 1.0.8: {trees} real trees in 3 ways, {bytes} bytes of images"));
}

/// Returns true if /dev has real devices, whose numbers are worth comparing.
fn is_root_owned_devices() -> bool {
    fs::metadata("/dev/null").is_ok_and(|m| m.file_type().is_char_device())
}

#[test]
fn stores_are_equal() {
    let Some(reference) = reference("stores_are_equal") else { return };
    let reference = Program { path: &reference, name: "mkcomposefs" };
    let dir = tempfile::tempdir().unwrap();
    let source = "/usr/share/doc/bash";
    let source = if Path::new(source).is_dir() { source } else { "/etc" };
    let list = |program: &Program<'_>, name: &str| {
        let (store, image) = (dir.path().join(name), dir.path().join(format!("{name}.img")));
        let option = format!("--digest-store={}", store.display());
        let _ = program.run([Path::new(&option), Path::new(source), &image], b"").ok();
        let mut objects = Vec::new();
        for folder in fs::read_dir(&store).unwrap().map(|e| e.unwrap().path()) {
            for object in fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()) {
                objects.push((object.strip_prefix(&store).unwrap().to_owned(), fs::read(&object).unwrap()));
            }
        }
        objects.sort();
        (objects, fs::read(image).unwrap())
    };
    let (want, got) = (list(&reference, "theirs"), list(&ours(), "ours"));
    assert!(!want.0.is_empty());
    assert!(want == got);
    stats::show(&format!("compared with mkcomposefs 1.0.8: a store of {} objects", got.0.len()));
}
