//! Images that something is wrong with: it is found, at the path it is at, and as grave as it is.

use libcomposefs_image::erofs::check::{Canonical, CheckReport, Finding, Problem, Region, Severity, check};
use libcomposefs_image::erofs::read::{Defect, ImageReader, load};

use crate::forge::Forge;

/// The name of a forgery, the function that makes it, the path that the finding must name, and a test for the right
/// finding.
type Case = (&'static str, fn(&mut Forge), Option<&'static str>, fn(&Problem) -> bool);

macro_rules! forgeries {
    ($($name:literal, $path:expr, $pattern:pat, $forge:expr;)*) => {
        &[$(($name, $forge, $path, |problem| matches!(problem, $pattern))),*]
    };
}

/// The twin of every forgery: what is wrong with it, a dump may say.
fn twin() -> CheckReport {
    let report = check(&Forge::new().bytes);
    assert_eq!(report.count(Severity::Error), 0);
    assert_eq!(report.canonical, Canonical::Yes);
    report
}

fn check_all(severity: Severity, cases: &[Case]) {
    let twin: Vec<Finding> = twin().findings().map(|(_, finding)| finding.clone()).collect();
    for (name, forge, path, is_right) in cases {
        let right =
            |finding: &&Finding| is_right(&finding.problem) && finding.path.as_deref() == path.map(str::as_bytes);
        assert!(!twin.iter().any(|finding| right(&finding)), "{name}: the twin has it");
        let mut forged = Forge::new();
        forge(&mut forged);
        let report = check(&forged.bytes);
        let findings: Vec<_> = report.findings().collect();
        let shown = findings.iter().map(|(severity, finding)| format!("{severity}: {finding}\n")).collect::<String>();
        let found = findings.iter().find(|(_, finding)| right(finding));
        let (found, _) = found.unwrap_or_else(|| panic!("{name}: not found among\n{shown}"));
        assert_eq!(*found, severity, "{name}");
        // Exactly what the reader refuses is an error, but for what only a kernel refuses.
        let refused = ImageReader::new(&forged.bytes).and_then(|reader| load(&reader, &[])).is_err();
        let by_kernel = matches!(
            findings.first(),
            Some((_, Finding { problem: Problem::Checksum { .. } | Problem::AclDenied, .. }))
        );
        assert_eq!(report.count(Severity::Error) > 0, refused || by_kernel, "{name}:\n{shown}");
    }
}

