//! Exports to layouts and archives.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libcomposefs_testkit::{oci, skip};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::place::{
    COMPOSEFS, Form, MERGED, Place, blob_path, change_manifest, expect_refusal, expect_success, has, json_file,
    json_of, other, put_blob, skopeo_digest,
};

#[test]
fn uncompressed_layers_come_back_with_the_same_manifest() {
    let (place, pulled) = Place::with_image(Form::Plain);
    let (layout, archive) = (format!("oci:{}:t", place.text("out")), format!("oci-archive:{}:t", place.text("a.tar")));
    for destination in [&layout, &archive] {
        let exported = json_of(&place.export(destination, &[]));
        assert_eq!((&exported["manifest"], &exported["new_manifest"]), (&pulled["manifest"], &json!([])));
        assert!(exported["layers"].as_array().unwrap().iter().all(|layer| layer["outcome"] == "sent"), "{exported}");
        let again = place.pull("two", destination, "again");
        assert_eq!((&again["manifest"], &again["image"]), (&pulled["manifest"], &pulled["image"]));
    }
    assert_eq!(place.names(), ["a.tar", "out"]);
    if !has("skopeo") || !has("umoci") {
        return skip::announce("uncompressed_layers_come_back_with_the_same_manifest", "skopeo or umoci is missing");
    }
    for destination in [&layout, &archive] {
        assert_eq!(skopeo_digest(destination), pulled["manifest"], "{destination}");
        let copy = format!("dir:{}", place.text("copy"));
        other("skopeo", &["--insecure-policy", "copy", "--quiet", destination, &copy]);
    }
    assert_eq!(other("umoci", &["list", "--layout", &place.text("out")]).trim(), "t");
    let rootless: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["--rootless"] };
    let (image, bundle) = (format!("{}:t", place.text("out")), place.text("bundle"));
    other("umoci", &[&["unpack"], rootless, &["--image", &image, &bundle]].concat());
    assert!(place.path("bundle/rootfs/usr").is_dir());
    if let Some(peers) = std::env::var_os("COMPOSEFS_PEERS")
        && let cfsctl = PathBuf::from(peers).join("cfsctl")
        && cfsctl.exists()
    {
        let theirs = |arguments: &[&str]| {
            let repo = place.text("two");
            other(cfsctl.to_str().unwrap(), &[&["--insecure", "--repo", &repo], arguments].concat())
        };
        theirs(&["oci", "pull", &layout, "theirs"]);
        assert!(theirs(&["oci", "compute-id", "theirs"]).trim().ends_with(pulled["image"].as_str().unwrap()));
    }
}

#[test]
fn compressed_layers_that_were_kept_come_back() {
    let (place, pulled) = Place::with_image(Form::Kept);
    for destination in [format!("oci:{}:t", place.text("out")), format!("oci-archive:{}:t", place.text("a.tar"))] {
        let exported = json_of(&place.export(&destination, &[]));
        assert_eq!(exported["manifest"], pulled["manifest"]);
        let again = place.pull("two", &destination, "again");
        assert_eq!((&again["image"], &again["manifest"]), (&pulled["image"], &pulled["manifest"]));
    }
}

