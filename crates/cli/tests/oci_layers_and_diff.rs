//! `composefs oci layers` and `composefs oci diff`.

use std::fs;
use std::ops::Deref;
use std::path::Path;

use libcomposefs_testkit::scratch::{ScratchRepository, layout_source as source};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

/// A repository, with what these tests do there.
struct Place(ScratchRepository);

impl Deref for Place {
    type Target = ScratchRepository;

    fn deref(&self) -> &ScratchRepository {
        &self.0
    }
}

impl Place {
    fn new() -> Self {
        Self(ScratchRepository::new(COMPOSEFS))
    }

    fn pull(&self, name: &str) {
        let layout = self.layout(name);
        self.prints(&["oci", "pull", &source(&layout), "--name", name, "--json"]);
    }

    #[track_caller]
    fn json(&self, status: i32, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.prints_with(status, &[arguments, &["--json"]].concat())).unwrap()
    }
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Changes the configuration of a layout.
fn reconfigure(layout: &Path, change: impl FnOnce(&mut Value)) {
    let blob = |descriptor: &Value| layout.join("blobs").join(descriptor["digest"].as_str().unwrap().replace(':', "/"));
    let put = |value: &Value, descriptor: &mut Value| {
        let bytes = value.to_string();
        let hex: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(layout.join("blobs/sha256").join(&hex), &bytes).unwrap();
        (descriptor["digest"], descriptor["size"]) = (json!(format!("sha256:{hex}")), json!(bytes.len()));
    };
    let mut index = read_json(&layout.join("index.json"));
    let mut manifest = read_json(&blob(&index["manifests"][0]));
    let mut config = read_json(&blob(&manifest["config"]));
    change(&mut config);
    put(&config, &mut manifest["config"]);
    put(&manifest, &mut index["manifests"][0]);
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
}

#[test]
fn layers_have_sizes_and_what_they_share() {
    let place = Place::new();
    place.pull("three-layers");
    let report = place.json(0, &["oci", "layers", "three-layers"]);
    let layers = report["layers"].as_array().unwrap();
    let column = |key: &str| layers.iter().map(|layer| layer[key].clone()).collect::<Vec<_>>();
    assert_eq!(column("number"), [1, 2, 3]);
    assert_eq!(column("entries"), [7, 2, 3]);
    assert_eq!(column("size"), [10752, 5120, 3072]);
    assert_eq!(
        (column("objects"), column("bytes")),
        (vec![json!(1), json!(1), json!(0)], vec![json!(5000), json!(3000), json!(0)])
    );
    assert_eq!(column("created_by"), ["mklayouts 0", "mklayouts 1", "mklayouts 2"]);
    assert_eq!(column("shared"), [0, 0, 0]);
    let inspected = place.json(0, &["oci", "inspect", "three-layers"]);
    for (layer, shown) in layers.iter().zip(inspected["layers"].as_array().unwrap()) {
        assert_eq!((&layer["diff_id"], &layer["digest"]), (&shown["diff_id"], &shown["digest"]));
        assert_eq!((&layer["media_type"], &layer["compressed_size"]), (&shown["media_type"], &shown["size"]));
    }
    // Another name of the image is no other image.
    place.prints(&["oci", "tag", "three-layers", "same"]);
    assert_eq!(place.json(0, &["oci", "layers", "three-layers"])["layers"], report["layers"]);
    // A ref to another image that has one of the contents.
    let out = place.path("out");
    let basedir = format!("--basedir={}", place.path("repo/objects").display());
    place.prints(&["extract", &basedir, "three-layers", out.to_str().unwrap()]);
    fs::write(out.join("more"), "x").unwrap();
    let digest = place.prints(&["create", out.to_str().unwrap(), "--name=tree"]);
    let shared =
        |layers: &Value| layers["layers"].as_array().unwrap().iter().map(|l| l["shared"].clone()).collect::<Vec<_>>();
    let now = shared(&place.json(0, &["oci", "layers", "three-layers"]));
    assert_eq!(now, [5000, 3000, 0], "{digest}");
    place.prints(&["untag", "tree"]);
    assert_eq!(shared(&place.json(0, &["oci", "layers", "three-layers"])), [0, 0, 0]);
    let text = place.prints(&["oci", "layers", "three-layers"]);
    assert!(text.starts_with("LAYER") && text.contains("by      mklayouts 0"), "{text}");
    let failed = place.run(&["oci", "layers", "none"]);
    assert_eq!(failed.status, Some(1));
    assert!(failed.stderr.contains("no OCI image is called"), "{failed:?}");
}

