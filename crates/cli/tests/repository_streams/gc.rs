//! gc removes the streams of untagged OCI images, with all that only they need, and nothing else.

use std::fs;
use std::os::unix::fs::symlink;

use libcomposefs_image::Digest;
use libcomposefs_repo::Repository;
use serde_json::json;

use crate::place::{CONFIG, IMAGE, LAYER, MANIFEST, Place, TAG};

#[test]
fn a_tagged_image_is_kept_and_an_untagged_one_removed() {
    let place = Place::new();
    let all = place.contents();
    assert_eq!((all.images.len(), all.streams.len(), all.objects.len()), (1, 5, 10));
    let kept = place.gc_json(&["--grace=0"]);
    assert_eq!(kept["kept"], json!({ "images": 1, "streams": 5, "objects": 10 }));
    assert_eq!(kept["removed"], json!({ "images": [], "streams": [], "objects": 0, "bytes": 0 }));
    place.untag();
    // Young: kept, and counted as what a grace of zero removes. A dry run says the same and removes nothing.
    let young = place.gc_json(&[]);
    let would = place.gc_json(&["--grace=0", "--dry-run"]);
    assert_eq!(place.contents(), all);
    let text = place.run(&["gc"]).ok();
    let lines: Vec<&str> = text.line().lines().collect();
    assert_eq!(lines[0], "0 images and 0 objects removed, 0");
    assert!(
        lines.contains(
            &"5 streams of OCI images without a tag, pulled less than 1 h ago or needed by such a stream: kept \
              (--grace)"
        ),
        "{lines:?}"
    );
    let removed = place.gc_json(&["--grace=0"]);
    for (one, other) in [(&young["young"], &would["removed"]), (&would["removed"], &removed["removed"])] {
        for what in ["images", "streams", "objects", "bytes"] {
            assert_eq!(one[what], other[what], "{what}");
        }
    }
    // The order of removal: a manifest, then the configuration, then layers.
    let streams: Vec<&str> =
        removed["removed"]["streams"].as_array().unwrap().iter().flat_map(|s| s.as_str()).collect();
    assert_eq!((streams.len(), streams[0], streams[1]), (5, MANIFEST, CONFIG));
    assert!(streams[2..].iter().all(|name| name.starts_with("oci-layer-")));
    let left = place.contents();
    assert!(left.images.is_empty() && left.streams.is_empty() && left.objects.is_empty(), "{left:?}");
    let names: Vec<_> = fs::read_dir(place.path("leases")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["gc.lock"]);
}

/// All forms of a name, and the streams that must stay with each.
#[test]
fn every_name_of_a_stream_keeps_all_it_needs() {
    let all = 5;
    let place = Place::new();
    let object = |stream: &str| {
        let object = place.object_of(stream);
        let (name, fan) = (object.file_name().unwrap(), object.parent().unwrap().file_name().unwrap());
        format!("{}/{}", fan.display(), name.display())
    };
    let (manifest, layer) = (object(MANIFEST), object(LAYER));
    for (name, text, kept) in [
        ("streams/refs/oci/other", format!("../../{MANIFEST}"), all),
        ("streams/refs/oci-referrers/sha256:ab/sha256:cd", format!("../../../{MANIFEST}"), all),
        ("streams/refs/elsewhere", format!("../{MANIFEST}"), all),
        ("streams/refs/oci/.odd", format!("../../x/.././{MANIFEST}"), all),
        ("streams/refs/oci/object", format!("../../../objects/{manifest}"), all),
        ("streams/mine", format!("../objects/{manifest}"), all),
        ("streams/alias", MANIFEST.to_owned(), all),
        ("streams/refs/oci/layer", format!("../../{LAYER}"), 1),
        // Not exactly the name of a stream of an OCI image, or not exactly its link.
        ("streams/oci-layer-sha256:ab", format!("../objects/{layer}"), 1),
        (&format!("streams/oci-layer-sha256:{}", "ab".repeat(32)), format!(".././objects/{layer}"), 1),
    ] {
        let place = Place::new();
        place.untag();
        place.link(&text, name);
        let report = place.gc_json(&["--grace=0"]);
        assert_eq!(report["unclear"], json!([]), "{name}");
        assert_eq!(report["kept"]["streams"], kept, "{name}");
        let has = |stream: &str| place.path("streams").join(stream).exists();
        assert_eq!(
            (has(MANIFEST), has(CONFIG), place.contents().images.len() == 1),
            (kept == all, kept == all, kept == all)
        );
        assert_eq!(place.run(&["fsck"]).status, Some(0), "{name}");
        fs::remove_file(place.path(name)).unwrap();
        let _ = place.run(&["gc", "--grace=0"]).ok();
        let left = place.contents();
        assert!(left.streams.is_empty() && left.images.is_empty() && left.objects.is_empty(), "{name}: {left:?}");
    }
}

/// A stream of a tagged image keeps its link, whatever stream the link leads to: cfsctl follows the names.
#[test]
fn a_link_that_leads_to_another_stream_of_the_content_is_kept() {
    for stream in [CONFIG, LAYER] {
        let place = Place::new();
        let mut bytes = fs::read(place.path("streams").join(stream)).unwrap();
        // The flags of the header are ignored by readers.
        bytes[12] ^= 1;
        let digest = libcomposefs_image::verity::digest(libcomposefs_image::Algorithm::Sha256, &bytes);
        let path = format!("../objects/{}", digest.object_path());
        fs::create_dir_all(place.path("streams").join(&path).parent().unwrap()).unwrap();
        fs::write(place.path("streams").join(&path), bytes).unwrap();
        fs::remove_file(place.path("streams").join(stream)).unwrap();
        symlink(&path, place.path("streams").join(stream)).unwrap();
        let report = place.gc_json(&["--grace=0"]);
        assert_eq!(report["removed"]["streams"], json!([]), "{stream}");
        assert!(place.path("streams").join(stream).exists(), "{stream}");
        // Untagged, all of it goes.
        place.untag();
        let _ = place.run(&["gc", "--grace=0"]).ok();
        assert!(place.contents().objects.is_empty(), "{stream}");
    }
}

