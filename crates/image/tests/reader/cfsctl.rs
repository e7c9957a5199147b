//! Images of the Rust implementation, which alone writes version 2 and SHA-512.

use libcomposefs_image::dump::{self, Parser};
use libcomposefs_image::erofs::Image;
use libcomposefs_image::erofs::format_version::{LEGACY, PROFILES};
use libcomposefs_image::erofs::read::{ImageReader, Order, load};
use libcomposefs_image::tree::{Kind, Tree};
use libcomposefs_testkit::cfsctl;

/// Returns a tree as text, without what images of version 2 do not hold, what cfsctl's dumps omit, and what version 1
/// adds to directories of whiteouts.
fn comparable(tree: &Tree, version: u32) -> Vec<String> {
    let mut text = Vec::new();
    dump::emit(tree, &mut text).unwrap();
    let line = |line: &str| {
        let mut fields: Vec<_> = line.split(' ').map(str::to_owned).collect();
        if version == 2 {
            fields[7] = fields[7].split('.').next().unwrap().to_owned();
        }
        let mode = u32::from_str_radix(fields[2].trim_start_matches('@'), 8).unwrap();
        if Kind::from_mode(mode) == Some(Kind::Directory) {
            (fields[1], fields[3]) = (String::new(), String::new());
            fields.retain(|field| !field.ends_with(".overlay.opaque=x"));
        }
        fields.join(" ")
    };
    String::from_utf8(text).unwrap().lines().map(line).collect()
}

#[test]
fn images_of_cfsctl_are_its_trees() {
    for recorded in cfsctl::images() {
        let (algorithm, version) = (recorded.algorithm, recorded.version);
        let mut parser = Parser::new(dump::Options { algorithm, strict: false });
        let text = recorded.dump.strip_suffix(b"\n").unwrap();
        text.split(|b| *b == b'\n').for_each(|line| parser.push_line(line).unwrap());
        let want = parser.finish().unwrap().tree;
        let reader = ImageReader::new(&recorded.image).unwrap();
        assert_eq!(reader.header().format_version, version);
        let loaded = load(&reader, &[]).unwrap();
        assert_eq!(loaded.tree.algorithm(), algorithm);
        assert_eq!(comparable(&loaded.tree, version), comparable(&want, version), "{algorithm} version {version}");
        let (stubs, order) = if version == 1 { (256, Order::BreadthFirst) } else { (0, Order::Other) };
        assert_eq!((loaded.stubs, loaded.order), (stubs, order));
        let profile = PROFILES.iter().chain([&LEGACY]).find(|profile| profile.format_version == version).unwrap();
        for tree in [&loaded.tree, &want] {
            let mut again = Vec::new();
            Image::plan_as(tree, profile).unwrap().write(&mut again).unwrap();
            assert!(again == recorded.image, "{algorithm} version {version}");
        }
        assert!(version == 1 || loaded.compact == 0);
    }
}
