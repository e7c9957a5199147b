//! `doctor` counts streams and tags, and names those that nothing keeps or that cannot be read.

use std::fs;

use crate::place::{LAYER, MANIFEST, Place, TAG};

#[test]
fn streams_and_tags_are_counted() {
    let place = Place::new();
    let streams = || {
        let json = place.json(&["doctor"]);
        let sections = json["sections"].as_array().or(json.as_array()).unwrap().clone();
        let findings = sections.iter().flat_map(|section| section["findings"].as_array().unwrap().clone());
        let finding = findings.into_iter().find(|finding| finding["name"] == "streams").unwrap();
        ["status", "found", "remedy"].map(|key| finding[key].as_str().unwrap_or_default().to_owned())
    };
    let repo = place.repo().display().to_string();
    assert_eq!(streams(), ["ok", "5 streams, 1 OCI tag", ""]);
    let text = fs::read_link(place.path(TAG)).unwrap();
    place.untag();
    let untagged = format!("5 streams, 0 OCI tags; untagged: {MANIFEST}");
    assert_eq!(streams(), ["ok", &untagged, &format!("composefs --repo={repo} gc")]);
    place.link(text.to_str().unwrap(), TAG);
    place.link("../../oci-manifest-sha256:ab", "streams/refs/oci/dead");
    let [status, found, remedy] = streams();
    assert_eq!((&*status, &*found), ("warning", "5 streams, 2 OCI tags; tag dead leads to no image"));
    assert!(remedy.ends_with("oci untag dead"), "{remedy}");
    fs::remove_file(place.object_of(LAYER)).unwrap();
    let [status, found, remedy] = streams();
    assert!(
        status == "warning" && found.contains(LAYER) && found.ends_with("is a stream that has no object"),
        "{found}"
    );
    assert!(remedy.ends_with(" fsck"), "{remedy}");
}
