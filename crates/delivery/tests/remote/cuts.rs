//! Operations that are cut at any call of the store go on at the next run.

use libcomposefs_delivery::{CollectOptions, DirectoryStore, FileKind, Remote, RemoteStore, collect};

use crate::faulty_store::{FaultyStore, Treatment};
use crate::pair::{Place, expect_whole, image, patience, pull_from, push_to};

#[test]
fn a_push_cut_at_any_call_goes_on() {
    let place = Place::new();
    let source = place.source("source");
    let old = source.resolve(&image("old")).unwrap();
    let new = source.resolve(&image("new")).unwrap();
    let begun = place.path("begun");
    push_to(&source, "old", &DirectoryStore::open(&begun).unwrap(), "one").unwrap();
    // Before the call is done, and, less often, after it.
    for (after, step) in [(false, 1), (true, 3)] {
        for at in (0..).step_by(step) {
            let path = place.path(&format!("remote-{after}-{at}"));
            copy(&begun, &path);
            let store = DirectoryStore::open(&path).unwrap();
            let before = files(&store);
            let dying = FaultyStore::new(&store, Treatment::Dies { at, after });
            let is_done = push_to(&source, "new", &dying, "one").is_ok();
            // Nothing half is visible: the ref leads to an image that can be pulled.
            let receiver = place.repository(&format!("receiver-{after}-{at}"));
            let pulled = pull_from(&receiver, &store, "one").unwrap();
            assert!(pulled.digest == old || pulled.digest == new, "{at}");
            expect_whole(&receiver, "one", pulled.digest);
            let cut = files(&store);
            let counting = FaultyStore::new(&store, Treatment::Right);
            let again = push_to(&source, "new", &counting, "one").unwrap();
            assert_eq!(again.digest, new);
            // What the first run has sent is not sent again.
            assert_eq!(again.sent_files, files(&store) - cut, "{at}");
            let receiver = place.repository(&format!("receiver2-{after}-{at}"));
            pull_from(&receiver, &store, "one").unwrap();
            expect_whole(&receiver, "one", new);
            std::fs::remove_dir_all(path).unwrap();
            if is_done {
                assert!(at > 10 && files(&store) <= before + 4, "{at}");
                break;
            }
        }
    }
}

/// Copies a directory.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to)
        } else {
            std::fs::copy(entry.path(), &to).map(drop).unwrap()
        }
    }
}

fn files(store: &DirectoryStore) -> u64 {
    let kinds = [FileKind::Image, FileKind::Index, FileKind::Pack];
    kinds.iter().map(|kind| store.list(*kind).unwrap().len() as u64).sum()
}

#[test]
fn a_pull_cut_at_any_call_goes_on() {
    let place = Place::new();
    let source = place.source("source");
    let store = DirectoryStore::open(&place.path("remote")).unwrap();
    let pushed = push_to(&source, "old", &store, "one").unwrap();
    for at in 0.. {
        let receiver = place.repository(&format!("receiver-{at}"));
        let dying = FaultyStore::new(&store, Treatment::Dies { at, after: false });
        if pull_from(&receiver, &dying, "one").is_ok() {
            assert!(at > 3, "{at}");
            return;
        }
        assert!(receiver.refs().unwrap().good.is_empty(), "{at}");
        pull_from(&receiver, &store, "one").unwrap();
        expect_whole(&receiver, "one", pushed.digest);
    }
}

#[test]
fn objects_that_arrived_are_not_fetched_again() {
    let place = Place::new();
    let source = place.source("source");
    let store = DirectoryStore::open(&place.path("remote")).unwrap();
    push_to(&source, "old", &store, "one").unwrap();
    let receiver = place.repository("receiver");
    // The last call is lost.
    let counting = FaultyStore::new(&store, Treatment::Right);
    pull_from(&place.repository("other"), &counting, "one").unwrap();
    let (calls, (_, all)) = (counting.calls(), counting.counts());
    let dying = FaultyStore::new(&store, Treatment::Dies { at: calls - 1, after: false });
    pull_from(&receiver, &dying, "one").unwrap_err();
    let rest = FaultyStore::new(&store, Treatment::Right);
    pull_from(&receiver, &rest, "one").unwrap();
    let (first, second) = (dying.counts().1, rest.counts().1);
    // The documents and the image are read again.
    assert!(first + second < all + all / 20 + 20_000, "{first} and {second} of {all} bytes");
}

#[test]
fn stumbling_stores_are_asked_again_for_the_rest() {
    let place = Place::new();
    let source = place.source("source");
    let store = DirectoryStore::open(&place.path("remote")).unwrap();
    let stumbling = FaultyStore::new(&store, Treatment::Stumbles { each: 3 });
    let pushed = push_to(&source, "old", &stumbling, "one").unwrap();
    let receiver = place.repository("receiver");
    let counting = FaultyStore::new(&store, Treatment::Right);
    pull_from(&place.repository("other"), &counting, "one").unwrap();
    let stumbling = FaultyStore::new(&store, Treatment::Stumbles { each: 3 });
    pull_from(&receiver, &stumbling, "one").unwrap();
    expect_whole(&receiver, "one", pushed.digest);
    assert!(stumbling.calls() > counting.calls());
    assert_eq!(stumbling.counts().1, counting.counts().1, "no byte is read twice");
}

#[test]
fn a_gc_cut_at_any_call_loses_nothing() {
    let place = Place::new();
    let source = place.source("source");
    let at_once = CollectOptions {
        grace: std::time::Duration::ZERO,
        dead_after: std::time::Duration::ZERO,
        ..CollectOptions::default()
    };
    let begun = place.path("begun");
    let store = DirectoryStore::open(&begun).unwrap();
    push_to(&source, "old", &store, "one").unwrap();
    let pushed = push_to(&source, "new", &store, "one").unwrap();
    for at in 0.. {
        let path = place.path(&format!("remote-{at}"));
        copy(&begun, &path);
        let store = DirectoryStore::open(&path).unwrap();
        let dying = FaultyStore::new(&store, Treatment::Dies { at, after: at % 2 == 0 });
        let is_done = collect(&Remote::new(&dying, patience()), &at_once).is_ok();
        let receiver = place.repository(&format!("receiver-{at}"));
        pull_from(&receiver, &store, "one").unwrap();
        expect_whole(&receiver, "one", pushed.digest);
        collect(&Remote::new(&store, patience()), &at_once).unwrap();
        push_to(&source, "old", &store, "one").unwrap();
        if is_done {
            assert!(at > 8, "{at}");
            return;
        }
    }
}
