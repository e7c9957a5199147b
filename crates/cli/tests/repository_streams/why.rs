//! `why` names the tag of an OCI image, and the streams between the tag and what is asked for.

use std::fs;

use serde_json::json;

use crate::place::{CONFIG, IMAGE, LAYER, MANIFEST, Place};

#[test]
fn the_way_from_a_tag_is_printed() {
    let place = Place::new();
    let why = |digest: &str| {
        let outcome = place.run(&["why", digest]);
        (outcome.status, outcome.line().to_owned())
    };
    let tag = "tag example/three:1";
    let by_config = format!("streams/{CONFIG} ({tag} -> {MANIFEST})");
    let kept = |line: String| (Some(0), line);
    let image = format!("image {IMAGE}, without a name, kept by {by_config}: this image itself");
    assert_eq!(why(IMAGE), kept(image));
    let hex = |stream: &str| {
        let object = place.object_of(stream);
        [object.parent().unwrap(), &object].map(|path| path.file_name().unwrap().to_str().unwrap()).concat()
    };
    assert_eq!(why(&hex(MANIFEST)), kept(format!("streams/{MANIFEST} ({tag})")));
    let by_manifest = format!("streams/{MANIFEST} ({tag})");
    assert_eq!(why(&hex(CONFIG)), kept(format!("{by_manifest}\n{by_config}")));
    assert_eq!(why(&hex(LAYER)), kept(format!("{by_manifest}\n{by_config}\nstreams/{LAYER} ({tag} -> {MANIFEST})")));
    // By the digest in the name of a stream, and by the names of images.
    let digest = |stream: &str| stream.rsplit('-').next().unwrap().to_owned();
    for stream in [MANIFEST, CONFIG, LAYER] {
        let text = digest(stream);
        assert_eq!(why(&text), why(&hex(stream)), "{text}");
        assert_eq!(why(text.strip_prefix("sha256:").unwrap()), why(&hex(stream)), "{text}");
    }
    assert_eq!(why("example/three:1"), why(IMAGE));
    assert_eq!(why(&format!("sha256:{}", "0".repeat(64))), (Some(1), "it does not exist".to_owned()));
    let outcome = place.run(&["why", "no-such-name"]);
    assert!(outcome.status == Some(2) && outcome.stderr.contains("no ref or OCI image"));
    // Another name, and a stream that is not of an OCI image.
    place.link(&format!("../../{MANIFEST}"), "streams/refs/oci/another");
    place.link(LAYER, "streams/mine");
    assert_eq!(why(&hex(MANIFEST)), kept(format!("streams/{MANIFEST} (tag another; 1 other name)")));
    let json = place.json(&["why", &hex(LAYER)]);
    let layer = json["by_streams"].as_array().unwrap().iter().find(|keeper| keeper["stream"] == LAYER).unwrap();
    let names = json!(["another", "example/three:1", "streams/mine"]);
    assert_eq!((&layer["tags"], &layer["path"]), (&names, &json!(["streams/mine", LAYER])));
}

#[test]
fn untagged_streams_are_said_to_be_so() {
    let place = Place::new();
    place.untag();
    let outcome = place.run(&["why", IMAGE]);
    let lines: Vec<&str> = outcome.line().lines().collect();
    assert_eq!(outcome.status, Some(1));
    assert_eq!(
        lines,
        [
            &format!("image {IMAGE}, without a name, named by streams/{CONFIG} (untagged): this image itself"),
            "nothing keeps it: gc removes it once it is older than the grace"
        ]
    );
    let json = place.json(&["why", IMAGE]);
    assert_eq!((&json["kept"], &json["images"][0]["by_streams"][0]["kept"]), (&json!(false), &json!(false)));
    // Kept by another stream than the one of the image.
    fs::remove_file(place.path("streams").join(MANIFEST)).unwrap();
    place.link(CONFIG, "streams/mine");
    assert!(place.run(&["why", IMAGE]).ok().line().contains(&format!("kept by streams/{CONFIG} (streams/mine)")));
}

/// A link may lead to another stream of the same content than the tables of the manifest and the configuration: then
/// their texts alone keep it.
#[test]
fn parts_that_only_a_text_names_are_kept() {
    let place = Place::new();
    // Readers follow the ranges of the header, so that a byte at the end makes another stream of the same content.
    let mut stream = fs::read(place.object_of(LAYER)).unwrap();
    stream.push(0);
    let file = place.dir.path().join("stream");
    fs::write(&file, stream).unwrap();
    let digest = place.run(&["digest", file.to_str().unwrap()]).ok().line().split(' ').next().unwrap().to_owned();
    let object = format!("{}/{}", &digest[..2], &digest[2..]);
    fs::create_dir_all(place.path("objects").join(&digest[..2])).unwrap();
    fs::copy(&file, place.path("objects").join(&object)).unwrap();
    fs::remove_file(place.path("streams").join(LAYER)).unwrap();
    place.link(&format!("../objects/{object}"), &format!("streams/{LAYER}"));

    assert_eq!(place.run(&["gc", "--grace=0"]).status, Some(0));
    assert!(place.path("objects").join(&object).exists());
    let outcome = place.run(&["why", &digest]);
    assert_eq!((outcome.status, outcome.line().contains("untagged")), (Some(0), false), "{outcome:?}");
    // The text of the configuration names it, that of the manifest its blob.
    let way = format!("streams/{LAYER} (tag example/three:1 -> {MANIFEST} -> {CONFIG})");
    assert!(outcome.line().ends_with(&way), "{outcome:?}");
    // Without the tag the text keeps nothing.
    place.untag();
    let outcome = place.run(&["why", &digest]);
    assert_eq!((outcome.status, outcome.line().contains("(untagged)")), (Some(1), true), "{outcome:?}");
}
