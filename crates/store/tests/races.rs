//! Scans of a tree that is changed meanwhile.

mod support;

use std::collections::HashSet;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use libcomposefs_content::{DigestOnly, NoProgress, SourceFile};
use libcomposefs_image::Algorithm;
use libcomposefs_image::tree::{Data, InodeId, Tree};
use libcomposefs_scan::{Error, Options, scan};
use support::{assert_sound, store};
use tempfile::tempdir;

/// Rounds after which a race that was never seen counts as missed. Each race is run until it is seen, because the
/// chance of it depends on the machine: on two busy cores a thread may run a hundred rounds alone.
const MOST_ROUNDS: u32 = 50_000;

/// Runs `change` repeatedly while `scan` runs.
fn while_changing(change: impl Fn(u32) + Sync, scan: impl FnOnce(&AtomicU32)) {
    let (stop, count) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                change(count.fetch_add(1, Ordering::Relaxed));
            }
        });
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _stop = Stop(&stop);
        scan(&count);
    });
}

fn all_names(tree: &Tree) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let mut stack = vec![InodeId::ROOT];
    while let Some(id) = stack.pop() {
        for entry in tree.children(id) {
            names.push(entry.name.to_vec());
            if tree.inode(entry.inode).data() == Data::Directory {
                stack.push(entry.inode);
            }
        }
    }
    names
}

#[test]
fn nothing_outside_of_the_tree_is_ever_seen() {
    let dir = tempdir().unwrap();
    let (root, outside, aside) = (dir.path().join("root"), dir.path().join("outside"), dir.path().join("aside"));
    for i in 0..20 {
        fs::create_dir_all(root.join(format!("d{i}/sub"))).unwrap();
        fs::write(root.join(format!("d{i}/sub/inside")), "x".repeat(100)).unwrap();
    }
    fs::create_dir_all(outside.join("sub")).unwrap();
    fs::write(outside.join("sub/secret"), "secret ".repeat(20)).unwrap();
    fs::write(outside.join("inside"), "secret ".repeat(20)).unwrap();
    let secret = libcomposefs_image::verity::digest(Algorithm::Sha256, "secret ".repeat(20).as_bytes());
    // Directories become symlinks to the outside and directories again; the file in one of them does too.
    let change = |i: u32| {
        let victim = root.join(format!("d{}", i % 20));
        let victim = if i.is_multiple_of(2) { victim } else { victim.join("sub") };
        fs::rename(&victim, &aside).unwrap();
        symlink(&outside, &victim).unwrap();
        std::thread::yield_now();
        fs::remove_file(&victim).unwrap();
        fs::rename(&aside, &victim).unwrap();
    };
    let (mut whole, mut failed) = (0, 0);
    while_changing(change, |changes| {
        while whole + failed < 400
            || changes.load(Ordering::Relaxed) < 2000
            || (whole == 0 || failed == 0) && whole + failed < MOST_ROUNDS
        {
            match scan(&root, &Options::default(), &DigestOnly(Algorithm::Sha256), &NoProgress) {
                Ok(tree) => {
                    whole += 1;
                    assert!(!all_names(&tree).contains(&b"secret".to_vec()), "a name from outside");
                    for index in all_digests(&tree) {
                        assert_ne!(index, secret, "a content from outside");
                    }
                }
                Err(error) => {
                    failed += 1;
                    assert!(error.path().starts_with(&root), "{error}");
                }
            }
        }
    });
    eprintln!("{whole} scans whole, {failed} failed");
    assert!(whole > 0 && failed > 0, "{whole} whole, {failed} failed: the race was not run");
}

fn all_digests(tree: &Tree) -> Vec<libcomposefs_image::Digest> {
    let mut digests = Vec::new();
    let mut stack = vec![InodeId::ROOT];
    while let Some(id) = stack.pop() {
        for entry in tree.children(id) {
            match tree.inode(entry.inode).data() {
                Data::Directory => stack.push(entry.inode),
                Data::Regular { digest, .. } => digests.extend(digest),
                _ => {}
            }
        }
    }
    digests
}

