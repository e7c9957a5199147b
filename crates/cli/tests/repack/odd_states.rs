//! Cold images in states that crashes, other programs and other commands leave: no named image is lost.

use std::fs;

use super::{Place, lines_with};

/// Packs `v1` with the base `v2`, and removes the objects that nothing needs.
fn cold() -> (Place, String, String) {
    let place = Place::new();
    let base = place.digest("v2");
    let digest = place.freeze();
    (place, digest, base)
}

#[test]
fn an_image_that_is_cold_and_warm_is_packed_once() {
    let (place, digest, _) = cold();
    let tree = place.tree_path(1);
    place.0.prints(&["create", tree.to_str().unwrap(), "--name=again"]);
    place.create(3);
    place.0.prints(&["repack", "--cold", "again", "--base=v3"]);
    let cold = lines_with(&place, " cold ");
    assert!(cold.len() == 1 && cold[0].ends_with(" cold again v1"), "{cold:?}");
    // The base is the new one alone.
    place.0.prints(&["untag", "v2"]);
    place.0.prints(&["gc", "--grace=0"]);
    place.0.prints(&["fsck"]);
    place.expect_warm(1);
    assert_eq!(place.digest("again"), digest);
}

#[test]
fn gc_makes_an_image_warm_that_is_here_whole() {
    let (place, digest, _) = cold();
    let pack = place.cold(&format!("{digest}.pack"));
    fs::write(&pack, "damaged").unwrap();
    place.0.prints_with(1, &["fsck"]);
    let tree = place.tree_path(1);
    place.0.prints(&["create", tree.to_str().unwrap(), "--name=again"]);
    place.0.prints(&["gc", "--grace=0"]);
    assert!(!pack.exists() && lines_with(&place, "cold").is_empty());
    place.0.prints(&["fsck"]);
    place.expect_warm(1);
}

#[test]
fn names_that_keep_bases_are_reserved() {
    let (place, digest, base) = cold();
    let name = format!("composefs-cold/{digest}");
    place.create(3);
    let tree = place.tree(3);
    for arguments in [&["tag", "v3", &name][..], &["create", tree.to_str().unwrap(), "--name", &name]] {
        let error = place.0.fails(1, arguments);
        assert!(error.contains("keep the bases of cold images; choose another name"), "{error}");
    }
    assert_eq!(place.digest(&name), base);
    place.0.prints(&["tag", "v3", "composefs-colder"]);
}

#[test]
fn gc_writes_a_lost_ref_of_a_base() {
    let (place, digest, base) = cold();
    place.create(3);
    let (name, third) = (format!("images/refs/composefs-cold/{digest}"), place.digest("v3"));
    for other in [None, Some(&third)] {
        fs::remove_file(place.repo().join(&name)).unwrap();
        if let Some(other) = other {
            place.link(&name, &format!("../../{other}"));
        }
        let report = place.0.prints_with(1, &["fsck"]);
        assert!(report.contains("gc writes it"), "{report}");
        let _ = place.0.run(&["untag", "v2"]);
        place.0.prints(&["gc", "--grace=0"]);
        assert!(place.object(&base).exists());
        place.0.prints(&["fsck"]);
    }
    place.expect_warm(1);
}

#[test]
fn a_ref_without_an_image_does_not_hide_a_cold_one() {
    let (place, digest, base) = cold();
    place.link("images/refs/v1", &format!("../{digest}"));
    let _ = place.0.run(&["gc", "--grace=0"]);
    assert!(place.cold(&digest).exists());
    place.0.prints(&["repack", "--warm", &digest]);
    place.expect_warm(1);
    // A name that is no ref stops gc before it removes anything.
    place.0.prints(&["repack", "--cold", "v1", &format!("--base={base}")]);
    place.0.prints(&["untag", "v1"]);
    place.link("images/refs/junk", "/etc/passwd");
    let _ = place.0.run(&["gc", "--grace=0"]);
    assert!(place.cold(&digest).exists());
    fs::remove_file(place.repo().join("images/refs/junk")).unwrap();
    place.0.prints(&["gc", "--grace=0"]);
    assert!(!place.cold(&digest).exists());
}

#[test]
fn a_pack_of_another_image_is_found_in_a_chain() {
    let (place, digest, base) = cold();
    place.create(3);
    place.0.prints(&["repack", "--cold", "v2", "--base=v3"]);
    place.0.prints(&["gc", "--grace=0"]);
    let [own, other] = [&digest, &base].map(|digest| place.cold(&format!("{digest}.pack")));
    let good = fs::read(&own).unwrap();
    let pack = |digest: &str| {
        let text = fs::read_to_string(place.cold(digest)).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["pack"].clone()
    };
    let entry = fs::read_to_string(place.cold(&digest)).unwrap();
    fs::write(&own, fs::read(other).unwrap()).unwrap();
    fs::write(place.cold(&digest), entry.replace(&pack(&digest).to_string(), &pack(&base).to_string())).unwrap();
    let report = place.0.prints_with(1, &["fsck"]);
    assert!(report.contains("has the image"), "{report}");
    fs::write(&own, good).unwrap();
    fs::write(place.cold(&digest), "").unwrap();
    // The names of a description that cannot be read are told.
    let report = place.0.prints_with(1, &["fsck"]);
    assert!(report.contains("v1 needs it"), "{report}");
    fs::write(place.cold(&digest), entry).unwrap();
    place.expect_warm(1);
}
