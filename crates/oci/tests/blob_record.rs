//! Records of blobs: what real programs have compressed comes back exactly, and what is damaged is refused.

use std::io::{Read, Write as _};
use std::process::{Command, Stdio};

use libcomposefs_oci::blob_record::{
    BlobMethod, BlobRecord, BlobRecordError, make_record, make_verified_record, rebuild,
};
use libcomposefs_oci::compression::WINDOW_LOG;
use libcomposefs_testkit::skip;

/// Text and numbers that compress as a layer does: 1.5 MiB, more than one segment of pgzip.
fn archive() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut state = 1u32;
    while bytes.len() < 3 << 19 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match state >> 29 {
            0 => bytes.extend_from_slice(&state.to_le_bytes()),
            1 => bytes.extend_from_slice(&[0; 70]),
            2..=5 => {
                let from = (state as usize >> 8) % bytes.len().max(1);
                let from = from.max(bytes.len().saturating_sub(40_000));
                let len = (4 + (state as usize >> 3) % 60).min(bytes.len() - from);
                bytes.extend_from_within(from..from + len);
            }
            _ => bytes.extend_from_slice(format!("word{} ", state >> 20 & 0x3ff).as_bytes()),
        }
    }
    bytes
}

/// Runs a program with the archive as its input.
fn run(program: &str, args: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    });
    output.status.success().then_some(output.stdout)
}

/// Makes a record, rebuilds the blob and compares it. Returns the record.
fn round_trip(what: &str, blob: &[u8], archive: &[u8]) -> Vec<u8> {
    let record = make_record(blob, blob.len() as u64).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut rebuilt = Vec::new();
    rebuild(&record, &mut &archive[..], &mut rebuilt).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(rebuilt == blob, "{what}: another blob");
    record
}

/// Asks for all levels and archives: more than a hundred layers.
fn is_long() -> bool {
    std::env::var_os("COMPOSEFS_FULL").is_some_and(|value| value == "1")
}

/// Several kinds of contents; in the short form one, of several segments of pigz.
fn archives() -> Vec<Vec<u8>> {
    if !is_long() {
        return vec![archive()[..300_000].to_vec()];
    }
    let mut program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    program.truncate(3 << 19);
    let numbers = (0..150_000).map(|number: u64| format!("{}\n", number * number % 9973)).collect::<String>();
    let sparse = [&numbers.as_bytes()[..100_000], &[0; 1 << 20], &program[..100_000]].concat();
    vec![archive(), program, numbers.into_bytes(), sparse]
}

/// Compresses each archive by a program with each of its variants, of which the short form takes those in `short`.
fn program(test: &str, program: &str, variants: &[Vec<&str>], short: &[usize]) {
    for archive in archives() {
        for (number, args) in variants.iter().enumerate() {
            if !is_long() && !short.contains(&number) {
                continue;
            }
            let Some(blob) = run(program, args, &archive) else {
                return skip::announce(test, &format!("{program} is not installed"));
            };
            let what = format!("{program} {args:?}");
            let record = round_trip(&what, &blob, &archive);
            // A tenth is the limit of a record; a hundredth of the archive and its head are what these need.
            let max = archive.len() / 100 + 512;
            assert!(record.len() <= max, "{what}: the record of {} bytes has {}", archive.len(), record.len());
        }
    }
}

const LEVELS: [&str; 9] = ["-1", "-2", "-3", "-4", "-5", "-6", "-7", "-8", "-9"];

#[test]
fn gzip() {
    program("gzip", "gzip", &LEVELS.map(|level| vec!["-n", level]), &[0, 2, 3, 5, 8]);
}

/// In many short matches the imitation of klauspost once counted beyond 64 bits while the encoder was chosen.
#[test]
fn short_matches_end_no_choice() {
    let mut state = 1u32;
    let letter = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'a' + (state >> 30) as u8
    };
    let archive: Vec<u8> = (0..200_000).map(letter).collect();
    for level in ["-1", "-9"] {
        let Some(blob) = run("gzip", &["-n", level], &archive) else { return };
        round_trip(level, &blob, &archive);
    }
}

#[test]
fn pigz() {
    program("pigz", "pigz", &LEVELS.map(|level| vec!["-n", level]), &[0, 5]);
}

#[test]
fn busybox() {
    program("busybox", "busybox", &[vec!["gzip"]], &[0]);
}

#[test]
fn zlib() {
    const SCRIPT: &str =
        "import gzip, sys; sys.stdout.buffer.write(gzip.compress(sys.stdin.buffer.read(), -int(sys.argv[1])))";
    program("zlib", "python3", &LEVELS.map(|level| vec!["-c", SCRIPT, level]), &[5]);
}