#[test]
fn compressed_layers_are_refused_and_can_be_compressed_anew() {
    let (place, pulled) = Place::with_image(Form::Gzip);
    for (name, destination) in [("out", "oci:"), ("a.tar", "oci-archive:")] {
        let refused = place.export(&format!("{destination}{}", place.text(name)), &[]);
        expect_refusal(&refused, &["3 of 3 layers", "layer 1 (sha256:", "--recompress", "--keep-blobs"]);
    }
    assert_eq!(place.names(), [""; 0]);
    for compression in ["none", "gzip", "gzip:1", "zstd", "zstd:12"] {
        let option = format!("--compression={compression}");
        let export = |name: &str| {
            let destination = format!("oci-archive:{}:t", place.text(name));
            (json_of(&place.export(&destination, &["--recompress", &option])), destination)
        };
        let (exported, source) = export("a.tar");
        assert_eq!((&exported["config"], &exported["original_manifest"]), (&pulled["config"], &pulled["manifest"]));
        assert_ne!(exported["manifest"], pulled["manifest"]);
        let again = place.pull("two", &source, "again");
        assert_eq!((&again["image"], &again["manifest"]), (&pulled["image"], &exported["manifest"]), "{compression}");
        // Each run writes the same bytes.
        let (second, _) = export("b.tar");
        assert_eq!(second["manifest"], exported["manifest"], "{compression}");
        if has("skopeo") {
            assert_eq!(skopeo_digest(&source), exported["manifest"]);
            let copy = format!("oci:{}:c", place.text("copy"));
            other("skopeo", &["--insecure-policy", "copy", "--quiet", &source, &copy]);
            fs::remove_dir_all(place.path("copy")).unwrap();
        }
        fs::remove_file(place.path("a.tar")).unwrap();
        fs::remove_file(place.path("b.tar")).unwrap();
    }
    // A usage error: the level is too high.
    assert_eq!(place.export("oci:x", &["--recompress", "--compression=zstd:20"]).status, Some(2));
    assert_eq!(place.export("oci:x", &["--compression=zstd"]).status, Some(2));
    let refused = place.export("oci:x", &["--recompress=zstd"]);
    assert_eq!(refused.status, Some(2));
    assert!(refused.stderr.contains("'--recompress --compression=zstd' chooses the compression"), "{refused:?}");
}

