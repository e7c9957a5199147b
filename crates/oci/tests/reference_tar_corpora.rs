//! Odd archives of Debian's packages (tests of Go's archive/tar, tar-split, Python's tarfile and others) are read
//! as GNU tar reads them: names, kinds, modes, owners, sizes, times, targets of links and contents.
//!
//! `COMPOSEFS_TAR_CORPORA` is the directory that `cargo xtask corpora` prints.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcomposefs_image::{Algorithm, verity};
use libcomposefs_oci::layer::{FileData, HashOnly, LayerReadError, import_layer};
use libcomposefs_oci::tar::{BLOCK, EntryKind, Limits, TarEntry, TarParser, TarStep};
use libcomposefs_testkit::skip;

/// Contents of archives up to this expanded size are compared, and the others' sizes alone.
const CONTENT_MAX: u64 = 8 << 20;

/// An archive that both read in different ways: its name, the lines that only our listing has (`refused` with the
/// message, or `read to the end` where GNU tar alone refuses it), the number of lines that only GNU tar's has, and the
/// reason.
type ReadDifference = (&'static str, &'static [&'static str], usize, &'static str);

const DIFFERENCES: &[ReadDifference] = &[
    (
        "gnu-incremental.tar",
        &["refused: entry 2: the entry has the unknown type 'D'"],
        3,
        "directories of incremental backups: no program that reads layers knows them",
    ),
    (
        "hdr-only.tar",
        &[
            "-rw-r----- 319973/5000 46 1442273747 file",
            "brw-rw---- 319973/5000 8,0 1442264573 sda",
            "lrwxrwxrwx 319973/5000 0 1442274044 badlink -> missing",
            "read to the end",
        ],
        1,
        "no data follows a FIFO, whatever its size says, as Go reads it; GNU tar takes the next headers for its data",
    ),
    (
        "pax-bad-mtime-file.tar",
        &["refused: entry 1: the PAX header is malformed: mtime is no decimal number"],
        1,
        "Go refuses it too",
    ),
    (
        "pax-global-records.tar",
        &[
            "---------- 0/0 0 0 file1",
            "---------- 0/0 0 0 file2",
            "---------- 0/0 0 0 file3",
            "---------- 0/0 0 1400000000 file4",
        ],
        4,
        "records of global headers are not applied, as in Go",
    ),
    (
        "pax-multi-hdrs.tar",
        &["l--------- 0/0 0 0 PAX2/PAX2/long-path-name -> PAX4/PAX4/long-linkpath-name"],
        1,
        "the records of several headers before one entry add up, as in Python's tarfile; in GNU tar and Go the last \
         header counts, and cfsctl refuses the second",
    ),
    ("pax-nul-path.tar", &["refused: entry 1: the PAX header is malformed: a name has a NUL"], 1, "Go refuses it too"),
    (
        "pax-path-hdr.tar",
        &["refused: entry 1: an extension header is followed by the end of the archive"],
        0,
        "the entry that the header describes is missing: the archive was cut",
    ),
    (
        "sparse-formats.tar",
        &["read to the end"],
        0,
        "GNU tar finds an end of the archive within the first file; Go reads all",
    ),
];

/// What a program reads from an archive.
#[derive(Debug, Default)]
struct ArchiveListing {
    lines: Vec<Vec<u8>>,
    refusal: Option<String>,
}

/// Returns the permissions as `ls` shows them.
fn permissions(mode: u32) -> String {
    let triple = |shift: u32, special: u32, letters: [char; 2]| {
        let bits = mode >> shift;
        let last = match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letters[0],
            (false, true) => letters[1],
            (true, false) => 'x',
            (false, false) => '-',
        };
        [if bits & 4 != 0 { 'r' } else { '-' }, if bits & 2 != 0 { 'w' } else { '-' }, last]
    };
    let triples = [triple(6, 0o4000, ['s', 'S']), triple(3, 0o2000, ['s', 'S']), triple(0, 0o1000, ['t', 'T'])];
    triples.iter().flatten().collect()
}

/// Returns the line of an entry in the form of [`gnu_listing`].
fn line(entry: &TarEntry) -> Vec<u8> {
    let kind = match entry.kind {
        EntryKind::File => '-',
        EntryKind::HardLink => 'h',
        EntryKind::Symlink => 'l',
        EntryKind::CharDevice => 'c',
        EntryKind::BlockDevice => 'b',
        EntryKind::Directory => 'd',
        EntryKind::Fifo => 'p',
        other => panic!("{other:?}"),
    };
    let size = match entry.kind {
        EntryKind::File => entry.sparse.as_ref().map_or(entry.stored_size, |map| map.size).to_string(),
        EntryKind::CharDevice | EntryKind::BlockDevice => format!("{},{}", entry.device.0, entry.device.1),
        _ => "0".to_owned(),
    };
    let nanos = format!("{:09}", entry.mtime.nsec);
    let time = format!("{}.{nanos}", entry.mtime.sec);
    let time = time.trim_end_matches('0').trim_end_matches('.');
    let time = if entry.mtime.nsec == 0 { entry.mtime.sec.to_string() } else { time.to_owned() };
    let head = format!("{kind}{} {}/{} {size} {time} ", permissions(entry.mode), entry.uid, entry.gid);
    let name = if entry.kind == EntryKind::Directory { trimmed(&entry.path) } else { &entry.path };
    let link = match entry.kind {
        EntryKind::HardLink => &b" link to "[..],
        EntryKind::Symlink => b" -> ",
        _ => return [head.as_bytes(), name].concat(),
    };
    [head.as_bytes(), name, link, &entry.link].concat()
}

