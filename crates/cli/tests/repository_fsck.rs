//! `composefs fsck` from the command line: its output and exit status. Damage and repair are tested in
//! `crates/repo/tests/repository`.

use std::fs;
use std::path::Path;

use libcomposefs_testkit::program::{Outcome, Program};

fn composefs(arguments: &[&str]) -> Outcome {
    Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name: "composefs" }.run(arguments, b"")
}

#[test]
fn damage_is_reported_by_status_text_and_json() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo").to_str().unwrap().to_owned();
    let tree = dir.path().join("tree").to_str().unwrap().to_owned();
    fs::create_dir(&tree).unwrap();
    fs::write(format!("{tree}/file"), [9; 70_000]).unwrap();
    let _ = composefs(&["--repo", &repo, "init", "--insecure"]).ok();
    let digest = composefs(&["--repo", &repo, "create", &tree, "--name", "an/image"]).ok().line().to_owned();
    let sound = composefs(&["--repo", &repo, "fsck"]).ok();
    assert!(sound.line().ends_with("2 objects, 85k, 1 image, 1 name\nno problems found"), "{}", sound.line());

    let object = composefs(&["digest", &format!("{tree}/file")]).ok().line().split(' ').next().unwrap().to_owned();
    let below = format!("objects/{}/{}", &object[..2], &object[2..]);
    fs::write(format!("{repo}/{below}"), [9; 60_000]).unwrap();
    let found = composefs(&["--repo", &repo, "fsck"]);
    assert_eq!(found.status, Some(1));
    let line = format!("{below}: truncated: it has 60000 of 70000 bytes; an/image needs it");
    assert_eq!(found.line().lines().next(), Some(line.as_str()));
    assert!(found.line().ends_with("1 truncated, 0 repaired"), "{}", found.line());

    let json = composefs(&["--repo", &repo, "fsck", "--json"]);
    assert_eq!(json.status, Some(1));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["sound"], false);
    assert_eq!(json["counts"]["truncated"]["found"], 1);
    assert_eq!(json["damages"][0]["needed_by"]["image"], digest.as_str());
    assert_eq!(json["damages"][0]["path"], below.as_str());

    let mended = composefs(&["--repo", &repo, "fsck", "--repair", "--from", &tree]).ok();
    assert!(mended.line().contains(&format!("{line}; repaired")), "{}", mended.line());
    assert!(mended.line().ends_with("1 truncated, 1 repaired"), "{}", mended.line());
    let _ = composefs(&["--repo", &repo, "fsck"]).ok();

    assert_eq!(composefs(&["--repo", &tree, "fsck"]).status, Some(2));
    assert_eq!(composefs(&["--repo", &repo, "fsck", "--from", &tree]).status, Some(2));
}