#[test]
fn a_docker_archive_takes_every_image() {
    let (place, pulled) = Place::with_image(Form::Gzip);
    let destination = format!("docker-archive:{}:example.org/app:1", place.text("app.tar"));
    for option in ["--recompress", "--annotate"] {
        expect_refusal(&place.export(&destination, &[option]), &["no manifest"]);
    }
    let exported = json_of(&place.export(&destination, &[]));
    assert_eq!((&exported["manifest"], &exported["config"]), (&Value::Null, &pulled["config"]));
    let again = place.pull("two", &destination, "again");
    assert_eq!((&again["image"], &again["config"]), (&pulled["image"], &pulled["config"]));
    // The manifest made of the archive has uncompressed layers, and is one of docker: a layout has OCI manifests.
    let layout = format!("oci:{}:t", place.text("out"));
    let converted = json_of(&place.run("two", &["oci", "export", "again", &layout, "--json"]));
    assert_eq!(converted["new_manifest"].as_array().unwrap().len(), 1, "{converted}");
    assert_eq!(place.pull("two", &layout, "third")["image"], pulled["image"]);
    if !has("skopeo") || !has("podman") {
        return skip::announce("a_docker_archive_takes_every_image", "skopeo or podman is missing");
    }
    assert_eq!(skopeo_digest(&layout), converted["manifest"]);
    let config = other("skopeo", &["inspect", "--config", "--raw", &destination]);
    let hex: String = Sha256::digest(config.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(pulled["config"], format!("sha256:{hex}"));
    if rustix::process::geteuid().is_root() {
        let (root, run) = (place.text("podman"), place.text("podman-run"));
        let podman = ["--root", &root, "--runroot", &run, "--storage-driver=vfs"];
        let loaded = other("podman", &[&podman[..], &["load", "-q", "-i", &place.text("app.tar")]].concat());
        assert!(loaded.contains("example.org/app:1"), "{loaded}");
        let id =
            other("podman", &[&podman[..], &["image", "inspect", "--format={{.Id}}", "example.org/app:1"]].concat());
        assert_eq!(id.trim(), hex);
    }
}

#[test]
fn existing_files_are_kept() {
    let (place, pulled) = Place::with_image(Form::Plain);
    fs::write(place.path("a.tar"), "precious").unwrap();
    for transport in ["oci-archive", "docker-archive"] {
        let destination = format!("{transport}:{}", place.text("a.tar"));
        expect_refusal(&place.export(&destination, &[]), &["--force"]);
        assert_eq!(fs::read(place.path("a.tar")).unwrap(), b"precious");
    }
    expect_success(&place.export(&format!("oci-archive:{}", place.text("a.tar")), &["--force"]));
    assert!(fs::metadata(place.path("a.tar")).unwrap().len() > 1000);
    fs::create_dir(place.path("foreign")).unwrap();
    fs::write(place.path("foreign/file"), "precious").unwrap();
    expect_refusal(&place.export(&format!("oci:{}", place.text("foreign")), &[]), &["no oci-layout"]);
    assert_eq!(fs::read_dir(place.path("foreign")).unwrap().count(), 1);
    std::os::unix::fs::symlink(place.path("nowhere"), place.path("link.tar")).unwrap();
    let through = format!("oci-archive:{}", place.text("link.tar"));
    expect_refusal(&place.export(&through, &["--force"]), &["regular file"]);

    // A layout gets more images, and its other entries stay as they are.
    let destination = |name: &str| format!("oci:{}:{name}", place.text("out"));
    fs::create_dir(place.path("out")).unwrap();
    expect_success(&place.export(&destination("first"), &[]));
    let index = place.path("out/index.json");
    let mut changed = json_file(&index);
    changed["manifests"][0]["annotations"]["example"] = json!("kept");
    fs::write(&index, changed.to_string()).unwrap();
    let second = json_of(&place.export(&destination("second"), &["--annotate"]));
    // The layers are in the layout already.
    assert!(second["layers"].as_array().unwrap().iter().all(|layer| layer["outcome"] == "present"), "{second}");
    let entries = json_file(&index)["manifests"].as_array().unwrap().clone();
    assert_eq!((entries.len(), &entries[0]["annotations"]["example"]), (2, &json!("kept")));
    // The same name is replaced.
    expect_success(&place.export(&destination("second"), &[]));
    let entries = json_file(&index)["manifests"].as_array().unwrap().clone();
    assert_eq!((entries.len(), &entries[1]["digest"]), (2, &pulled["manifest"]));
    // A damaged blob of the layout is written anew.
    let blob = blob_path(&place.path("out"), &pulled["layers"][0]["digest"]);
    let mut bytes = fs::read(&blob).unwrap();
    bytes[0] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    expect_success(&place.export(&destination("first"), &[]));
    assert_eq!(place.pull("two", &destination("first"), "again")["manifest"], pulled["manifest"]);
    let mut names: Vec<_> = fs::read_dir(place.path("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["blobs", "index.json", "oci-layout"]);
}

#[test]
fn symlinks_of_a_layout_are_not_followed() {
    let (place, _) = Place::with_image(Form::Plain);
    let (layout, outside) = (place.path("out"), place.path("outside"));
    let destination = format!("oci:{}:second", place.text("out"));
    expect_success(&place.export(&format!("oci:{}:first", place.text("out")), &[]));
    fs::create_dir(&outside).unwrap();
    for name in ["blobs/sha256", "blobs"] {
        let kept = place.path("kept");
        fs::rename(layout.join(name), &kept).unwrap();
        std::os::unix::fs::symlink(&outside, layout.join(name)).unwrap();
        expect_refusal(&place.export(&destination, &["--annotate"]), &[name, "symlink", "out"]);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        fs::remove_file(layout.join(name)).unwrap();
        fs::rename(&kept, layout.join(name)).unwrap();
    }
    expect_success(&place.export(&destination, &["--annotate"]));
}

#[test]
fn a_failed_export_leaves_nothing() {
    let (place, pulled) = Place::with_image(Form::Plain);
    // The stream of one layer under the name of another, as a damaged repository has it.
    let name = |number: usize| {
        let diff_id = pulled["layers"][number]["diff_id"].as_str().unwrap();
        place.path("one/streams").join(format!("oci-layer-{diff_id}"))
    };
    let (target, own) = (fs::read_link(name(2)).unwrap(), fs::read_link(name(0)).unwrap());
    let relink = |target: &Path| {
        fs::remove_file(name(0)).unwrap();
        std::os::unix::fs::symlink(target, name(0)).unwrap();
    };
    relink(&target);
    let destinations = ["oci:", "oci-archive:", "docker-archive:"].map(|kind| format!("{kind}{}", place.text("out")));
    for destination in &destinations {
        expect_refusal(&place.export(destination, &[]), &["the repository is damaged"]);
        assert_eq!(place.names(), [""; 0], "{destination}");
    }
    let refused = place.export(&destinations[0], &["--recompress"]);
    expect_refusal(&refused, &["layer 1 of 3", "has the digest"]);
    assert_eq!(place.names(), [""; 0]);
    relink(&own);
    expect_success(&place.export(&destinations[0], &[]));
}

/// A place with the image `app`, whose export with [`SLOW`] takes seconds, and `small`.
fn place_with_slow_export() -> Place {
    let place = Place::new();
    let layout = oci::unpack_layout("three-layers", place.dir.path());
    place.pull("one", &format!("oci:{}", layout.display()), "small");
    let index = json_file(&layout.join("index.json"));
    let manifest = json_file(&blob_path(&layout, &index["manifests"][0]["digest"]));
    let mut config = json_file(&blob_path(&layout, &manifest["config"]["digest"]));
    let archive = large_archive(&place.path("large"));
    let (digest, size) = put_blob(&layout, &archive);
    config["rootfs"]["diff_ids"].as_array_mut().unwrap().push(json!(digest));
    let (config_digest, config_size) = put_blob(&layout, config.to_string().as_bytes());
    change_manifest(&layout, |manifest| {
        (manifest["config"]["digest"], manifest["config"]["size"]) = (json!(config_digest), json!(config_size));
        let layer = json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size });
        manifest["layers"].as_array_mut().unwrap().push(layer);
    });
    place.pull("one", &format!("oci:{}", layout.display()), "app");
    fs::remove_dir_all(layout).unwrap();
    place
}

/// Options that make an export slow.
const SLOW: [&str; 2] = ["--recompress", "--compression=zstd:19"];

/// Starts the slow export to `out`, and returns when it has begun to write.
fn start_slow_export(place: &Place) -> Child {
    let before = place.names();
    let child = Command::new(COMPOSEFS)
        .args(["--repo", &place.text("one"), "oci", "export", "app", &format!("oci:{}:app", place.text("out"))])
        .args(SLOW)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while place.names().iter().all(|name| before.contains(name)) {
        assert!(began.elapsed() < Duration::from_secs(60), "the export does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn an_interrupted_export_leaves_nothing() {
    let place = place_with_slow_export();
    let mut child = start_slow_export(&place);
    other("kill", &["-INT", &child.id().to_string()]);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn exports_at_once_share_a_new_layout_and_remove_what_a_killed_one_has_left() {
    let place = place_with_slow_export();
    let mut killed = start_slow_export(&place);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let left = place.names();
    assert!(left.len() == 1 && left[0].starts_with(".composefs-export-"), "{left:?}");
    let mut slow = start_slow_export(&place);
    let names = place.names();
    assert!(names.len() == 1 && names != left, "{names:?} {left:?}");
    // The directory of an export that runs stays, and the layout of the faster one gets both images.
    let out = place.text("out");
    let small = place.run("one", &["oci", "export", "small", &format!("oci:{out}:small")]);
    expect_success(&small);
    assert_eq!(place.names(), [names[0].as_str(), "out"]);
    assert!(slow.wait().unwrap().success());
    assert_eq!(place.names(), ["out"]);
    for name in ["small", "app"] {
        place.pull("two", &format!("oci:{out}:{name}"), name);
    }
}

/// A tar archive with one file of 48 MiB that cannot be compressed.
fn large_archive(directory: &Path) -> Vec<u8> {
    fs::create_dir(directory).unwrap();
    let mut state = 1u64;
    let bytes: Vec<u8> = (0..6 << 20)
        .flat_map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.rotate_left(20).to_le_bytes()
        })
        .collect();
    fs::write(directory.join("large"), bytes).unwrap();
    let output = Command::new("tar").arg("-C").arg(directory).args(["-cf", "-", "large"]).output().unwrap();
    assert!(output.status.success());
    fs::remove_dir_all(directory).unwrap();
    output.stdout
}

#[test]
fn annotations_are_written_and_compared() {
    let (place, pulled) = Place::with_image(Form::Plain);
    let layout = place.path("out");
    let source = format!("oci:{}:t", layout.display());
    let exported = json_of(&place.export(&source, &["--annotate"]));
    assert_eq!(exported["annotation"], json!({ "key": MERGED, "value": pulled["image"] }));
    assert_ne!(exported["manifest"], pulled["manifest"]);
    assert_eq!(
        (exported["config"].as_str(), exported["new_manifest"].as_array().unwrap().len()),
        (pulled["config"].as_str(), 1)
    );
    let annotated = place.pull("two", &source, "annotated");
    assert_eq!((&annotated["image"], &annotated["warnings"]), (&pulled["image"], &json!([])));
    // Once more it is the same manifest.
    let again = json_of(&place.run("two", &["oci", "export", "annotated", &source, "--annotate", "--json"]));
    assert_eq!((&again["manifest"], &again["new_manifest"]), (&exported["manifest"], &json!([])));
    // What cannot be computed is said.
    let other = "composefs.merged.erofs.v1.fsverity-sha512-12";
    change_manifest(&layout, |manifest| manifest["annotations"][other] = json!("00"));
    let unchecked = place.pull("two", &source, "unchecked");
    let warnings = unchecked["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{unchecked}");
    assert!(warnings[0].as_str().unwrap().contains(&format!("{other} of the manifest was not checked")));
    // Another digest is refused.
    let wrong = "0".repeat(64);
    change_manifest(&layout, |manifest| manifest["annotations"][MERGED] = json!(wrong));
    let refused = place.run("two", &["oci", "pull", &source, "--name=wrong"]);
    expect_refusal(&refused, &[MERGED, &wrong, pulled["image"].as_str().unwrap(), "--ignore-annotations"]);
    let names = String::from_utf8(place.run("two", &["oci", "images", "-q"]).ok().stdout).unwrap();
    assert_eq!(names, "annotated\nunchecked\n");
    let pull = ["oci", "pull", &source, "--name=wrong", "--ignore-annotations", "--json"];
    let accepted = json_of(&place.run("two", &pull));
    assert_eq!(accepted["image"], pulled["image"]);
    let warnings = accepted["warnings"].to_string();
    assert!(warnings.contains(&wrong) && warnings.contains("another image"), "{warnings}");
    // What was accepted once goes to other repositories.
    let bundle = place.path("bundle");
    let _ = place.run("two", &["export", "wrong", "--output", bundle.to_str().unwrap()]).ok();
    let _ = place.run("three", &["init", "--insecure", "--format=1"]).ok();
    let imported = place.run("three", &["import", bundle.to_str().unwrap()]);
    assert!(imported.ok().stderr.contains("another image"));
}

#[test]
fn the_annotation_of_the_bootable_image_is_compared() {
    let place = Place::new();
    let layout = oci::unpack_layout("run-boot-sysroot", place.dir.path());
    let key = "composefs.merged.bootable.erofs.v1.fsverity-sha256-12";
    let annotate = |value: &str| {
        change_manifest(&layout, |manifest| manifest["annotations"] = json!({ key: value }));
    };
    let pull = |name: &str, options: &[&str]| {
        let (source, name) = (format!("oci:{}", layout.display()), format!("--name={name}"));
        place.run("one", &[&["oci", "pull", &source, &name, "--json"][..], options].concat())
    };
    let digest = json_of(&pull("plain", &["--bootable"]))["boot_image"].as_str().unwrap().to_owned();
    annotate(&digest);
    assert_eq!(json_of(&pull("right", &["--bootable"]))["warnings"], json!([]));
    // Without the option it cannot be compared.
    assert_eq!(json_of(&pull("unchecked", &[]))["warnings"].as_array().unwrap().len(), 1);
    annotate(&"0".repeat(64));
    expect_refusal(&pull("wrong", &["--bootable"]), &[key, &digest]);
}