#[test]
fn what_is_refused_is_found() {
    check_all(
        Severity::Error,
        forgeries! {
            "magic", None, Problem::Defect(Defect::Header(_)), |f| f.put(0, b"x");
            "format version", None, Problem::Defect(Defect::FormatVersion(3)), |f| f.put(12, &[3]);
            "no superblock", None, Problem::Defect(Defect::NoSuperblock { .. }), |f| f.bytes.truncate(1151);
            "EROFS magic", None, Problem::Defect(Defect::Magic { .. }), |f| f.put_superblock(0, b"x");
            "block size", None, Problem::Defect(Defect::BlockSize { .. }), |f| f.put_superblock(12, &[9]);
            "cut off", None, Problem::Defect(Defect::CutOff { .. }), |f| f.bytes.truncate(f.bytes.len() - 1);
            "root outside", None, Problem::Defect(Defect::InodeOutside { .. }), |f| f.put_superblock(14, &[0xff; 2]);
            "checksum", None, Problem::Checksum { .. }, |f| f.put_superblock(8, &[7]);
            "acl denied", None, Problem::AclDenied, |f| f.put_xattr("/file", "user.more", 0, &[0, 2]);
            "inode outside", Some("/file"), Problem::Defect(Defect::InodeOutside { .. }),
                |f| f.put_dirent("/", "file", 3, &[1]);
            "inode format", Some("/file"), Problem::Defect(Defect::InodeFormat(_)), |f| f.put_inode("/file", 0, &[3]);
            "mode", Some("/file"), Problem::Defect(Defect::Mode(_)), |f| f.put_inode("/file", 4, &[0xa4, 1]);
            "stub with links", Some("/00"), Problem::Defect(Defect::StubLinks(2)), |f| f.put_inode("/00", 6, &[2]);
            "content", Some("/block1"), Problem::Defect(Defect::ContentTooLong(_)),
                |f| f.put_inode("/block1", 8, &[0x89, 0x13]);
            "shared block", Some("/block2"), Problem::Defect(Defect::Overlap { .. }), |f| {
                let block = f.inode("/block1").record().union_field.to_le_bytes();
                f.put_inode("/block2", 16, &block);
            };
            "chunk format", Some("/ext"), Problem::Defect(Defect::ChunkFormat(_)), |f| f.put_inode("/ext", 16, &[0x2b]);
            "symlink with NUL", Some("/sym"), Problem::Defect(Defect::SymlinkNul), |f| {
                let offset = f.inode("/sym").offset() + 32;
                f.put(offset + 3, &[0]);
            };
            "symlink without target", Some("/sym"), Problem::Defect(Defect::Tree(_)), |f| f.put_inode("/sym", 8, &[0]);
            "order", Some("/"), Problem::Defect(Defect::NameOrder { .. }), |f| f.put_name("/", "ext2", "az");
            "twice", Some("/"), Problem::Defect(Defect::NameTwice(_)), |f| f.put_name("/", "block2", "block1");
            "first name", Some("/d2"), Problem::Defect(Defect::FirstName { .. }),
                |f| f.put_dirent("/d2", ".", 8, &[25]);
            "no dot", Some("/d2"), Problem::Defect(Defect::DotMissing(".")), |f| f.put_name("/d2", ".", ",");
            "dot elsewhere", Some("/d2"), Problem::Defect(Defect::DotElsewhere { .. }), |f| {
                let nid = f.nid("/d");
                f.put_dirent("/d2", "..", 0, &nid);
            };
            "type", Some("/file"), Problem::Defect(Defect::FileType { .. }), |f| f.put_dirent("/", "file", 10, &[7]);
            "type of a link", Some("/d/link"), Problem::Defect(Defect::FileType { .. }),
                |f| f.put_dirent("/d", "link", 10, &[7]);
            "loop", Some("/d/e"), Problem::Defect(Defect::DirectoryTwice), |f| {
                let nid = f.nid("/");
                f.put_dirent("/d", "e", 0, &nid);
            };
            "stub twice", Some("/01"), Problem::Defect(Defect::StubTwice), |f| {
                let nid = f.nid("/00");
                f.put_dirent("/", "01", 0, &nid);
            };
            "shared count", Some("/file"), Problem::Defect(Defect::SharedCount { .. }),
                |f| f.put_inode("/file", 64 + 4, &[200]);
            "reference", Some("/file"), Problem::Defect(Defect::SharedOutside { .. }),
                |f| f.put_inode("/file", 64 + 12, &[0xff; 4]);
            "prefix", Some("/d"), Problem::Defect(Defect::XattrPrefix(7)), |f| f.put_xattr("/d", "user.a", 1, &[7]);
            "hidden", Some("/d"), Problem::Defect(Defect::XattrHidden(_)), |f| f.put_inode("/d", 32, &[0xff; 4]);
            "redirect", Some("/ext"), Problem::Defect(Defect::Redirect(_)), |f| {
                let at = f.xattr("/ext", "trusted.overlay.redirect");
                f.put(at + 4 + 16, b"a");
            };
            "metacopy", Some("/ext"), Problem::Defect(Defect::Metacopy(_)), |f| {
                let at = f.xattr("/ext", "trusted.overlay.metacopy");
                f.put(at + 4 + 16, &[1]);
            };
        },
    );
}

