//! A store that lies: nothing wrong is accepted.

use libcomposefs_delivery::DirectoryStore;

use crate::faulty_store::{FaultyStore, Treatment};
use crate::pair::{Place, expect_whole, pull_from, push_to, reference};

#[test]
fn no_lie_is_accepted() {
    let place = Place::new();
    let source = place.source("source");
    let store = DirectoryStore::open(&place.path("remote")).unwrap();
    let pushed = push_to(&source, "old", &store, "one").unwrap();
    let counting = FaultyStore::new(&store, Treatment::Right);
    pull_from(&place.repository("other"), &counting, "one").unwrap();
    let mut refused = 0;
    for seed in 0..60 {
        let at = seed % counting.calls();
        let receiver = place.repository(&format!("receiver-{seed}"));
        let lying = FaultyStore::new(&store, Treatment::Lies { at, seed });
        match pull_from(&receiver, &lying, "one") {
            // The lie was about bytes between frames, or about white space of a document.
            Ok(_) => expect_whole(&receiver, "one", pushed.digest),
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("remote"), "{seed}: {error}");
                assert!(receiver.read_image(&pushed.digest).is_err());
                assert!(receiver.resolve(&libcomposefs_repo::ImageName::Ref(reference("one"))).is_err());
                pull_from(&receiver, &store, "one").unwrap();
                expect_whole(&receiver, "one", pushed.digest);
            }
        }
        std::fs::remove_dir_all(receiver.path()).unwrap();
    }
    assert!(refused > 50, "{refused}");
}
