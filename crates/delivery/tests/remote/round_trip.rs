use std::fs;

use libcomposefs_delivery::{
    CollectOptions, DeliveryError, DirectoryStore, FileKind, PullWay, Remote, RemoteStore, collect, plan, pull_digest,
    pull_metadata,
};
use libcomposefs_image::verity;

use crate::faulty_store::{FaultyStore, Treatment};
use crate::pair::{Place, expect_whole, image, patience, pull_from, pull_options, push_to, reference};

#[test]
fn an_image_and_its_update_come_back() {
    let place = Place::new();
    let source = place.source("source");
    let store = DirectoryStore::open(&place.path("remote")).unwrap();
    let pushed = push_to(&source, "old", &store, "debian/13").unwrap();
    assert!(pushed.new_objects > 40 && pushed.sent_files == 3, "{pushed:?}");
    let again = push_to(&source, "old", &store, "debian/13").unwrap();
    assert!(again.is_same && again.sent_bytes == 0, "{again:?}");

    let receiver = place.repository("receiver");
    let pulled = pull_from(&receiver, &store, "debian/13").unwrap();
    expect_whole(&receiver, "debian/13", pushed.digest);
    assert!(pulled.is_new && pulled.received < pushed.sent_bytes, "{pulled:?}");
    let again = pull_from(&receiver, &store, "debian/13").unwrap();
    assert_eq!((again.is_new, again.received), (false, 0));

    let update = push_to(&source, "new", &store, "debian/13").unwrap();
    assert_eq!(update.replaced, Some(pushed.digest));
    assert!(update.new_objects < 10, "{update:?}");
    let remote = Remote::new(&store, patience());
    let planned = plan(&receiver, &remote, &reference("debian/13")).unwrap();
    assert_eq!(planned.cheapest, PullWay::Deltas, "{:?}", planned.ways);
    let cost = |way: PullWay| planned.ways.iter().find(|cost| cost.way == way).unwrap().bytes;
    assert!(
        cost(PullWay::Deltas) * 2 < cost(PullWay::Packs) && cost(PullWay::Packs) < cost(PullWay::Whole),
        "{:?}",
        planned.ways
    );
    let pulled = pull_from(&receiver, &store, "debian/13").unwrap();
    expect_whole(&receiver, "debian/13", update.digest);
    assert_eq!(pulled.replaced, [pushed.digest]);

    // A receiver without anything gets the same, and its plan is exact.
    let other = place.repository("other");
    let faulty = FaultyStore::new(&store, Treatment::Right);
    let planned = plan(&other, &Remote::new(&faulty, patience()), &reference("debian/13")).unwrap();
    let promised = *planned.cost_of_cheapest().unwrap();
    faulty.forget_counts();
    let pulled = pull_from(&other, &faulty, "debian/13").unwrap();
    expect_whole(&other, "debian/13", update.digest);
    let (requests, bytes) = faulty.counts();
    assert_eq!((requests, bytes), (promised.requests, promised.bytes));
    assert_eq!(pulled.new_objects, promised.objects);
}

#[test]
fn equal_objects_are_not_sent_for_another_ref() {
    let place = Place::new();
    let source = place.source("source");
    let store = DirectoryStore::open(&place.path("remote")).unwrap();
    push_to(&source, "old", &store, "debian/13").unwrap();
    let pushed = push_to(&source, "new", &store, "debian/13.1").unwrap();
    assert!(pushed.new_objects < 10 && pushed.replaced.is_none(), "{pushed:?}");
    let receiver = place.repository("receiver");
    pull_from(&receiver, &store, "debian/13.1").unwrap();
    expect_whole(&receiver, "debian/13.1", pushed.digest);
}

#[test]
fn a_server_without_ranges_gives_each_pack_once() {
    let place = Place::new();
    let source = place.source("source");
    let store = DirectoryStore::open(&place.path("remote")).unwrap();
    push_to(&source, "old", &store, "one").unwrap();
    let pushed = push_to(&source, "new", &store, "one").unwrap();
    let receiver = place.repository("receiver");
    let whole = FaultyStore::new(&store, Treatment::WholeFiles);
    let remote = Remote::new(&whole, patience());
    let planned = plan(&receiver, &remote, &reference("one")).unwrap();
    assert!(!planned.has_ranges);
    let promised = *planned.cost_of_cheapest().unwrap();
    pull_from(&receiver, &whole, "one").unwrap();
    expect_whole(&receiver, "one", pushed.digest);
    let packs: u64 = store.list(FileKind::Pack).unwrap().iter().map(|file| file.length).sum();
    assert!(promised.bytes < packs + planned.document.metadata.size + 100_000, "{promised:?}");
}