/// Scans into a store while `rewrite` changes the file 1,000 times.
fn rewritten(size: usize, rewrite: impl Fn(&Path, u32) + Sync) {
    let dir = tempdir().unwrap();
    let (root, objects) = (dir.path().join("root"), dir.path().join("store"));
    fs::create_dir(&root).unwrap();
    fs::write(root.join("file"), vec![b'0'; size]).unwrap();
    fs::write(root.join("other"), vec![b'o'; 100]).unwrap();
    let store = store(&objects);
    let (mut whole, mut failed) = (0, 0);
    while_changing(
        |i| rewrite(&root.join("file"), i),
        |changes| {
            // A scan of a small file is often over before the next write.
            let all_seen = |failed: u32| failed > 0 || size < 200_000;
            while changes.load(Ordering::Relaxed) < 1000
                || whole + failed < 60
                || !all_seen(failed) && whole + failed < MOST_ROUNDS
            {
                let batch = store.batch();
                match scan(&root, &Options::default(), &batch, &NoProgress) {
                    Ok(tree) => {
                        batch.finish().unwrap();
                        whole += 1;
                        for digest in all_digests(&tree) {
                            assert!(store.open_object(&digest).unwrap().is_some(), "{digest} is not stored");
                        }
                    }
                    Err(Error::ChangedWhileReading { path }) => {
                        failed += 1;
                        assert_eq!(path, root.join("file"));
                    }
                    // The store found it, and reports it with its own message.
                    Err(error) => {
                        failed += 1;
                        assert!(error.to_string().contains("changed while"), "{error}");
                    }
                }
            }
        },
    );
    let objects = assert_sound(&objects);
    eprintln!("{size} bytes: {whole} scans whole, {failed} failed, {objects} objects");
    assert!(size < 200_000 || failed > 0, "no change was detected in {whole} scans");
}

/// Without a scan that would compare the metadata: stored objects must still have the digest in their name.
#[test]
fn an_object_has_the_digest_of_its_stored_bytes() {
    let dir = tempdir().unwrap();
    let (path, objects) = (dir.path().join("file"), dir.path().join("store"));
    let size = 4_000_000;
    fs::write(&path, vec![b'0'; size]).unwrap();
    let writer = fs::File::options().write(true).open(&path).unwrap();
    let reader = fs::File::open(&path).unwrap();
    let store = store(&objects);
    let change = |i: u32| {
        let offset = u64::from(i % 900) * 4096;
        rustix::io::pwrite(&writer, &i.to_le_bytes(), offset).unwrap();
    };
    let mut digests = HashSet::new();
    while_changing(change, |_| {
        let mut buffer = vec![0; 1 << 20];
        let source = SourceFile::of(reader.as_fd()).unwrap();
        for _ in 0..MOST_ROUNDS {
            let batch = store.batch();
            digests.insert(batch.put_file(&source, &mut buffer).unwrap().0);
            batch.finish().unwrap();
            if digests.len() > 10 {
                break;
            }
        }
    });
    let count = assert_sound(&objects);
    assert!(count > 10, "{count} objects: the race was not run");
}

#[test]
fn a_file_that_is_rewritten_during_scans() {
    let fill = |size: usize, i: u32| vec![b'0' + (i % 10) as u8; size];
    for size in [100, 200_000, 3_000_000] {
        // Rewrites the whole file in place.
        rewritten(size, |path, i| {
            rustix::fs::open(path, rustix::fs::OFlags::WRONLY, rustix::fs::Mode::empty())
                .and_then(|file| rustix::io::pwrite(file, &fill(size, i), 0))
                .unwrap();
        });
        // Truncates the file first, like a shell.
        rewritten(size, |path, i| fs::write(path, fill(size - (i % 3) as usize, i)).unwrap());
    }
}