#[test]
fn what_no_writer_does_is_found() {
    check_all(
        Severity::Warning,
        forgeries! {
            "flags", None, Problem::Unused("the header's flags"), |f| f.put(8, &[2]);
            "reserved", None, Problem::Unused("the header"), |f| f.put(17, &[2]);
            "before the superblock", None, Problem::Unused("what follows the header"), |f| f.put(500, &[2]);
            "superblock", None, Problem::Unused("the superblock"), |f| f.put_superblock(50, &[2]);
            "length", None, Problem::Length { .. }, |f| f.bytes.extend([0; 4096]);
            "inode count", None, Problem::InodeCount { .. }, |f| f.put_superblock(17, &[9]);
            "build time", None, Problem::BuildTime { .. }, |f| {
                // An older inode: the time of an extended one.
                f.put_inode("/file", 32, &[0]);
            };
            "number", Some("/sym"), Problem::Number { count: 1, .. }, |f| f.put_inode("/sym", 20, &[0, 0]);
            "links", Some("/sym"), Problem::Links { found: 2, names: 1 }, |f| f.put_inode("/sym", 6, &[2]);
            "links of a directory", Some("/d"), Problem::DirectoryLinks { found: 7, expected: 3 },
                |f| f.put_inode("/d", 6, &[7]);
            "stub missing", Some("/"), Problem::StubsMissing { count: 1, .. }, |f| f.put_name("/", "ff", "fg");
            "whiteout of its own", Some("/fg"), Problem::NoStub, |f| f.put_name("/", "ff", "fg");
            "not opaque", Some("/"), Problem::NotOpaque, |f| f.put_xattr("/", "trusted.overlay.opaque", 4 + 14, b"x");
            "inode", Some("/sym"), Problem::Unused("the inode"), |f| f.put_inode("/sym", 12, &[1]);
            "dirent", Some("/d"), Problem::Unused("a directory entry"), |f| f.put_dirent("/d", "e", 11, &[1]);
            "block of a directory", Some("/"), Problem::Unused("the directory's block"), |f| {
                let block = u64::from(f.inode("/").record().union_field);
                f.put(block * 4096 + 4095, &[1]);
            };
            "xattrs", Some("/d"), Problem::Unused("the xattrs"), |f| f.put_inode("/d", 32 + 6, &[1]);
            "nothing's bytes", None, Problem::Unclaimed { .. }, |f| {
                let nid = f.nid("/ext");
                f.put_dirent("/", "ext2", 0, &nid);
            };
            "padding", None, Problem::Unclaimed { nonzero: 1, .. }, |f| {
                let end = f.inode("/sym").offset() + 32 + 6;
                f.put(end, &[1]);
            };
                "no object", Some("/ext"), Problem::NoObject, |f| {
                f.put_xattr("/ext", "trusted.overlay.redirect", 4, b"overlay.redirecx");
                f.put_inode("/ext", 32, &[0; 4]);
            };
        },
    );
    check_all(
        Severity::Note,
        forgeries! {
            "acl claimed", None, Problem::AclClaimed, |f| f.put(8, &[1]);
            "filter", Some("/d"), Problem::Filter { .. }, |f| f.put_inode("/d", 32, &[0; 4]);
        },
    );
}

#[test]
fn an_object_is_called_by_its_digest() {
    let digest = "84ea6f7a76b5e2a6b0d8e9b7e4d3c2b1a0918273645546372819a0b1c2d3e4f5";
    let path = format!("{}/{}", &digest[..2], &digest[2..]);
    let image = format!("/ 0 40755 2 0 0 0 1.0 - - -\n/ext 100 100644 1 0 0 0 1.0 {path} - {digest}\n");
    let twin = Forge::of(&image);
    assert_eq!(check(&twin.bytes).findings().count(), 0);
    let mut forged = Forge::of(&image);
    let at = forged.xattr("/ext", "trusted.overlay.redirect") + 4 + 16;
    forged.put(at + 1, b"9");
    let report = check(&forged.bytes);
    let (severity, finding) = report.findings().next().unwrap();
    assert_eq!((severity, finding.path.as_deref()), (Severity::Warning, Some(&b"/ext"[..])));
    let payload = format!("9{}", &path[1..]);
    assert_eq!(finding.problem, Problem::OtherObject { payload, digest: path });
}

#[test]
fn all_is_found_and_not_only_the_first() {
    let mut forged = Forge::new();
    forged.put(8, &[2]);
    forged.put_dirent("/", "file", 3, &[1]);
    forged.put_dirent("/d2", "..", 8, &[60]);
    forged.put_inode("/block1", 18, &[1]);
    forged.put_inode("/ext", 16, &[0x2b]);
    forged.put_xattr("/d", "user.a", 1, &[7]);
    let report = check(&forged.bytes);
    let paths: Vec<_> = report
        .findings()
        .filter(|(severity, _)| *severity == Severity::Error)
        .map(|(_, finding)| String::from_utf8(finding.path.clone().unwrap()).unwrap())
        .collect();
    for path in ["/file", "/d2", "/block1", "/ext", "/d"] {
        assert!(paths.iter().any(|found| found == path), "{path} is not among {paths:?}");
    }
    assert!(report.findings().any(|(_, finding)| finding.problem == Problem::Unused("the header's flags")));
}

