//! Objects are fetched one by one, when they are needed.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libcomposefs_content::NoProgress;
use libcomposefs_delivery::{
    DeliveryError, DirectoryStore, LazyError, LazyObjects, LazyOptions, Patience, RefDocument, Remote, Trace,
};
use libcomposefs_image::Digest;
use libcomposefs_repo::Repository;
use libcomposefs_repo::fsck::FsckOptions;

use crate::faulty_store::{FaultyStore, Treatment};
use crate::pair::{Place, make_file, pull_from, push_to, push_with, reference};

const OPTIONS: LazyOptions =
    LazyOptions { timeout: Duration::from_secs(10), longest: Duration::MAX, fetches: 4, make_file };

/// A remote with two images, whose store lives as long as the process: threads of fetches may outlive a test.
struct LazyImages {
    place: Place,
    store: &'static DirectoryStore,
    source: Repository,
}

impl LazyImages {
    fn new() -> Self {
        let place = Place::new();
        let source = place.source("source");
        let store: &DirectoryStore = Box::leak(Box::new(DirectoryStore::open(&place.path("remote")).unwrap()));
        push_to(&source, "old", store, "old").unwrap();
        // The second push to a name has differences from the image that it replaces.
        push_to(&source, "old", store, "new").unwrap();
        push_to(&source, "new", store, "new").unwrap();
        Self { place, store, source }
    }

    fn document(&self, name: &str) -> RefDocument {
        let remote = Remote::new(self.store, Patience::default());
        remote.read_ref(&reference(name)).unwrap().unwrap().document
    }

    fn objects(&self, name: &str) -> Vec<(Digest, u64)> {
        let tree = self.source.tree_of_image(&self.document(name).image.digest).unwrap();
        let mut objects: Vec<_> = tree.objects().filter(|o| o.size > 0).map(|o| (o.digest, o.size)).collect();
        objects.sort_unstable();
        objects.dedup();
        objects
    }

    fn sizes(&self, name: &str) -> HashMap<Digest, u64> {
        self.objects(name).into_iter().collect()
    }

    fn lazy(&self, receiver: &str, store: Arc<FaultyStore<'static>>, name: &str) -> Option<LazyObjects> {
        let repository = Repository::open(&self.place.path(receiver)).unwrap();
        let index = LazyObjects::read_index(&*store, &self.document(name)).ok()?;
        LazyObjects::open(repository, store, index, &self.sizes(name), OPTIONS).ok()
    }
}

/// Checks that every file in the store has the content that its name says.
fn expect_sound(repository: &Repository) {
    let options = FsckOptions { repair: false, sources: Vec::new(), threads: NonZeroUsize::MIN };
    let report = repository.fsck(None, &options, &NoProgress).unwrap();
    assert!(report.damages.is_empty(), "{:?}", report.damages);
}

#[test]
fn each_object_comes_when_it_is_needed() {
    let images = LazyImages::new();
    let receiver = images.place.repository("receiver");
    let store = Arc::new(FaultyStore::new(images.store, Treatment::Right));
    let lazy = images.lazy("receiver", Arc::clone(&store), "new").unwrap();
    let objects = images.objects("new");
    let (largest, size) = *objects.iter().max_by_key(|object| object.1).unwrap();
    lazy.fetch(&largest, size).unwrap();
    assert_eq!(receiver.objects().list().count(), 1);
    let (reads, _) = store.counts();
    lazy.fetch(&largest, size).unwrap();
    assert_eq!(store.counts().0, reads, "an object that is here was fetched again");
    for (digest, size) in &objects {
        lazy.fetch(digest, *size).unwrap();
        assert!(receiver.has_object(digest, *size).unwrap());
    }
    assert_eq!(receiver.objects().list().count(), objects.len());
    expect_sound(&receiver);
    // Objects of no image, and of another length than the image says.
    let other = images.document("new").image.digest;
    assert_eq!(lazy.fetch(&other, 1), Err(LazyError::Unknown));
    let wrong = lazy.fetch(&largest, size + 1).unwrap_err();
    assert!(wrong.to_string().contains("the index of the remote says"), "{wrong}");
    lazy.end();
    std::fs::remove_file(receiver.objects().path_of(&largest)).unwrap();
    assert_eq!(lazy.fetch(&largest, size), Err(LazyError::Ended));
}

