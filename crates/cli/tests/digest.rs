//! `composefs digest`.

use std::fs;
use std::path::Path;

use composefs_testkit::program::Program;

#[test]
fn digests_of_files() {
    let program = Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name: "composefs" };
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    fs::write(&a, "content_a\n").unwrap();
    fs::write(&b, "content_b\n").unwrap();
    let out = program.run([Path::new("digest"), &a, &b], b"").ok();
    let want = [
        ("cc3da5b14909626fc99443f580e4d8c9b990e85e0a1d18883dc89b23d43e173f", &a),
        ("02927862b4ab9fb69919187bb78d394e235ce444eeb0a890d37e955827fe4bf4", &b),
    ];
    assert_eq!(out.line(), want.map(|(hex, path)| format!("{hex}  {}", path.display())).join("\n"));
    let out = program.run([Path::new("digest"), Path::new("--json"), Path::new("--algorithm=sha512"), &a], b"").ok();
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((json[0]["algorithm"].as_str(), json[0]["digest"].as_str().map(str::len)), (Some("sha512"), Some(128)));
    let out = program.run([Path::new("digest"), &dir.path().join("none")], b"");
    assert_eq!(out.status, Some(1));
    assert!(out.stderr.contains("none: No such file"), "{}", out.stderr);
}
