//! Extracting contents: intact ones completely, damaged ones not at all.

use std::fs;
use std::os::unix::fs::MetadataExt;

use libcomposefs_content::NoProgress;
use libcomposefs_image::tree::NewInode;
use libcomposefs_image::{Algorithm, verity};
use libcomposefs_store::Basedirs;
use libcomposefs_store::extract::{ExtractError, Options, Selection, extract};

use crate::place::{Place, ROOT, builder, directory, external, failures, inline, inode, names, noise};

#[test]
fn of_every_length() {
    let place = Place::new();
    let mut tree = builder();
    // Around the size of a block, of a read, and of contents copied by all threads.
    let lens = [1, 4095, 4096, 4097, 262_143, 262_144, 262_145, (16 << 20) - 1, 16 << 20, (16 << 20) + 4097];
    for len in lens {
        let digest = place.object(&noise(len, len as u32));
        tree.add(ROOT, len.to_string().as_bytes(), &external(&digest, len)).unwrap();
    }
    tree.add(ROOT, b"empty", &inline(b"")).unwrap();
    tree.add(ROOT, b"inline", &inline(&noise(5000, 1))).unwrap();
    tree.add(ROOT, b"line\nfeed \xff", &inline(b"x")).unwrap();
    let tree = tree.finish();
    for threads in [1, 2, 5] {
        let out = place.path(&format!("out{threads}"));
        let options = Options { threads: std::num::NonZeroUsize::new(threads), ..Options::default() };
        let outcome = place.extract_to(&tree, &out, &options).unwrap();
        assert!(outcome.is_whole(), "{:?}", failures(&outcome));
        assert_eq!((outcome.files, outcome.directories), (lens.len() as u64 + 3, 1));
        for len in lens {
            assert!(fs::read(out.join(len.to_string())).unwrap() == noise(len, len as u32), "{len}");
        }
        assert_eq!(fs::read(out.join("empty")).unwrap(), b"");
        assert_eq!(fs::read(out.join("inline")).unwrap(), noise(5000, 1));
        assert_eq!(names(&out).len(), lens.len() + 3);
    }
}

#[test]
fn holes_stay_holes() {
    let place = Place::new();
    let mut tree = builder();
    let mut content = vec![0; 40 << 20];
    content[5 << 20..][..5].copy_from_slice(b"hello");
    let (small, zeros) = (&content[4 << 20..6 << 20], &content[20 << 20..][..100_000]);
    for (name, content) in [("large", &content[..]), ("small", small), ("zeros", zeros)] {
        let digest = place.object(content);
        tree.add(ROOT, name.as_bytes(), &external(&digest, content.len())).unwrap();
    }
    assert!(place.extract(&tree.finish()).is_whole());
    for (name, expected) in [("large", &content[..]), ("small", small), ("zeros", zeros)] {
        let path = place.path("out").join(name);
        assert!(fs::read(&path).unwrap() == expected, "{name}");
        assert!(path.metadata().unwrap().blocks() * 512 <= 64 << 10, "{name} is not sparse");
    }
}

#[test]
fn damaged_contents_are_reported_and_left_out() {
    let place = Place::new();
    let mut tree = builder();
    let sub = tree.add(ROOT, b"sub", &directory()).unwrap();
    let mut expected = Vec::new();
    for (name, len) in [("small", 5000), ("large", 17 << 20)] {
        for wrong in ["damaged", "short", "long", "missing", "directory", "symlink", "right"] {
            let content = noise(len, (len + wrong.len() * 1000 + usize::from(wrong.as_bytes()[1])) as u32);
            let digest = place.object(&content);
            let path = place.object_path(&digest);
            let mut other = content.clone();
            other[len - 7] ^= 1;
            match wrong {
                "damaged" => fs::write(&path, other).unwrap(),
                "short" => fs::write(&path, &content[..len - 1]).unwrap(),
                "long" => fs::write(&path, [&content[..], b"x"].concat()).unwrap(),
                "right" => {}
                _ => fs::remove_file(&path).unwrap(),
            }
            match wrong {
                "directory" => fs::create_dir(&path).unwrap(),
                "symlink" => {
                    fs::write(place.path(&format!("{name}-elsewhere")), &content).unwrap();
                    std::os::unix::fs::symlink(place.path(&format!("{name}-elsewhere")), &path).unwrap();
                }
                _ => {}
            }
            let file = format!("{name}-{wrong}");
            tree.add(sub, file.as_bytes(), &external(&digest, len)).unwrap();
            let found = verity::digest(Algorithm::Sha256, &fs::read(&path).unwrap_or_default());
            let words = match wrong {
                "damaged" => vec!["has the digest".to_owned(), found.to_hex(), digest.to_hex()],
                "short" => vec![format!("has {} bytes", len - 1), digest.object_path()],
                "long" => vec![format!("has {} bytes", len + 1), digest.object_path()],
                "missing" => vec![format!("{} is not in", digest.object_path())],
                "directory" => vec!["is not a regular file".to_owned()],
                "symlink" => vec!["leaves the object directory or contains a symlink".to_owned()],
                _ => continue,
            };
            expected.push((format!("/sub/{file}"), words));
        }
    }
    let outcome = place.extract(&tree.finish());
    expected.sort();
    let found = failures(&outcome);
    assert_eq!(
        found.iter().map(|(path, _)| path).collect::<Vec<_>>(),
        expected.iter().map(|(path, _)| path).collect::<Vec<_>>()
    );
    for ((path, message), (_, words)) in found.iter().zip(&expected) {
        assert!(words.iter().all(|word| message.contains(word)), "{path}: {message}");
    }
    // The other files exist, and nothing else.
    assert_eq!(names(&place.path("out/sub")), ["large-right", "small-right"]);
    assert_eq!(names(&place.path("out")), ["sub"]);
}