fn trimmed(mut name: &[u8]) -> &[u8] {
    while let Some(rest) = name.strip_suffix(b"/") {
        name = rest;
    }
    name
}

/// The content of a file in an archive.
enum ArchiveContent {
    /// The bytes between two positions.
    Stored(usize, usize),
    /// The expanded content of the entry with this number.
    Sparse(u64),
}

/// Reads the headers of an archive. Returns their lines and where the contents of files are.
fn our_listing(archive: &[u8]) -> (ArchiveListing, Vec<ArchiveContent>) {
    let mut parser = TarParser::new(Limits::default());
    let (mut listing, mut contents, mut at) = (ArchiveListing::default(), Vec::new(), 0);
    while let Some(block) = archive.get(at..at + BLOCK) {
        at += BLOCK;
        let step = match parser.header(block.try_into().unwrap()) {
            Ok(step) => step,
            Err(error) => {
                listing.refusal = Some(error.to_string());
                break;
            }
        };
        match step {
            TarStep::Header => {}
            TarStep::End => break,
            TarStep::Extension(size) => {
                let end = at + usize::try_from(size).unwrap();
                let Some(data) = archive.get(at..end) else { break };
                if let Err(error) = parser.extension(data) {
                    listing.refusal = Some(error.to_string());
                    break;
                }
                at = end.next_multiple_of(BLOCK);
            }
            TarStep::Entry(entry) => {
                listing.lines.push(line(&entry));
                let end = at.saturating_add(usize::try_from(entry.stored_size).unwrap()).min(archive.len());
                if entry.kind == EntryKind::File {
                    let is_sparse = entry.sparse.is_some();
                    contents.push(if is_sparse {
                        ArchiveContent::Sparse(parser.entries())
                    } else {
                        ArchiveContent::Stored(at, end)
                    });
                }
                at = end.next_multiple_of(BLOCK);
            }
        }
    }
    (listing, contents)
}

/// Lists the archive with GNU tar. Returns permissions, owner, size, time and the rest of each line, one space between
/// them. The size of what has no data is that of the header, and left out.
fn gnu_listing(path: &Path) -> ArchiveListing {
    let mut tar = Command::new("tar");
    tar.args(["--list", "-vv", "--numeric-owner", "--full-time", "--quoting-style=literal", "--file"]).arg(path);
    let output = tar.env("LC_ALL", "C").env("TZ", "UTC").output().unwrap();
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(gnu_line).collect();
    let refusal = (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned());
    ArchiveListing { lines, refusal }
}

fn gnu_line(line: &[u8]) -> Vec<u8> {
    let (mut words, mut rest) = (Vec::new(), line);
    while words.len() < 5 {
        let start = rest.iter().position(|byte| *byte != b' ').unwrap_or(rest.len());
        rest = &rest[start..];
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        words.push(String::from_utf8(rest[..end].to_vec()).unwrap());
        rest = &rest[end..];
    }
    let [permissions, owner, size, date, time] = &words[..] else { panic!("{words:?}") };
    let has_size = permissions.starts_with(['-', 'C', 'c', 'b']);
    // C marks a contiguous file, which is a file to all others.
    let permissions = permissions.replacen('C', "-", 1);
    let head = format!("{permissions} {owner} {} {} ", if has_size { size } else { "0" }, seconds(date, time));
    let name = rest.strip_prefix(b" ").unwrap_or(rest);
    let name = if permissions.starts_with('d') { trimmed(name) } else { name };
    [head.as_bytes(), name].concat()
}

/// Returns the seconds since 1970 of a date and a time, with its fraction.
fn seconds(date: &str, time: &str) -> String {
    let (time, fraction) = time.split_once('.').map_or((time, None), |(time, fraction)| (time, Some(fraction)));
    let numbers = |text: &str, by: char| text.split(by).map(|one| one.parse::<i64>().unwrap()).collect::<Vec<_>>();
    let (date, time) = (numbers(date, '-'), numbers(time, ':'));
    // Years that begin in March, so that the leap day is the last one.
    let (year, month) = if date[1] > 2 { (date[0], date[1] - 3) } else { (date[0] - 1, date[1] + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + date[2] - 1 - 719_468;
    let whole = ((days * 24 + time[0]) * 60 + time[1]) * 60 + time[2];
    fraction.map_or(whole.to_string(), |fraction| format!("{whole}.{fraction}"))
}

/// Reads the contents of all files with GNU tar, in their order; an error if it refuses the archive.
fn gnu_contents(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let dir = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--to-command=cat >\"$OUT/$(ls \"$OUT\" | wc -l)\"", "--file"]).arg(path);
    let output = tar.env("OUT", dir.path()).env("LC_ALL", "C").output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let count = fs::read_dir(dir.path()).unwrap().count();
    Ok((0..count).map(|number| fs::read(dir.path().join(number.to_string())).unwrap()).collect())
}