/// Go's compress/gzip, and klauspost/compress and pgzip of the packages of Debian, built from
/// `bench/blob-records/encoders.go`. In the short form the recorded blobs stand for them.
#[test]
fn go() {
    if !is_long() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let encoders = dir.path().join("encoders");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/blob-records/encoders.go");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&encoders).arg(source).current_dir(dir.path());
    build.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode").env("GOCACHE", dir.path().join("cache"));
    if !build.output().is_ok_and(|output| output.status.success()) {
        return skip::announce("go", "Go with the packages klauspost/compress and klauspost/pgzip is not installed");
    }
    let levels = ["-1", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let variants = levels.map(|level| vec!["go", level]).into_iter();
    let klauspost = ["-1", "1", "2", "3", "4", "6"].map(|level| vec!["pgzip", level]).into_iter();
    let klauspost = klauspost.chain(["-1", "1", "2", "3", "4"].map(|level| vec!["kgzip", level]));
    let variants: Vec<_> = variants.chain(klauspost).collect();
    program("go", encoders.to_str().unwrap(), &variants, &[]);
}

fn gzip_of(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn members_and_bytes_after_them_come_back() {
    let blob = [gzip_of(b"one"), gzip_of(b""), gzip_of(&[7; 100_000]), vec![0; 512]].concat();
    let archive = [&b"one"[..], &[7; 100_000]].concat();
    round_trip("members", &blob, &archive);
    let record = round_trip("no compression", &archive, &archive);
    assert_eq!(BlobRecord::parse(&record).unwrap().method, BlobMethod::Plain);
}

#[test]
fn a_verified_record_is_that_of_the_blob() {
    let blob = gzip_of(&[3; 10_000]);
    let record = make_verified_record(|| Ok(&blob[..]), blob.len() as u64, WINDOW_LOG).unwrap();
    assert_eq!(record, make_record(&blob[..], blob.len() as u64).unwrap());
    // The second time the blob is another one.
    let mut blobs = [blob, gzip_of(&[4; 10_000])].into_iter();
    let attempt = make_verified_record(|| Ok(std::io::Cursor::new(blobs.next().unwrap())), 1000, WINDOW_LOG);
    assert!(matches!(attempt, Err(BlobRecordError::Digest { .. })), "{attempt:?}");
}

#[test]
fn an_unknown_encoder_is_refused() {
    // The matches of zlib-rs at its lowest level are others than those of zlib.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&archive()[..300_000]).unwrap();
    let blob = encoder.finish().unwrap();
    assert!(make_record(&blob[..], blob.len() as u64).is_err());
}

#[test]
fn another_archive_is_refused() {
    let blob = [gzip_of(&[1; 1000])].concat();
    let record = make_record(&blob[..], blob.len() as u64).unwrap();
    let attempt = |archive: &[u8]| rebuild(&record, &mut &archive[..], &mut Vec::new());
    assert!(attempt(&[1; 1000]).is_ok());
    assert!(matches!(attempt(&[2; 1000]), Err(BlobRecordError::Digest { .. })));
    assert!(attempt(&[1; 999]).is_err());
}

#[test]
fn a_damaged_record_never_panics_or_gives_another_blob() {
    let archive = &archive()[..40_000];
    let blob = run("gzip", &["-n"], archive).unwrap_or_else(|| gzip_of(archive));
    let record = round_trip("gzip", &blob, archive);
    for at in (0..100).chain((100..record.len()).step_by(11)) {
        let mut damaged = record.clone();
        damaged[at] ^= 1 << (at % 8);
        let mut rebuilt = Vec::new();
        if rebuild(&damaged, &mut &archive[..], &mut rebuilt).is_ok() {
            assert!(rebuilt == blob, "byte {at}");
        }
        assert!(rebuild(&record[..at], &mut &archive[..], &mut Vec::new()).is_err(), "{at} bytes");
    }
}

#[test]
fn a_damaged_blob_never_panics() {
    let archive = &archive()[..30_000];
    let blob = run("gzip", &["-n"], archive).unwrap_or_else(|| gzip_of(archive));
    for at in (10..blob.len()).step_by(101) {
        let mut damaged = blob.clone();
        damaged[at] ^= 1 << (at % 8);
        let Ok(record) = make_record(&damaged[..], damaged.len() as u64) else { continue };
        // What it decompresses to comes back as well.
        let mut decoder = flate2::read::DeflateDecoder::new(&damaged[10..]);
        let mut plain = Vec::new();
        if decoder.read_to_end(&mut plain).is_ok() {
            let mut rebuilt = Vec::new();
            let result = rebuild(&record, &mut &plain[..], &mut rebuilt);
            assert!(result.is_ok() && rebuilt == damaged, "byte {at}: {result:?}");
        }
    }
}

/// Records of what Go 1.19 and pgzip (klauspost/compress 1.15.12) have written at their default levels and at those
/// that take the first match, and the digests of these blobs. They must rebuild them for ever.
#[test]
fn recorded_blobs_of_go_come_back() {
    let archive = archive();
    for (record, digest) in [
        (
            &include_bytes!("blob_records/go.record")[..],
            "42a9e00050520e780a0a13d9a4f4ccc2aedf99c2cc8e45dcdb22556889a5ad42",
        ),
        (
            &include_bytes!("blob_records/pgzip.record")[..],
            "fed31000e64d833168961ded4c109d6fb0a438abe823852727021974050d8253",
        ),
        (
            &include_bytes!("blob_records/go-1.record")[..],
            "37f77842bea12a86ae58038bbad7420eaf745f6ec40061230286aa800dbf5f96",
        ),
        (
            &include_bytes!("blob_records/pgzip-1.record")[..],
            "3453ee7e2e68a934906dab8e29d41ff54c5bebb9ed135eee6bd45b2980a964f1",
        ),
        (
            &include_bytes!("blob_records/pgzip-2.record")[..],
            "e3a5dc3a41adb709c02759efb71a8c0f70a61ec2c5bd2e533bebb61dca168684",
        ),
        (
            &include_bytes!("blob_records/pgzip-3.record")[..],
            "e231b6d550628c9c592e3d0698f56742759091dee1f7368f406d39e91ac1c8b6",
        ),
        (
            &include_bytes!("blob_records/pgzip-4.record")[..],
            "b1516a1effd105ba0ff6f7105381a4108e810850b6d0879efca7cad7093def77",
        ),
    ] {
        assert_eq!(BlobRecord::parse(record).unwrap().blob.hex(), digest);
        let mut blob = Vec::new();
        rebuild(record, &mut &archive[..], &mut blob).unwrap();
        // The imitation is still the one that makes such a record.
        assert!(make_record(&blob[..], blob.len() as u64).unwrap().len() <= record.len() + 200);
    }
}