#[test]
fn a_damaged_base_has_the_object_come_whole() {
    let place = Place::new();
    let source = place.source("source");
    let store = DirectoryStore::open(&place.path("remote")).unwrap();
    push_to(&source, "old", &store, "one").unwrap();
    let receiver = place.repository("receiver");
    pull_from(&receiver, &store, "one").unwrap();
    let pushed = push_to(&source, "new", &store, "one").unwrap();
    for number in 0..2 {
        let content = fs::read(place.path(&format!("source-tree1/large{number}"))).unwrap();
        let digest = verity::digest(receiver.algorithm(), &content);
        let mut damaged = content;
        damaged[77_777] ^= 1;
        let path = receiver.objects().path_of(&digest);
        fs::remove_file(&path).unwrap();
        fs::write(&path, damaged).unwrap();
    }
    pull_from(&receiver, &store, "one").unwrap();
    expect_whole(&receiver, "one", pushed.digest);
}

#[test]
fn a_repository_behind_a_server_is_a_remote_by_digest() {
    let place = Place::new();
    let source = place.source("source");
    let digest = source.resolve(&image("old")).unwrap();
    // The store refuses a repository: a copy without the settings is like what a web server shows.
    let served = place.path("served");
    fs::create_dir(&served).unwrap();
    for name in ["objects", "images"] {
        std::os::unix::fs::symlink(source.path().join(name), served.join(name)).unwrap();
    }
    let store = DirectoryStore::open(&served).unwrap();
    let remote = Remote::new(&store, patience());
    let receiver = place.repository("receiver");
    let pulled = pull_digest(&receiver, &remote, &digest, vec![reference("one")], &pull_options()).unwrap();
    expect_whole(&receiver, "one", digest);
    assert!(pulled.is_new);
    let missing = verity::digest(receiver.algorithm(), b"no image");
    let error = pull_digest(&receiver, &remote, &missing, Vec::new(), &pull_options()).unwrap_err();
    assert!(matches!(error, DeliveryError::NoImage { .. }), "{error}");
}

#[test]
fn a_push_repairs_files_of_a_wrong_length() {
    let place = Place::new();
    let source = place.source("source");
    let store = DirectoryStore::open(&place.path("remote")).unwrap();
    let pushed = push_to(&source, "old", &store, "one").unwrap();
    for kind in [FileKind::Pack, FileKind::Image] {
        for file in store.list(kind).unwrap() {
            let path = place.path("remote").join(file.name.path());
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_len(100).unwrap();
        }
    }
    pull_from(&place.repository("first"), &store, "one").unwrap_err();
    let again = push_to(&source, "old", &store, "one").unwrap();
    assert_eq!(again.sent_files, 2);
    let receiver = place.repository("receiver");
    pull_from(&receiver, &store, "one").unwrap();
    expect_whole(&receiver, "one", pushed.digest);
}

#[test]
fn the_image_comes_alone() {
    let place = Place::new();
    let source = place.source("source");
    let store = DirectoryStore::open(&place.path("remote")).unwrap();
    let pushed = push_to(&source, "old", &store, "one").unwrap();
    let remote = Remote::new(&store, patience());
    let (document, bytes) = pull_metadata(&remote, &reference("one"), &libcomposefs_content::NoProgress).unwrap();
    assert_eq!(document.image.digest, pushed.digest);
    assert_eq!(verity::digest(source.algorithm(), &bytes), pushed.digest);
}

#[test]
fn a_gc_removes_what_no_ref_needs() {
    let place = Place::new();
    let source = place.source("source");
    let store = DirectoryStore::open(&place.path("remote")).unwrap();
    let remote = Remote::new(&store, patience());
    push_to(&source, "old", &store, "one").unwrap();
    let pushed = push_to(&source, "new", &store, "one").unwrap();
    let young = collect(&remote, &CollectOptions::default()).unwrap();
    assert!(young.removed.is_empty() && young.young > 0 && young.needed > 0, "{young:?}");
    let at_once = CollectOptions { grace: std::time::Duration::ZERO, ..CollectOptions::default() };
    let dry = collect(&remote, &CollectOptions { dry_run: true, ..at_once }).unwrap();
    let done = collect(&remote, &at_once).unwrap();
    assert_eq!(dry, done);
    assert!(done.removed.len() >= 2, "the index and the image of the first push are not needed: {done:?}");
    let receiver = place.repository("receiver");
    pull_from(&receiver, &store, "one").unwrap();
    expect_whole(&receiver, "one", pushed.digest);
    store.delete(&libcomposefs_delivery::FileName::Ref(reference("one"))).unwrap();
    let all = collect(&remote, &at_once).unwrap();
    assert_eq!((all.refs, all.needed), (0, 0));
    assert!(FileKind::ALL.iter().all(|kind| store.list(*kind).unwrap().is_empty()));
}