#[test]
fn differences_need_their_bases_and_come_whole_without_them() {
    let images = LazyImages::new();
    let mut bytes = Vec::new();
    for has_old in [false, true] {
        let name = format!("receiver-{has_old}");
        let receiver = images.place.repository(&name);
        if has_old {
            pull_from(&receiver, images.store, "old").unwrap();
        }
        let store = Arc::new(FaultyStore::new(images.store, Treatment::Right));
        let lazy = images.lazy(&name, Arc::clone(&store), "new").unwrap();
        store.forget_counts();
        for (digest, size) in images.objects("new") {
            lazy.fetch(&digest, size).unwrap();
        }
        bytes.push(store.counts().1);
        expect_sound(&receiver);
    }
    assert!(bytes[1] * 3 < bytes[0], "{bytes:?} bytes without and with the old image");
    // A base that has the right length and another content.
    let receiver = images.place.repository("damaged");
    pull_from(&receiver, images.store, "old").unwrap();
    for (digest, size) in images.objects("old") {
        let path = receiver.objects().path_of(&digest);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, vec![0x55; usize::try_from(size).unwrap()]).unwrap();
    }
    let store = Arc::new(FaultyStore::new(images.store, Treatment::Right));
    let lazy = images.lazy("damaged", store, "new").unwrap();
    let old = images.objects("old");
    for (digest, size) in images.objects("new").into_iter().filter(|object| !old.contains(object)) {
        lazy.fetch(&digest, size).unwrap();
        let content = std::fs::read(receiver.objects().path_of(&digest)).unwrap();
        assert_eq!(libcomposefs_image::verity::digest(digest.algorithm(), &content), digest);
    }
}

#[test]
fn the_next_frames_come_with_a_frame_when_files_are_read_in_their_order() {
    let images = LazyImages::new();
    let tree = images.source.tree_of_image(&images.document("old").image.digest).unwrap();
    let objects: Vec<_> = tree.objects().filter(|o| o.size > 0).map(|o| (o.digest, o.size)).collect();
    let mut requests = Vec::new();
    for is_forward in [true, false] {
        let name = format!("receiver-{is_forward}");
        let receiver = images.place.repository(&name);
        let store = Arc::new(FaultyStore::new(images.store, Treatment::Right));
        let lazy = images.lazy(&name, Arc::clone(&store), "old").unwrap();
        store.forget_counts();
        let mut order = objects.clone();
        if !is_forward {
            order.reverse();
        }
        for (digest, size) in order {
            lazy.fetch(&digest, size).unwrap();
        }
        requests.push(store.counts().0);
        expect_sound(&receiver);
    }
    assert!(requests[0] * 2 <= requests[1], "{requests:?} requests forward and backward");
}