/// Returns all archives below a directory, by their names.
fn archives(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap_or_default();
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            } else if name.ends_with(".tar") || name.ends_with(".tar.gz") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

fn plain(path: &Path) -> Vec<u8> {
    let file = fs::read(path).unwrap();
    if !file.starts_with(b"\x1f\x8b") {
        return file;
    }
    let output = Command::new("gzip").arg("-cd").arg(path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// Compares the contents of all files.
fn compare_contents(
    path: &Path,
    archive: &[u8],
    (contents, expanded): (&[ArchiveContent], &HashMap<u64, FileData>),
    theirs: &[Vec<u8>],
) {
    assert_eq!(contents.len(), theirs.len(), "{}", path.display());
    for (content, theirs) in contents.iter().zip(theirs) {
        let is_same = match content {
            ArchiveContent::Stored(start, end) => &archive[*start..*end] == theirs.as_slice(),
            ArchiveContent::Sparse(number) => match &expanded[number] {
                FileData::Inline(ours) => ours == theirs,
                FileData::Object(digest, size) => {
                    *size == theirs.len() as u64 && *digest == verity::digest(Algorithm::Sha256, theirs)
                }
            },
        };
        assert!(is_same, "{}: a file of {} bytes", path.display(), theirs.len());
    }
}

/// Compares what both read, and returns what differs.
fn compare(path: &Path) -> (Vec<String>, usize) {
    let archive = plain(path);
    let (mut ours, contents) = our_listing(&archive);
    let imported = import_layer(&mut &archive[..], &HashOnly(Algorithm::Sha256), Limits::default(), CONTENT_MAX);
    match &imported {
        Err(LayerReadError::TooLarge(_)) | Ok(_) => {}
        Err(error) => ours.refusal = Some(error.to_string()),
    }
    let mut theirs = gnu_listing(path);
    let mut their_contents = Vec::new();
    if imported.is_ok() && theirs.refusal.is_none() {
        match gnu_contents(path) {
            Ok(contents) => their_contents = contents,
            Err(error) => theirs.refusal = Some(error),
        }
    }
    match (ours.refusal, &theirs.refusal) {
        (Some(_), Some(_)) => (Vec::new(), 0),
        (Some(message), None) => (vec![format!("refused: {message}")], theirs.lines.len()),
        (None, _) => {
            let (mut lines, count) = (missing(&ours.lines, &theirs.lines), missing(&theirs.lines, &ours.lines).len());
            if theirs.refusal.is_some() {
                lines.push("read to the end".to_owned());
            }
            if let Ok(imported) = imported
                && theirs.refusal.is_none()
            {
                compare_contents(path, &archive, (&contents, &imported.expanded), &their_contents);
            }
            if lines.is_empty() && count == 0 {
                assert_eq!(ours.lines, theirs.lines, "{}", path.display());
            }
            (lines, count)
        }
    }
}

/// Returns the lines of a listing that another one lacks.
fn missing(from: &[Vec<u8>], other: &[Vec<u8>]) -> Vec<String> {
    let mut other: Vec<_> = other.iter().collect();
    let mut lines = Vec::new();
    for line in from {
        match other.iter().position(|one| *one == line) {
            Some(at) => drop(other.remove(at)),
            None => lines.push(line.escape_ascii().to_string()),
        }
    }
    lines
}

#[test]
fn odd_archives_are_read_as_gnu_tar_reads_them() {
    let Some(dir) = std::env::var_os("COMPOSEFS_TAR_CORPORA") else {
        let reason = "the archives are not there: COMPOSEFS_TAR_CORPORA=$(cargo xtask corpora)";
        return skip::announce("odd_archives_are_read_as_gnu_tar_reads_them", reason);
    };
    let archives = archives(Path::new(&dir));
    assert!(archives.len() >= 45, "{archives:?}");
    let mut wrong = Vec::new();
    for path in &archives {
        let name = path.file_name().unwrap().to_str().unwrap();
        let (ours, theirs) = compare(path);
        let expected = DIFFERENCES.iter().find(|(archive, ..)| *archive == name);
        let (lines, count) = expected.map_or((&[][..], 0), |(_, lines, count, _)| (*lines, *count));
        if ours != lines || theirs != count {
            wrong.push(format!("{name}: only ours: {ours:#?}, only GNU tar's: {theirs}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