#[test]
fn a_claimed_stream_is_kept_with_all_it_needs() {
    for (stream, kept) in [(MANIFEST, 5), (CONFIG, 4), (LAYER, 1)] {
        let place = Place::new();
        place.untag();
        let object = place.object_of(stream);
        let hex = [object.parent().unwrap(), &object].map(|path| path.file_name().unwrap().to_str().unwrap()).concat();
        let repository = Repository::open(&place.repo()).unwrap();
        let lease = repository.lease().unwrap();
        lease.protect(&[Digest::from_hex(hex).unwrap()]).unwrap();
        let _ = place.run(&["gc", "--grace=0"]).ok();
        let left = place.contents();
        assert_eq!((left.streams.len(), left.images.len()), (kept, usize::from(kept > 1)), "{stream}");
        drop(lease);
        let _ = place.run(&["gc", "--grace=0"]).ok();
        assert!(place.contents().objects.is_empty(), "{stream}");
    }
}

#[test]
fn an_open_stream_is_kept_with_all_it_needs() {
    let place = Place::new();
    place.untag();
    let open = fs::File::open(place.object_of(CONFIG)).unwrap();
    let report = place.gc_json(&["--grace=0"]);
    assert_eq!(report["streams_in_use"], json!([CONFIG]));
    assert_eq!((&report["removed"]["streams"], report["kept"]["streams"].as_u64()), (&json!([MANIFEST]), Some(4)));
    assert_eq!(report["kept"]["images"], 1);
    assert!(place.run(&["gc", "--grace=0"]).ok().line().contains(&format!("stream {CONFIG} has no tag, but is open")));
    drop(open);
    let _ = place.run(&["gc", "--grace=0"]).ok();
    assert!(place.contents().objects.is_empty());
}

/// A gc was killed after it had moved the link of a stream aside: the next one moves it back, and decides anew.
#[test]
fn a_link_that_a_killed_gc_moved_aside_comes_back() {
    let place = Place::new();
    let (all, aside) = (place.contents(), place.path("leases").join(format!("gc.{LAYER}")));
    fs::rename(place.path("streams").join(LAYER), &aside).unwrap();
    let _ = place.run(&["gc", "--grace=0"]).ok();
    assert_eq!(place.contents(), all);
    // The link was made again meanwhile: that one stays.
    fs::rename(place.path("streams").join(LAYER), &aside).unwrap();
    symlink(fs::read_link(&aside).unwrap(), place.path("streams").join(LAYER)).unwrap();
    let _ = place.run(&["gc", "--grace=0"]).ok();
    assert!(place.contents() == all && fs::symlink_metadata(&aside).is_err());
}

/// What an unreadable stream needs is not known. Nothing is removed, whether it is tagged or not.
#[test]
fn a_stream_that_is_not_understood_stops_gc() {
    for is_tagged in [true, false] {
        for (stream, version) in [(MANIFEST, 0), (LAYER, 1)] {
            let place = Place::new();
            if !is_tagged {
                place.untag();
            }
            let mut bytes = fs::read(place.object_of(stream)).unwrap();
            // Of a later version, or gone.
            bytes[11] = version;
            let object = place.object_of(stream);
            fs::remove_file(&object).unwrap();
            if version > 0 {
                fs::write(&object, bytes).unwrap();
            } else if !is_tagged {
                continue;
            }
            let all = place.contents();
            let gc = place.run(&["gc", "--grace=0"]);
            let found = if version > 0 { "has an unknown version" } else { "has no object" };
            assert!(gc.status == Some(1) && gc.stderr.contains(&format!("is a stream that {found}")), "{}", gc.stderr);
            assert!(gc.stderr.contains(stream) && place.contents() == all);
        }
    }
}

/// What a damaged stream refers to is not to be relied on.
#[test]
fn a_damaged_stream_stops_gc_as_long_as_it_is_needed() {
    let place = Place::new();
    let object = place.object_of(CONFIG);
    let mut bytes = fs::read(&object).unwrap();
    bytes[113] ^= 1;
    fs::write(&object, bytes).unwrap();
    let all = place.contents();
    let gc = place.run(&["gc", "--grace=0"]);
    assert!(gc.status == Some(1) && gc.stderr.contains("is a stream that does not have its digest"), "{}", gc.stderr);
    assert_eq!(place.contents(), all);
    place.untag();
    let _ = place.run(&["gc", "--grace=0"]).ok();
    assert!(place.contents().objects.is_empty());
}

/// An untagged stream without an object keeps nothing.
#[test]
fn an_untagged_stream_without_an_object_is_removed() {
    let place = Place::new();
    place.untag();
    fs::remove_file(place.object_of(MANIFEST)).unwrap();
    let _ = place.run(&["gc", "--grace=0"]).ok();
    let left = place.contents();
    assert!(left.streams.is_empty() && left.objects.is_empty(), "{left:?}");
    // A tag that leads to nothing does not stop gc.
    let place = Place::new();
    fs::remove_file(place.path("streams").join(MANIFEST)).unwrap();
    let _ = place.run(&["gc", "--grace=0"]).ok();
    assert!(place.contents().streams.is_empty() && place.path(TAG).is_symlink());
    assert!(!place.path("images").join(IMAGE).is_symlink());
}