#[test]
fn behind_a_name_that_is_wrong_the_others_are_looked_at() {
    let found = |forged: &Forge, path: &str| {
        let report = check(&forged.bytes);
        report.findings().any(|(_, finding)| {
            finding.path.as_deref() == Some(path.as_bytes())
                && matches!(finding.problem, Problem::Defect(Defect::FileType { .. } | Defect::NameByte(_)))
        })
    };
    let mut forged = Forge::new();
    forged.put_dirent("/d", "link", 10, &[7]);
    assert!(found(&forged, "/d/link") && !found(&forged, "/d"));
    forged.put_name("/d", "e", "/");
    assert!(found(&forged, "/d/link") && found(&forged, "/d"));
    // The same for attributes: after an invalid entry, the shared ones are still checked.
    let hidden = |forged: &Forge| {
        let report = check(&forged.bytes);
        report.findings().any(|(_, finding)| {
            matches!(&finding.problem, Problem::Defect(Defect::XattrHidden(name)) if name == "user.shared")
        })
    };
    let mut forged = Forge::new();
    forged.put_inode("/d", 32, &[0xff; 4]);
    assert!(hidden(&forged));
    let mut forged = Forge::new();
    forged.put_xattr("/d", "user.a", 1, &[7]);
    assert!(!hidden(&forged));
    forged.put_inode("/d", 32, &[0xff; 4]);
    assert!(hidden(&forged));
}

#[test]
fn the_first_difference_is_told() {
    let region = |forge: fn(&mut Forge) -> u64| {
        let mut forged = Forge::new();
        let at = forge(&mut forged);
        match check(&forged.bytes).canonical {
            Canonical::No { offset, region } => {
                assert_eq!(offset, at);
                region
            }
            other => panic!("{other:?}"),
        }
    };
    let put = |f: &mut Forge, at: u64| {
        f.put(at, &[1]);
        at
    };
    assert_eq!(put(&mut Forge::new(), 17), 17);
    assert_eq!(
        region(|f| {
            f.put(17, &[1]);
            17
        }),
        Region::Header
    );
    assert_eq!(
        region(|f| {
            f.put_superblock(60, &[1]);
            1084
        }),
        Region::Superblock
    );
    assert_eq!(
        region(|f| {
            let at = f.inode("/sym").offset() + 12;
            f.put(at, &[1]);
            at
        }),
        Region::Record(b"/sym".to_vec())
    );
    assert_eq!(
        region(|f| {
            let at = f.inode("/d").offset() + 38;
            f.put(at, &[1]);
            at
        }),
        Region::Xattrs(b"/d".to_vec())
    );
    assert_eq!(
        region(|f| {
            let at = f.inode("/sym").offset() + 38;
            f.put(at, &[1]);
            at
        }),
        Region::Nothing
    );
    assert_eq!(
        region(|f| {
            f.bytes.extend([0; 4096]);
            f.bytes.len() as u64 - 4096
        }),
        Region::End
    );
}

#[test]
fn a_small_file_in_which_everything_is_everywhere_is_left_soon() {
    // Directories that all have the same blocks: each would be walked for each.
    let mut text = "/ 0 40755 2 0 0 0 1.0 - - -\n".to_owned();
    for directory in 0..300 {
        text.push_str(&format!("/d{directory} 0 40755 2 0 0 0 1.0 - - -\n"));
        for name in ["a", "b", "c"] {
            text.push_str(&format!("/d{directory}/{} 0 40755 2 0 0 0 1.0 - - -\n", name.repeat(250)));
        }
    }
    let mut forged = Forge::of(&text);
    // All of them of 8 MiB from block 0 on: the file has less, so what is claimed is bounded by its length each time.
    let blocks = forged.bytes.len() as u64 / 4096;
    for directory in 0..300 {
        let path = format!("/d{directory}");
        forged.put_inode(&path, 0, &[0]);
        forged.put_inode(&path, 8, &(blocks as u32 * 4096).to_le_bytes());
        forged.put_inode(&path, 16, &[0; 4]);
    }
    let report = check(&forged.bytes);
    assert!(report.findings().any(|(_, finding)| finding.problem == Problem::TooMuchShared));
    let mut twin = Forge::of(&text);
    twin.put_inode("/d0", 6, &[9]);
    assert!(check(&twin.bytes).findings().all(|(_, finding)| finding.problem != Problem::TooMuchShared));
}
