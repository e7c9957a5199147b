//! `fsck` finds damages of streams, names the tag, and repairs what it can without removing a stream.

use std::fs;
use std::path::{Path, PathBuf};

use crate::place::{CONFIG, IMAGE, LAYER, MANIFEST, Place, TAG};

/// A function that damages a repository.
type Harm = fn(&Place);

/// Writes other bytes into an object.
fn flip(object: &Path, at: usize) {
    let mut bytes = fs::read(object).unwrap();
    bytes[at] ^= 0x40;
    fs::write(object, bytes).unwrap();
}

/// Returns an object that only the stream of the layer needs: one that the other streams have is left out.
fn object_of_layer(place: &Place) -> PathBuf {
    let bytes = fs::read(place.object_of(CONFIG)).unwrap();
    // The only object of the configuration is its text, the last digest before the names.
    let info: Vec<u64> = bytes[32..112].chunks(8).map(|n| u64::from_le_bytes(n.try_into().unwrap())).collect();
    let raw = &bytes[usize::try_from(info[2]).unwrap()..usize::try_from(info[3]).unwrap()];
    let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    place.path(&format!("objects/{}/{}", &hex[..2], &hex[2..64]))
}

/// Kind of the damage, path of it, whether a repair without a source succeeds, and with one.
const HARMS: [(&str, &str, bool, bool, Harm); 7] = [
    ("stream", LAYER, false, true, |place| fs::remove_file(place.object_of(LAYER)).unwrap()),
    ("dangling", CONFIG, true, true, |place| fs::remove_file(place.path("images").join(IMAGE)).unwrap()),
    ("contents", "objects/", false, true, |place| flip(&place.object_of(CONFIG), 120)),
    ("contents", "objects/", false, true, |place| flip(&place.object_of(LAYER), 11)),
    ("missing", "objects/", false, true, |place| fs::remove_file(object_of_layer(place)).unwrap()),
    ("contents", "objects/", false, true, |place| flip(&object_of_layer(place), 5)),
    ("stream-name", TAG, false, false, |place| fs::remove_file(place.path("streams").join(MANIFEST)).unwrap()),
];

#[test]
fn each_damage_is_found_and_repaired_from_another_repository() {
    let whole = Place::new();
    let whole_path = whole.repo().to_str().unwrap().to_owned();
    for (number, (kind, path, alone, with_source, harm)) in HARMS.into_iter().enumerate() {
        let place = Place::new();
        assert_eq!(place.run(&["fsck"]).ok().line().lines().last(), Some("no problems found"));
        let streams = place.contents().streams;
        harm(&place);
        let left = place.contents();
        let report = place.json(&["fsck"]);
        let damages = report["damages"].as_array().unwrap();
        let damage = damages.iter().find(|damage| damage["kind"] == kind);
        let damage = damage.unwrap_or_else(|| panic!("{number}: {report}"));
        assert!(damage["path"].as_str().unwrap().contains(path), "{number}: {damage}");
        if kind != "stream-name" {
            assert_eq!(damage["stream"]["tags"][0], "example/three:1", "{number}: {damage}");
            let text = place.run(&["fsck"]);
            assert!(text.line().contains("example/three:1 needs it: pull the OCI image again"), "{}", text.line());
        }
        assert_eq!(place.contents(), left, "{number}: a check changes nothing");
        // A repair that finds no content leaves the streams where they are.
        let repair = place.run(&["fsck", "--repair"]);
        assert_eq!(repair.status, Some(if alone { 0 } else { 1 }), "{number}: {}", repair.line());
        let after = place.contents();
        assert!(after.streams == left.streams && after.objects.is_superset(&left.objects), "{number}");
        let repair = place.run(&["fsck", "--repair", "--from", &whole_path]);
        assert_eq!(repair.status, Some(if with_source { 0 } else { 1 }), "{number}: {}", repair.line());
        if with_source {
            assert_eq!(place.run(&["fsck"]).ok().line().lines().last(), Some("no problems found"), "{number}");
            assert_eq!(place.contents().streams, streams, "{number}");
        }
    }
}

/// An untagged stream is damaged all the same, and gc removes it.
#[test]
fn a_damage_of_an_untagged_stream_goes_with_it() {
    let place = Place::new();
    fs::remove_file(object_of_layer(&place)).unwrap();
    place.untag();
    let fsck = place.run(&["fsck"]);
    assert!(fsck.status == Some(1) && fsck.line().contains(&format!("streams/{CONFIG} needs it")), "{}", fsck.line());
    let _ = place.run(&["gc", "--grace=0"]).ok();
    assert_eq!(place.run(&["fsck"]).ok().line().lines().last(), Some("no problems found"));
}
