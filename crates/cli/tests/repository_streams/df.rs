//! `df` says what each tag of an OCI image uses, and what is free once the tag is gone.

use std::fs;

use crate::place::{IMAGE, LAYER, MANIFEST, Place};

#[test]
fn the_space_of_a_tag_is_what_gc_frees() {
    let place = Place::new();
    let df = |place: &Place| place.json(&["df"]);
    let tag = df(&place)["tags"][0].clone();
    assert_eq!((&tag["tag"], &tag["manifest"]), (&"example/three:1".into(), &MANIFEST.into()));
    assert_eq!((&tag["objects"], &tag["missing"], &tag["images"][0]), (&10.into(), &0.into(), &IMAGE.into()));
    assert_eq!((&tag["exclusive"], &tag["freed"], &tag["shared"]), (&tag["used"], &tag["used"], &0.into()));
    let text = place.run(&["df"]).ok();
    assert!(text.line().lines().nth(1).unwrap().ends_with("  example/three:1 (OCI tag)"), "{}", text.line());
    // What something else needs is not free: another tag, a ref, a stream of another kind.
    place.link(&format!("../../{MANIFEST}"), "streams/refs/oci/other");
    let tags = df(&place)["tags"].clone();
    assert!(tags[0]["used"] == tag["used"] && tags[1]["freed"] == 0 && tags[0]["freed"] == 0, "{tags}");
    fs::remove_file(place.path("streams/refs/oci/other")).unwrap();
    let _ = place.run(&["tag", IMAGE, "image"]).ok();
    let with_ref = df(&place);
    let shared = &with_ref["tags"][0]["shared"];
    assert!(shared.as_u64() > Some(0) && *shared == with_ref["refs"][0]["shared"], "{with_ref}");
    assert_eq!(with_ref["refs"][0]["used"], *shared);
    let _ = place.run(&["untag", "image"]).ok();
    let layer = fs::read_link(place.path("streams").join(LAYER)).unwrap();
    place.link(layer.to_str().unwrap(), "streams/mine");
    let with_layer = df(&place);
    assert!(with_layer["tags"][0]["shared"].as_u64() > Some(0), "{with_layer}");
    place.untag();
    let (untagged, removed) = (df(&place), place.gc_json(&["--grace=0"]));
    assert_eq!(untagged["unneeded_used"], removed["removed"]["bytes"]);
    assert_eq!(untagged["unneeded_used"], with_layer["tags"][0]["freed"]);
    assert_eq!(untagged["unneeded"], removed["removed"]["objects"]);
    assert!(place.path("streams/mine").exists() && untagged["tags"].as_array().unwrap().is_empty());
}
