//! `composefs cat`: verified contents are printed, and nothing else.

use std::fs;
use std::os::unix::fs::symlink;

use crate::fixture::Place;

const DIGEST_A: &str = "cc3da5b14909626fc99443f580e4d8c9b990e85e0a1d18883dc89b23d43e173f";
const OBJECT_A: &str = "cc/3da5b14909626fc99443f580e4d8c9b990e85e0a1d18883dc89b23d43e173f";

fn dump() -> Vec<u8> {
    let lines = [
        "/ 0 40755 2 0 0 0 1.0 - - -".to_owned(),
        "/dir 0 40755 2 0 0 0 1.0 - - -".to_owned(),
        format!("/a 10 100644 1 0 0 0 1.0 {OBJECT_A} - {DIGEST_A}"),
        format!("/absolute 7 100644 1 0 0 0 1.0 /etc/passwd - {DIGEST_A}"),
        format!("/above 7 100644 1 0 0 0 1.0 ../secret - {DIGEST_A}"),
        format!("/by-link 7 100644 1 0 0 0 1.0 link/secret - {DIGEST_A}"),
        format!("/dir-object 10 100644 1 0 0 0 1.0 cc - {DIGEST_A}"),
        "/empty 0 100644 1 0 0 0 1.0 - - -".to_owned(),
        "/hole 10 100644 1 0 0 0 1.0 - - -".to_owned(),
        "/inline 5 100644 1 0 0 0 1.0 - hello -".to_owned(),
        format!("/larger 11 100644 1 0 0 0 1.0 {OBJECT_A} - {DIGEST_A}"),
        "/missing 10 100644 1 0 0 0 1.0 dd/missing - -".to_owned(),
        "/null 0 20666 1 0 0 259 1.0 - - -".to_owned(),
        format!("/odd\\n\\x1b[2J 10 100644 1 0 0 0 1.0 dd/\\x1b[2J\\nx - {DIGEST_A}"),
        "/sym 6 120777 1 0 0 0 1.0 inline - -".to_owned(),
        "/unverified 10 100644 1 0 0 0 1.0 other - -".to_owned(),
        format!("/wrong 10 100644 1 0 0 0 1.0 other - {DIGEST_A}"),
    ];
    lines.join("\n").into_bytes()
}

fn place() -> Place {
    let place = Place::with(&dump());
    place.write(&format!("objects/{OBJECT_A}"), b"content_a\n");
    place.write("objects/other", b"content_x\n");
    place.write("secret", b"secret\n");
    symlink("..", place.path("objects/link")).unwrap();
    place
}

#[test]
fn contents_come_from_the_image_and_from_objects() {
    let place = place();
    assert_eq!(place.out("cat @image inline sym /empty"), "hellohello");
    assert_eq!(place.out("cat @image inline a --basedir @objects"), "hellocontent_a\n");
    // The first directory that has the object is used; directories that lack it are skipped.
    fs::create_dir(place.path("none")).unwrap();
    assert_eq!(place.out("cat --basedir=@none --basedir=@objects @image a"), "content_a\n");
    let json = place.json("cat --json --basedir @objects @image a inline");
    assert_eq!(json[0]["content"], "object");
    assert_eq!((&json[0]["data"], &json[0]["digest"]), (&"content_a\n".into(), &DIGEST_A.into()));
    assert_eq!(json[0]["object"].as_str().map(|path| path.ends_with(OBJECT_A)), Some(true));
    assert_eq!((&json[1]["data"], &json[1]["object"]), (&"hello".into(), &serde_json::Value::Null));
}

#[test]
fn damaged_contents_are_not_printed_but_the_others_are() {
    let place = place();
    for (path, words) in [
        ("a", "its content is in an object\nremedy: use --basedir=DIR"),
        ("dir", "a directory has no content"),
        ("null", "a character device has no content"),
        ("hole", "the image does not say which object"),
        ("none", "/none is not in the image\nremedy: composefs ls "),
    ] {
        let out = place.run(&format!("cat @image inline {path} inline"));
        assert_eq!((out.status, &out.stdout[..]), (Some(1), &b"hellohello"[..]), "{path}: {}", out.stderr);
        assert!(out.stderr.contains(words), "{path}: {}", out.stderr);
    }
    for (path, words) in [
        ("absolute", "etc/passwd is not in "),
        ("above", "its path leaves the object directory"),
        ("by-link", "its path leaves the object directory or contains a symlink"),
        ("dir-object", "objects/cc is not a regular file"),
        ("larger", "has 10 bytes, the image says 11"),
        ("missing", "the object dd/missing is not in "),
        ("unverified", "no digest"),
        ("wrong", &format!("the image says {DIGEST_A}")),
    ] {
        let out = place.run(&format!("cat --basedir=@objects @image inline {path} a"));
        assert_eq!((out.status, &out.stdout[..]), (Some(1), &b"hellocontent_a\n"[..]), "{path}: {}", out.stderr);
        assert!(
            out.stderr.contains(words) && out.stderr.contains(&format!("image: /{path}: ")),
            "{path}: {}",
            out.stderr
        );
        let out = place.run(&format!("cat --json --basedir=@objects @image {path}"));
        assert_eq!((out.status, &out.stdout[..]), (Some(1), &b"[]\n"[..]), "{path}");
    }
    assert_eq!(place.out("cat --basedir=@objects --unverified @image unverified a"), "content_x\ncontent_a\n");
    let out = place.run("cat --basedir=@objects --unverified @image wrong");
    assert_eq!((out.status, out.stdout.is_empty()), (Some(1), true));
}

#[test]
fn messages_escape_names() {
    let place = place();
    let out = crate::fixture::composefs([
        "cat".as_ref(),
        "--basedir".as_ref(),
        place.path("objects").as_os_str(),
        place.path("image").as_os_str(),
        "odd\n\x1b[2J".as_ref(),
        "none\x1b[2J\nfake".as_ref(),
    ]);
    assert_eq!(out.status, Some(1));
    assert!(out.stderr.contains("/odd\\n\\x1b[2J: the object dd/\\x1b[2J\\nx is not in "), "{}", out.stderr);
    assert!(!out.stderr.contains('\x1b') && !out.stderr.lines().any(|line| line.starts_with("fake")), "{}", out.stderr);
}

#[test]
fn large_objects_are_verified_to_the_last_byte() {
    let place = Place::new();
    let content: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
    place.write("tree/large", &content);
    let store = format!("--digest-store={}", place.path("objects").display());
    for algorithm in ["sha256", "sha512"] {
        let algorithm = format!("--algorithm={algorithm}");
        let (tree, image) = (place.path("tree"), place.path("image"));
        let line = [algorithm.as_ref(), store.as_ref(), tree.as_os_str(), image.as_os_str()];
        let _ = crate::fixture::program("mkcomposefs").run(line, b"").ok();
        assert!(place.run("cat --basedir=@objects @image large").ok().stdout == content, "{algorithm}");
        let payload = place.json("stat --json @image large")[0]["payload"].as_str().unwrap().to_owned();
        let object = place.path("objects").join(payload);
        for at in [0, 1_000_000, content.len() - 1] {
            let mut wrong = content.clone();
            wrong[at] ^= 1;
            fs::remove_file(&object).unwrap();
            fs::write(&object, &wrong).unwrap();
            let out = place.run("cat --basedir=@objects @image large");
            assert_eq!((out.status, out.stdout.len()), (Some(1), 0), "{algorithm} {at}");
            assert!(out.stderr.contains("has the digest "), "{}", out.stderr);
        }
    }
}
