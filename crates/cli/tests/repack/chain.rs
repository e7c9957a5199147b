//! Cold images whose bases are cold too.

use std::fs;

use serde_json::Value;

use super::{Place, lines_with};

/// Digests of `v1` to `v4`, each packed with the next one as base, and the last one without.
fn chain(place: &Place) -> [String; 4] {
    (3..=4).for_each(|version| place.create(version));
    let digests = [1, 2, 3, 4].map(|version| place.digest(&format!("v{version}")));
    for version in 1..=4 {
        let (name, base) = (format!("v{version}"), format!("--base=v{}", version + 1));
        let arguments = ["repack", "--cold", &name, &base];
        place.0.prints(&arguments[..if version < 4 { 4 } else { 3 }]);
    }
    place.0.prints(&["gc", "--grace=0"]);
    assert_eq!((place.objects(), lines_with(place, " cold ").len()), (0, 4));
    digests
}

#[test]
fn an_image_is_unpacked_and_its_cold_bases_stay_cold() {
    let place = Place::new();
    let digests = chain(&place);
    let packs: Vec<u64> =
        digests.iter().map(|digest| fs::metadata(place.cold(&format!("{digest}.pack"))).unwrap().len()).collect();
    assert!(packs[..3].iter().all(|pack| *pack < 30_000) && packs[3] > 600_000, "{packs:?}");
    assert!(place.0.prints(&["fsck"]).contains("no problems found"));
    place.expect_warm(2);
    place.0.prints(&["gc", "--grace=0"]);
    let cold = lines_with(&place, " cold ");
    assert_eq!((cold.len(), place.objects()), (3, 31), "{cold:?}");
    // The chain now ends at an image that is not cold.
    place.expect_warm(1);
    place.expect_warm(4);
    place.expect_warm(3);
    assert!(lines_with(&place, "cold").is_empty());
}

#[test]
fn images_that_are_packed_together_are_bases_of_each_other() {
    let place = Place::new();
    place.create(3);
    let lines = place.0.prints(&["repack", "--cold", "v1", "v2", "v3", "--json"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().filter(|line| line["base"].is_null()).count(), 1);
    assert!(lines[2]["base"].is_null(), "{lines:?}");
    place.0.prints(&["gc", "--grace=0"]);
    // Each pack is read once: 31 objects for each image.
    let lines = place.0.prints(&["repack", "--warm", "v1", "v2", "v3", "--json"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["objects"]["new"].as_u64().unwrap()).collect::<Vec<_>>(), [31; 3]);
    (1..=3).for_each(|version| place.expect_warm(version));
}

#[test]
fn gc_removes_a_whole_chain_without_names() {
    let place = Place::new();
    let digests = chain(&place);
    ["v2", "v3", "v4"].iter().for_each(|name| drop(place.0.prints(&["untag", name])));
    let report = place.0.prints(&["gc", "--grace=0"]);
    assert!(report.contains("4 cold images kept"), "{report}");
    place.0.prints(&["untag", "v1"]);
    let report = place.0.prints(&["gc", "--grace=0", "--dry-run"]);
    assert!(report.contains("4 cold images without a ref would be removed"), "{report}");
    let report = place.0.prints(&["gc", "--grace=0"]);
    assert!(report.contains("4 cold images without a ref removed"), "{report}");
    assert!(digests.iter().all(|digest| !place.cold(digest).exists()));
    assert!(fs::read_dir(place.cold("refs/composefs-cold")).map_or(true, |mut names| names.next().is_none()));
}

#[test]
fn a_damaged_pack_of_a_base_is_found_and_publishes_nothing() {
    let place = Place::new();
    let digests = chain(&place);
    for damaged in [&digests[0], &digests[2]] {
        let pack = place.cold(&format!("{damaged}.pack"));
        let good = fs::read(&pack).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        fs::write(&pack, bad).unwrap();
        let report = place.0.prints_with(1, &["fsck"]);
        assert!(report.contains(&format!("{damaged}.pack")), "{report}");
        let error = place.0.fails(1, &["repack", "--warm", "v1"]);
        assert!(error.contains("cannot unpack a cold image"), "{error}");
        assert_eq!(lines_with(&place, " cold ").len(), 4);
        fs::write(&pack, good).unwrap();
    }
    // A base that has neither a pack nor an image.
    let entry = place.cold(&digests[1]);
    let good = fs::read(&entry).unwrap();
    fs::remove_file(&entry).unwrap();
    let report = place.0.prints_with(1, &["fsck"]);
    assert!(report.contains(&format!("{}.pack", digests[0])), "{report}");
    place.0.fails(1, &["repack", "--warm", "v1"]);
    fs::write(&entry, good).unwrap();
    // A loop, made by hand.
    let entry = place.cold(&digests[3]);
    let good = fs::read_to_string(&entry).unwrap();
    fs::write(&entry, good.replace("\"base\":null", &format!("\"base\":\"{}\"", digests[0]))).unwrap();
    let error = place.0.fails(1, &["repack", "--warm", "v1"]);
    assert!(error.contains("is a loop"), "{error}");
    fs::write(&entry, good).unwrap();
    place.expect_warm(1);
}

#[test]
fn a_long_chain_is_begun_anew() {
    let place = Place::new();
    (3..=18).for_each(|version| place.create(version));
    let last = |version: u32| {
        let (name, base) = (format!("v{version}"), format!("--base=v{}", version + 1));
        let error = place.0.run(&["repack", "--cold", &name, &base]).stderr;
        (error.contains("16 packs would be read"), error)
    };
    (1..=15).for_each(|version| assert_eq!(last(version), (false, String::new())));
    assert!(last(16).0);
    let line: Value = serde_json::from_str(&place.0.prints(&["repack", "--cold", "v16", "--json"])).unwrap();
    assert!(line["base"].is_null(), "{line}");
    assert_eq!(last(17), (false, String::new()));
    place.0.prints(&["gc", "--grace=0"]);
    place.expect_warm(1);
}