#[test]
fn an_image_is_compared_with_its_source() {
    let place = Place::new();
    place.pull("three-layers");
    let layout = place.path("three-layers");
    let text = place.prints(&["oci", "diff", "three-layers", &source(&layout)]);
    assert!(text.contains("configuration: no difference\n"), "{text}");
    assert!(text.contains("layers: 3 in both, 0 only in A, 0 only in B"), "{text}");
    assert!(text.contains("files: no difference\n"), "{text}");
    let report = place.json(0, &["oci", "diff", &source(&layout), "three-layers"]);
    assert_eq!((&report["equal"], &report["files"]["equal"]), (&json!(true), &json!(true)));
    // Labels and variables, each by itself.
    reconfigure(&layout, |config| {
        config["config"] = json!({ "Env": ["PATH=/bin", "A=1"], "Labels": { "x": "1" }, "Cmd": ["sh"] });
    });
    let report = place.json(1, &["oci", "diff", "three-layers", &source(&layout)]);
    let fields: Vec<_> = report["configuration"].as_array().unwrap().iter().map(|one| one["field"].clone()).collect();
    for field in ["config.Cmd", "config.Env.A", "config.Env.PATH", "config.Labels.x"] {
        assert!(fields.contains(&json!(field)), "{fields:?}");
    }
    assert_eq!((&report["equal"], &report["files"]["equal"]), (&json!(false), &json!(true)));
    let text = place.prints_with(1, &["oci", "diff", "three-layers", &source(&layout)]);
    assert!(text.contains(r#"config.Env.PATH: "/usr/bin" -> "/bin""#), "{text}");
    assert_eq!(place.prints_with(1, &["oci", "diff", "three-layers", &source(&layout), "--quiet"]), "");
}

/// An image for another architecture is pulled, with a warning; one for this machine has none.
#[test]
fn another_architecture_is_named_in_a_warning() {
    let place = Place::new();
    let layout = place.layout("three-layers");
    let operand = source(&layout);
    let machine = libcomposefs_oci::manifest::Platform::of_machine().architecture;
    for (architecture, is_warned) in [("s390x", true), (machine.as_str(), false)] {
        reconfigure(&layout, |config| config["architecture"] = json!(architecture));
        let report = place.json(0, &["oci", "pull", &operand, "--name=other"]);
        let warnings = report["warnings"].to_string();
        assert_eq!(warnings.contains("linux/s390x"), is_warned, "{warnings}");
        assert_eq!(warnings == "[]", !is_warned, "{warnings}");
    }
}

#[test]
fn files_of_an_image_pulled_with_options_differ_from_its_source() {
    let place = Place::new();
    let layout = place.layout("pax-xattr");
    let pull = |name: &str, more: &[&str]| {
        place.prints(&[&["oci", "pull", &source(&layout), "--name", name, "--json"], more].concat());
    };
    let same = |status: i32, name: &str| {
        let report = place.json(status, &["oci", "diff", name, &source(&layout)]);
        assert_eq!(report["a"]["manifest"], report["b"]["manifest"]);
        report["files"]["equal"].as_bool()
    };
    pull("plain", &[]);
    assert_eq!(same(0, "plain"), Some(true));
    pull("keep", &["--xattrs=keep-user-xattrs"]);
    assert_eq!(same(1, "keep"), Some(false));
}

#[test]
fn images_with_other_layers_differ() {
    let place = Place::new();
    place.pull("three-layers");
    place.pull("basic");
    let report = place.json(1, &["oci", "diff", "three-layers", "basic"]);
    let layers = report["layers"].as_array().unwrap();
    let only = |side: &str| layers.iter().filter(|layer| layer[side].is_null()).count();
    assert_eq!((layers.len(), only("b"), only("a")), (4, 3, 1));
    assert_eq!(report["files"]["equal"], false);
    assert!(!report["files"]["changes"].as_array().unwrap().is_empty());
    // The files are those of `composefs diff`.
    let files = place.json(1, &["diff", "three-layers", "basic"]);
    assert_eq!(report["files"], files);
    for (operand, words) in [
        ("none", "no OCI image is called \"none\""),
        ("./basic", "oci:DIR is an OCI layout"),
        ("oci:none", "cannot open none"),
        ("docker-daemon:x", "skopeo copy"),
    ] {
        let failed = place.run(&["oci", "diff", "three-layers", operand]);
        assert_eq!(failed.status, Some(2), "{failed:?}");
        assert!(failed.stderr.contains(words), "{failed:?}");
    }
}
