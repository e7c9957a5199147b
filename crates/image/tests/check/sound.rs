//! Images as writers make them.

use std::io::Write;
use std::process::Command;

use libcomposefs_image::dump::{self, Parser};
use libcomposefs_image::erofs::check::{Canonical, CheckReport, Problem, Region, Severity, check, check_in_file};
use libcomposefs_image::erofs::read::{HEAD_LEN, said_len};
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_testkit::{cfsctl, golden, skip};

/// The findings of some severities, as they are shown.
fn shown(report: &CheckReport, wanted: &[Severity]) -> Vec<String> {
    let wanted = report.findings().filter(|(severity, _)| wanted.contains(severity));
    wanted.map(|(severity, finding)| format!("{severity}: {finding}")).collect()
}

/// Every golden in both versions, as far as it is one.
fn goldens() -> impl Iterator<Item = (String, Vec<u8>)> {
    golden::good().into_iter().flat_map(|good| {
        let mut parser = Parser::new(dump::Options::default());
        let lines = good.dump.strip_suffix(b"\n").unwrap_or(&good.dump).split(|byte| *byte == b'\n');
        lines.for_each(|line| parser.push_line(line).unwrap());
        let tree = parser.finish().unwrap().tree;
        [0, 1].map(|version| {
            let mut bytes = Vec::new();
            Image::plan(&tree, Versions::exactly(version)).unwrap().write(&mut bytes).unwrap();
            (format!("{} in version {version}", good.name), bytes)
        })
    })
}

#[test]
fn goldens_are_sound_and_canonical() {
    let mut count = 0;
    for (name, bytes) in goldens() {
        let report = check(&bytes);
        assert_eq!(shown(&report, &[Severity::Error]), [""; 0], "{name}");
        assert_eq!(report.canonical, Canonical::Yes, "{name}");
        // What a dump may say, and no directory: link counts that are no number of names, objects of other names.
        for (_, finding) in report.findings() {
            let is_of_the_dump = matches!(
                finding.problem,
                Problem::Links { .. }
                    | Problem::OtherObject { .. }
                    | Problem::NoObject
                    | Problem::NoDigest
                    | Problem::NotOpaqueDirectories { .. }
            );
            assert!(is_of_the_dump, "{name}: {finding}");
        }
        count += 1;
    }
    assert_eq!(count, 2 * golden::good().len());
}

#[test]
fn a_tree_as_a_scan_makes_it_has_no_findings() {
    let digest = "84ea6f7a76b5e2a6b0d8e9b7e4d3c2b1a0918273645546372819a0b1c2d3e4f5";
    let text = format!(
        "/ 0 40755 2 0 0 0 1.0 - - - security.selinux=x\n/a 100 100644 2 0 0 0 2.0 {}/{} - {digest} user.a=b\n\
         /b 0 @100644 2 0 0 0 0.0 /a - -\n/d 0 40755 2 0 0 0 3.0 - - - system.posix_acl_default=x\n\
         /d/gone 0 20644 1 0 0 0 1.0 - - -\n/s 1 120777 1 0 0 0 1.0 x - - user.a=b\n",
        &digest[..2],
        &digest[2..]
    );
    for version in [0, 1] {
        let report = check(&crate::forge::write(&crate::forge::parse(&text), version));
        assert_eq!(shown(&report, &[Severity::Error, Severity::Warning]), [""; 0]);
        let notes = shown(&report, &[Severity::Note]);
        assert_eq!(notes.len(), usize::from(version == 1), "{notes:?}");
        assert!(notes.iter().all(|note| note.starts_with("note: /d, ") && note.contains("not opaque")), "{notes:?}");
        assert_eq!((report.canonical, report.inodes, report.names), (Canonical::Yes, 261, 261));
    }
}

