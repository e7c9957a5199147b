//! `composefs digest` from the command line.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use libcomposefs_image::{Algorithm, verity};
use libcomposefs_testkit::program::Program;
use rustix::fs::{CWD, FileType, Mode, mknodat};

#[test]
fn files_have_the_expected_digests() {
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

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

/// Returns the output of `composefs digest` for standard input that is written in two pieces.
fn digest_of_pipe(arguments: &[&str], content: &[u8]) -> String {
    let mut command = Command::new(COMPOSEFS);
    command.arg("digest").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().unwrap();
    let mut stdin = running.stdin.take().unwrap();
    let (head, tail) = content.split_at(content.len().min(1000));
    stdin.write_all(head).and_then(|()| stdin.flush()).and_then(|()| stdin.write_all(tail)).unwrap();
    drop(stdin);
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn pipes_and_standard_input_are_hashed() {
    let content: Vec<u8> = (0..3_000_001u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for len in [0, 1, 4095, 4096, 4097, 256 << 10, 524_289, 3_000_001] {
        let content = &content[..len];
        let hex = verity::digest(Algorithm::Sha256, content).to_hex();
        for (arguments, name) in [(&[][..], "-"), (&["-"], "-"), (&["--", "-"], "-"), (&["/dev/stdin"], "/dev/stdin")] {
            assert_eq!(digest_of_pipe(arguments, content), format!("{hex}  {name}\n"), "{len} bytes");
        }
    }
    let hex = verity::digest(Algorithm::Sha512, &content).to_hex();
    let json: serde_json::Value =
        serde_json::from_str(&digest_of_pipe(&["--json", "--algorithm=sha512"], &content)).unwrap();
    assert_eq!((json[0]["path"].as_str(), json[0]["digest"].as_str()), (Some("-"), Some(&*hex)));
}

#[test]
fn fifos_and_files_as_standard_input_are_hashed() {
    let dir = tempfile::tempdir().unwrap();
    let content = vec![7; 1_000_000];
    let hex = |content: &[u8]| verity::digest(Algorithm::Sha256, content).to_hex();
    let (fifo, file) = (dir.path().join("fifo"), dir.path().join("-"));
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let mut command = Command::new(COMPOSEFS);
    let running = command.arg("digest").arg(&fifo).stdout(Stdio::piped()).spawn().unwrap();
    fs::write(&fifo, &content).unwrap();
    let output = running.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}  {}\n", hex(&content), fifo.display()));

    // Hashing starts at the offset of standard input, as in sha256sum; `./-` is the file of that name.
    fs::write(&file, &content).unwrap();
    let mut stdin = File::open(&file).unwrap();
    stdin.seek(SeekFrom::Start(400_000)).unwrap();
    let output = Command::new(COMPOSEFS).args(["digest", "-", "./-"]).current_dir(dir.path()).stdin(stdin).output();
    let want = format!("{}  -\n{}  ./-\n", hex(&content[400_000..]), hex(&content));
    assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), want);
    // An unreadable input is an error.
    let refused = Command::new(COMPOSEFS).arg("digest").stdin(File::open(dir.path()).unwrap()).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(stderr.contains("cannot read -: Is a directory"), "{stderr}");
}