#[test]
fn contents_without_a_digest_need_the_option() {
    let place = Place::new();
    fs::write(place.path("objects/by-name"), "anything").unwrap();
    let mut tree = builder();
    let named = NewInode { size: 8, payload: Some(b"by-name"), ..inode(0o100644) };
    tree.add(ROOT, b"file", &named).unwrap();
    tree.add(ROOT, b"nameless", &NewInode { payload: None, ..named }).unwrap();
    let tree = tree.finish();
    let outcome = place.extract(&tree);
    let [(_, without_digest), (_, nameless)] = &failures(&outcome)[..] else { panic!("{outcome:?}") };
    assert!(without_digest.contains("no digest") && nameless.contains("no digest"), "{without_digest} {nameless}");
    assert_eq!(names(&place.path("out")), [""; 0]);
    let options = Options { unverified: true, ..Options::default() };
    let outcome = place.extract_to(&tree, &place.path("again"), &options).unwrap();
    assert_eq!(fs::read(place.path("again/file")).unwrap(), b"anything");
    assert_eq!(outcome.unverified, 1);
    let [(path, message)] = &failures(&outcome)[..] else { panic!("{outcome:?}") };
    assert!(path == "/nameless" && message.contains("does not name the object"), "{message}");
}

#[test]
fn hard_links_are_links_also_of_a_part() {
    let place = Place::new();
    let digest = place.object(&noise(5000, 3));
    let damaged = place.object(&noise(5000, 4));
    fs::write(place.object_path(&damaged), noise(5000, 5)).unwrap();
    let mut tree = builder();
    let a = tree.add(ROOT, b"a", &directory()).unwrap();
    let b = tree.add(ROOT, b"b", &directory()).unwrap();
    let file = tree.add(a, b"file", &external(&digest, 5000)).unwrap();
    let fifo = tree.add(a, b"fifo", &inode(0o010600)).unwrap();
    let bad = tree.add(a, b"bad", &external(&damaged, 5000)).unwrap();
    for (name, inode) in [(&b"file"[..], file), (b"again", file), (b"fifo", fifo), (b"bad", bad)] {
        tree.add_link(b, name, inode).unwrap();
    }
    let tree = tree.finish();
    let outcome = place.extract(&tree);
    assert_eq!(failures(&outcome).iter().map(|(path, _)| &path[..]).collect::<Vec<_>>(), ["/a/bad", "/b/bad"]);
    assert_eq!((outcome.files, outcome.others, outcome.links), (1, 1, 3));
    let stat = |name: &str| place.path("out").join(name).symlink_metadata().unwrap();
    assert_eq!((stat("a/file").nlink(), stat("a/fifo").nlink()), (3, 2));
    assert_eq!([stat("b/file").ino(), stat("b/again").ino()], [stat("a/file").ino(); 2]);
    assert_eq!(stat("b/fifo").ino(), stat("a/fifo").ino());
    // The staging directory and its files are removed.
    assert_eq!(names(&place.path("out")), ["a", "b"]);

    // A selection with only links of a file extracts the file too.
    let basedirs = Basedirs::open(&[place.path("objects")]).unwrap();
    let part = |paths: &[&str], out: &str| {
        let selection = Selection::of_paths(&tree, paths)?;
        extract(&tree, &selection, &basedirs, &place.path(out), &Options::default(), &NoProgress)
    };
    assert!(part(&["b/file", "/b/again"], "part").unwrap().is_whole());
    assert_eq!(names(&place.path("part")), ["b"]);
    assert_eq!(names(&place.path("part/b")), ["again", "file"]);
    assert_eq!(place.path("part/b/file").metadata().unwrap().nlink(), 2);
    assert!(part(&["b/fifo"], "single").unwrap().is_whole());
    assert_eq!(place.path("single/b/fifo").metadata().unwrap().nlink(), 1);
    let error = part(&["b/none"], "none").unwrap_err();
    assert!(matches!(&error, ExtractError::NoSuchPath { path } if path == b"b/none"), "{error}");
    assert!(!place.path("none").exists());
}