/// Loss in the image is reported when it is written, and it changes no byte of the image.
#[test]
fn opaque_directories_that_hold_whiteouts_are_told() {
    let tree = |d: &str, e: &str, whiteout: &str| {
        let text = format!(
            "/ 0 40755 2 0 0 0 1.0 - - -\n/d 0 40755 2 0 0 0 3.0 - - - {d}\n/d/gone 0 {whiteout} 1 0 0 0 1.0 - - -\n\
             /e 0 40755 2 0 0 0 3.0 - - - {e}\n/e/gone 0 {whiteout} 1 0 0 0 1.0 - - -\n"
        );
        crate::forge::parse(&text)
    };
    let (opaque, user) = ("trusted.overlay.opaque=y", "user.overlay.opaque=y");
    let (escaped, x) = ("trusted.overlay.overlay.opaque=y", "trusted.overlay.opaque=x");
    for (d, e, lost) in [
        (opaque, "user.a=y", &["/d"][..]),
        ("user.a=y", user, &["/e"]),
        (opaque, user, &["/d", "/e"]),
        (escaped, x, &[]),
    ] {
        let paths: Vec<_> = lost.iter().map(|path| path.as_bytes().to_vec()).collect();
        let found = |whiteout, version| {
            let tree = tree(d, e, whiteout);
            Image::plan(&tree, Versions::exactly(version)).unwrap().lost_opaque()
        };
        let told = found("20644", 1);
        assert_eq!((told.count, &told.first), (lost.len(), &paths), "{d} {e}");
        // Version 0 keeps the attribute, and another device is no whiteout.
        assert_eq!((found("20644", 0).count, found("60644", 1).count), (0, 0), "{d} {e}");
        let report = check(&crate::forge::write(&tree(d, e, "20644"), 1));
        let notes = shown(&report, &[Severity::Note]);
        assert!(matches!(&notes[..], [note] if note.starts_with("note: /d, ") && note.ends_with(": 2")), "{notes:?}");
    }
}

#[test]
fn images_of_cfsctl_are_sound() {
    for recorded in cfsctl::images() {
        let report = check(&recorded.image);
        let name = format!("{} {}", recorded.algorithm, recorded.version);
        let other = |problem: &Problem| !matches!(problem, Problem::NotOpaqueDirectories { .. });
        assert!(
            report.findings().all(|(_, finding)| !other(&finding.problem)),
            "{name}: {:?}",
            shown(&report, &Severity::ALL)
        );
        assert_eq!(report.canonical, Canonical::Yes, "{name}");
    }
}

/// Returns `true` if fsck.erofs finds nothing in an image; `None` without the program.
fn fsck_is_content(image: &[u8]) -> Option<bool> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(image).unwrap();
    let output = Command::new("fsck.erofs").arg(file.path()).output().ok()?;
    // It succeeds after some of what it complains about.
    Some(output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("<E>"))
}

#[test]
fn fsck_erofs_finds_the_same_images_sound() {
    if fsck_is_content(b"").is_none() {
        return skip::announce("sound::fsck_erofs_finds_the_same_images_sound", "there is no fsck.erofs");
    }
    for (name, bytes) in goldens() {
        assert_eq!(fsck_is_content(&bytes), Some(true), "{name}");
    }
    // That it can find something, and the checksum it wants.
    let (_, mut image) = goldens().next().unwrap();
    image[1024 + 8] |= 1;
    assert_eq!(fsck_is_content(&image), Some(false));
    let wanted = check(&image).findings().find_map(|(_, finding)| match finding.problem {
        Problem::Checksum { expected, .. } => Some(expected),
        _ => None,
    });
    image[1024 + 4..][..4].copy_from_slice(&wanted.unwrap().to_le_bytes());
    assert_eq!(fsck_is_content(&image), Some(true));
    assert_eq!(check(&image).count(Severity::Error), 0);
}

/// The length in the head covers the whole image, for every writer.
#[test]
fn the_head_of_an_image_says_how_long_it_is() {
    let recorded = cfsctl::images().into_iter().map(|recorded| ("cfsctl".to_owned(), recorded.image));
    for (name, bytes) in goldens().chain(recorded) {
        assert_eq!(said_len(&bytes[..HEAD_LEN]), Ok(bytes.len() as u64), "{name}");
        assert!(said_len(&bytes[..HEAD_LEN - 1]).is_err(), "{name}");
    }
}

/// Defects after an image are found even where the bytes were not read, with the same message.
#[test]
fn a_file_that_goes_on_is_found_without_what_is_behind() {
    let (_, image) = goldens().next().unwrap();
    let longer = [&image[..], &[0; 100]].concat();
    let (whole, part) = (check(&longer), check_in_file(&image, longer.len() as u64));
    let all = [Severity::Error, Severity::Warning, Severity::Note];
    assert_eq!(shown(&part, &all), shown(&whole, &all));
    assert!(shown(&part, &all).iter().any(|finding| finding.contains("the superblock says")));
    assert_eq!(part.canonical, Canonical::No { offset: image.len() as u64, region: Region::End });
    assert_eq!(part.canonical, whole.canonical);
    assert_eq!(check_in_file(&image, image.len() as u64).canonical, Canonical::Yes);
}
