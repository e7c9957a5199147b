//! Comparison with the reference, Debian's `composefs-info` 1.0.8, as a black box: goldens, random dumps and real
//! trees.

use std::fs;
use std::path::{Path, PathBuf};

use libcomposefs_image::Algorithm;
use libcomposefs_testkit::program::Program;
use libcomposefs_testkit::{golden, random, skip, stats};

const OURS: &str = env!("CARGO_BIN_EXE_composefs");

/// Goldens for which the outputs differ. The right output is the one whose dump reproduces the image.
const DUMPS_DIFFER: &[&str] = &[
    // The reference reads two bytes too many of a payload whose entry is not padded.
    "external-payload-long",
    "external-payload-slashes",
    // The reference ignores that a socket is extended because of its size.
    "fifo-socket",
    // The reference always takes the first name for the file and later ones for hard links.
    "hardlink-before-target-in-order",
    "mixed-tree-300",
    "mixed-tree-4000",
];
/// Those of them for which the paths of objects differ.
const PAYLOADS_DIFFER: &[&str] = &["external-payload-long", "external-payload-slashes"];

/// Returns the reference; if it is missing, announces that the test is skipped.
fn reference(test: &str) -> Option<PathBuf> {
    let peers = std::env::var_os("COMPOSEFS_PEERS").map(PathBuf::from);
    let program = peers.map(|peers| peers.join("composefs-info")).filter(|program| program.exists());
    if program.is_none() {
        skip::announce(test, "COMPOSEFS_PEERS does not name a folder with the reference's composefs-info");
    }
    program
}

fn build(arguments: &[&str], input: &[u8], image: &Path) {
    let program = Program { path: Path::new(OURS), name: "mkcomposefs" };
    let out = program.run(arguments.iter().chain([&"-"]), input).ok();
    fs::write(image, out.stdout).unwrap();
}

/// Returns the commands whose output differs for an image.
fn differing(reference: &Path, image: &Path) -> Vec<&'static str> {
    let say = |path: &Path, command: &str| {
        let program = Program { path, name: "composefs-info" };
        let out = program.run([Path::new(command), image], b"");
        (out.status, out.stdout)
    };
    let commands = ["ls", "objects", "missing-objects", "dump"];
    commands.into_iter().filter(|command| say(reference, command) != say(Path::new(OURS), command)).collect()
}

#[test]
fn output_for_goldens_is_the_same() {
    let Some(reference) = reference("output_for_goldens_is_the_same") else { return };
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let mut images = 0;
    for case in golden::good() {
        for version in ["0", "1"] {
            let versions = [format!("--min-version={version}"), format!("--max-version={version}")];
            build(&[&versions[0], &versions[1], "--from-file", "-"], &case.dump, &image);
            let name = case.name.as_str();
            let expected = match (PAYLOADS_DIFFER.contains(&name), DUMPS_DIFFER.contains(&name)) {
                (true, _) => &["ls", "objects", "missing-objects", "dump"][..],
                (false, true) => &["dump"],
                (false, false) => &[],
            };
            assert_eq!(differing(&reference, &image), expected, "{name} version {version}");
            images += 1;
        }
    }
    stats::show(&format!("compared with composefs-info 1.0.8: {images} goldens, 4 commands each"));
}

#[test]
fn output_for_real_trees_is_the_same() {
    let Some(reference) = reference("output_for_real_trees_is_the_same") else { return };
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let mut trees = 0;
    let minbase = std::env::var("COMPOSEFS_MINBASE").ok();
    for tree in ["/etc", "/usr/share/doc", "/usr/lib/systemd", "/dev"].into_iter().chain(minbase.as_deref()) {
        if Path::new(tree).is_dir() {
            build(&[tree], b"", &image);
            assert_eq!(differing(&reference, &image), [""; 0], "{tree}");
            trees += 1;
        }
    }
    assert!(trees > 1);
    stats::show(&format!("compared with composefs-info 1.0.8: {trees} real trees, 4 commands each"));
}

#[test]
fn output_for_random_dumps_is_the_same() {
    let Some(reference) = reference("output_for_random_dumps_is_the_same") else { return };
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let (mut images, mut same) = (0, 0);
    for model in random::series(Algorithm::Sha256, 60, 60) {
        build(&["--from-file", "-"], &model.dump(), &image);
        let mut differing = differing(&reference, &image);
        // A payload of slashes only is not a path of an object; the reference does not report it as missing.
        differing.retain(|command| *command != "missing-objects");
        images += 1;
        same += u32::from(differing.is_empty());
        if differing.is_empty() {
            continue;
        }
        // Then its dump must not reproduce the image.
        let theirs =
            Program { path: &reference, name: "composefs-info" }.run([Path::new("dump"), &image], b"").ok().stdout;
        let again = dir.path().join("again");
        let version = fs::read(&image).unwrap()[12].to_string();
        let versions = [format!("--min-version={version}"), format!("--max-version={version}")];
        let program = Program { path: Path::new(OURS), name: "mkcomposefs" };
        let out = program.run([&versions[0], &versions[1], "--from-file", "-", "-"], &theirs);
        fs::write(&again, &out.stdout).unwrap();
        assert!(out.stdout != fs::read(&image).unwrap(), "{differing:?} differ although the reference's dump is right");
    }
    assert!(same > images / 4, "{same} of {images} are the same");
    stats::show(&format!(
        "compared with composefs-info 1.0.8: {images} random images; {same} the same, the dumps of the others do not \
         give the image again"
    ));
}