#[test]
fn no_lie_is_stored() {
    let images = LazyImages::new();
    let objects = images.objects("new");
    let (mut refused, mut calls) = (0, 40);
    for seed in 0..20 {
        let name = format!("receiver-{seed}");
        let receiver = images.place.repository(&name);
        let store = Arc::new(FaultyStore::new(images.store, Treatment::Lies { at: seed % calls, seed }));
        if let Some(lazy) = images.lazy(&name, Arc::clone(&store), "new") {
            for (digest, size) in &objects {
                match lazy.fetch(digest, *size) {
                    Ok(()) => assert!(receiver.has_object(digest, *size).unwrap()),
                    Err(error) => {
                        refused += 1;
                        assert!(matches!(error, LazyError::Failed(_)), "{seed}: {error}");
                    }
                }
            }
            calls = store.calls();
            expect_sound(&receiver);
        } else {
            // The lie was the index.
            refused += 1;
        }
        std::fs::remove_dir_all(receiver.path()).unwrap();
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn traced_objects_come_ahead_and_alone() {
    let images = LazyImages::new();
    let objects = images.objects("new");
    // Each second object, the last one first, and one that the image does not have.
    let traced: Vec<_> = objects.iter().rev().step_by(2).map(|(digest, _)| *digest).collect();
    let foreign = Digest::from_hex("77".repeat(32)).unwrap();
    let lines = traced.iter().chain([&foreign]).map(|digest| (*digest, b"/none".to_vec()));
    let trace = Trace { objects: lines.collect() };
    let push = |trace: &Trace| push_with(&images.source, "new", images.store, "new", Some(trace));
    let first = push(&trace).unwrap();
    assert!(!first.is_same && first.sent_files >= 2, "{first:?}");
    // The trace is not lost by a push without one, and a push of the same changes nothing.
    assert!(push(&trace).unwrap().is_same && push_to(&images.source, "new", images.store, "new").unwrap().is_same);
    let wrong = Trace { objects: vec![(foreign, b"/none".to_vec())] };
    assert!(matches!(push(&wrong), Err(DeliveryError::ForeignTrace { .. })));

    let receiver = images.place.repository("receiver");
    let store = Arc::new(FaultyStore::new(images.store, Treatment::Right));
    let lazy = images.lazy("receiver", Arc::clone(&store), "new").unwrap();
    lazy.prefetch();
    for (digest, size) in &objects {
        assert_eq!(receiver.has_object(digest, *size).unwrap(), traced.contains(digest), "{digest}");
    }
    let (reads, _) = store.counts();
    lazy.prefetch();
    let (first, size) = objects.iter().find(|(digest, _)| *digest == traced[0]).unwrap();
    lazy.fetch(first, *size).unwrap();
    assert_eq!(store.counts().0, reads, "objects that are here were fetched again");
    assert_eq!(lazy.status().waiting, 0);
    expect_sound(&receiver);

    // A remote that fails ends it, and stores nothing.
    let away = images.place.repository("away");
    let store = Arc::new(FaultyStore::new(images.store, Treatment::Dies { at: 1, after: false }));
    let begun = Instant::now();
    images.lazy("away", store, "new").unwrap().prefetch();
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_eq!(away.objects().list().count(), 0);
    expect_sound(&away);
}

#[test]
fn an_index_that_lies_about_objects_has_nothing_fetched_ahead() {
    let images = LazyImages::new();
    let (largest, size) = *images.objects("new").iter().max_by_key(|object| object.1).unwrap();
    let trace = Trace { objects: vec![(largest, b"/none".to_vec())] };
    push_with(&images.source, "new", images.store, "new", Some(&trace)).unwrap();
    let foreign = Digest::from_hex("77".repeat(32)).unwrap();
    // The twin first: the same index, without a lie.
    for (number, entry) in
        [(largest, size), (largest, size + 1), (largest, 1 << 40), (foreign, size)].iter().enumerate()
    {
        let name = format!("receiver-{number}");
        let receiver = images.place.repository(&name);
        let store = Arc::new(FaultyStore::new(images.store, Treatment::Right));
        let mut index = LazyObjects::read_index(&*store, &images.document("new")).unwrap();
        let own = index.objects.iter_mut().find(|(digest, _)| *digest == largest).unwrap();
        *own = *entry;
        let (reads, _) = store.counts();
        let repository = Repository::open(&images.place.path(&name)).unwrap();
        let objects: Arc<FaultyStore<'static>> = Arc::clone(&store);
        let lazy = LazyObjects::open(repository, objects, index, &images.sizes("new"), OPTIONS).unwrap();
        lazy.prefetch();
        let is_honest = number == 0;
        assert_eq!(
            (store.counts().0 > reads, receiver.objects().list().count()),
            (is_honest, is_honest.into()),
            "{name}"
        );
    }
}
