//! `composefs du` with several images.

use std::fs;

use crate::fixture::{Place, build};

/// Three files with known objects; the images share `a` and contain `b` twice.
fn place() -> Place {
    let place = Place::new();
    let digest = |letter: &str| letter.repeat(64);
    let file = |path: &str, size: u32, letter: &str| {
        format!("{path} {size} 100644 1 0 0 0 1.0 {letter}{letter}/{} - {}\n", letter.repeat(62), digest(letter))
    };
    let root = "/ 0 40755 2 0 0 0 1.0 - - -\n".to_owned();
    let one = [root.clone(), file("/a", 1000, "a"), file("/b", 200, "b"), file("/b2", 200, "b")].concat()
        + "/inline 5 100644 2 0 0 0 1.0 - hello -\n/link 0 @100644 1 0 0 0 1.0 /inline - -\n\
           /hole 30 100644 1 0 0 0 1.0 - - -\n";
    let two = [root, file("/a", 1000, "a"), file("/c", 4, "c")].concat();
    build(one.as_bytes(), "1", &place.path("one"));
    build(two.as_bytes(), "0", &place.path("two"));
    place.write(&format!("objects/aa/{}", "a".repeat(62)), &[1; 1000]);
    fs::create_dir_all(place.path("objects/cc").join("c".repeat(62))).unwrap();
    place
}

fn numbers(object: &serde_json::Value, keys: &[&str]) -> Vec<u64> {
    keys.iter().map(|key| object[*key].as_u64().unwrap_or_else(|| panic!("no {key} in {object}"))).collect()
}

#[test]
fn shared_and_exclusive_sizes() {
    let place = place();
    const KEYS: [&str; 6] = ["apparent", "unique", "shared", "exclusive", "objects", "inline"];
    let json = place.json("du --json @one");
    // Apparent size by name: 1000 and twice 200, twice 5, and the size recorded for the hole.
    assert_eq!(numbers(&json["images"][0], &KEYS), [1440, 1200, 0, 1200, 2, 5]);
    assert_eq!(numbers(&json["total"], &KEYS), [1440, 1200, 0, 1200, 2, 5]);
    let json = place.json("du --json @one @two");
    assert_eq!(numbers(&json["images"][0], &KEYS), [1440, 1200, 1000, 200, 2, 5]);
    assert_eq!(numbers(&json["images"][1], &KEYS), [1004, 1004, 1000, 4, 2, 0]);
    assert_eq!(numbers(&json["total"], &KEYS), [2444, 1204, 1000, 204, 3, 5]);
    // An image given twice has no exclusive objects.
    let json = place.json("du --json @one @one");
    assert_eq!(numbers(&json["total"], &KEYS), [2880, 1200, 1200, 0, 2, 10]);
}

#[test]
fn sizes_on_disk() {
    let place = place();
    let out = place.run("du --json --basedir @objects @one @two");
    // An object that is not a regular file is reported as an error; a missing one is counted.
    assert_eq!(out.status, Some(1));
    assert!(out.stderr.contains("is not a regular file"), "{}", out.stderr);
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    const KEYS: [&str; 3] = ["disk", "freed", "missing"];
    assert_eq!(numbers(&json["images"][0], &KEYS)[1..], [0, 1]);
    assert_eq!(numbers(&json["total"], &KEYS)[1..], [0, 2]);
    let disk = numbers(&json["total"], &KEYS)[0];
    assert!(disk > 0);
    assert_eq!(numbers(&place.json("du --json --basedir @objects @one")["total"], &KEYS), [disk, disk, 1]);
}

#[test]
fn table_for_several_images() {
    let place = place();
    let text = place.out("du @one @two");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["apparent", "unique", "shared", "exclusive", "objects", "inline", "image"]);
    assert_eq!(lines[1][..6], ["1440", "1200", "1000", "200", "2", "5"]);
    assert_eq!((lines[2][3], lines[3][0], lines[3].last()), ("4", "2444", Some(&"total")));
    assert!(place.out("du -H @one").contains(" 1.2k "));
    assert_eq!(place.out("du @one").lines().count(), 2);
    let out = place.run("du @none @two");
    assert_eq!(out.status, Some(1));
    assert!(String::from_utf8_lossy(&out.stdout).contains("two\n") && out.stderr.contains("none': No such file"));
}
