//! A store that podman 4.3.1 and buildah 1.28.2 have made: `data/containers-storage.tar.gz`, without its devices.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libcomposefs_image::Algorithm;
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::containers_storage::{ContainersStorage, StorageError};
use libcomposefs_store::{ObjectDir, StorePolicy};
use libcomposefs_sys::copy::{Cloned, clone_file};
use libcomposefs_sys::fiemap::shared_bytes;
use serde_json::json;
use tempfile::TempDir;

use super::{hash, open, run, store};

/// The layer of `localhost/base:1`.
const BASE: &str = "3848658cd15e17817c15f9643c73f344ccda0f196355eeb21baeb9713b712a14";
const UPPER_ID: &str = "32c60641cc34a37a9b496c0f420ef9a8d0ffd8080b9770462aaf7c05779b713e";
const MANIFEST: &str = "manifest-sha256:4f9e862c2fe900f91d8fd249a624d790bce4f6422217efc79a7f1cf7a6e487e7";

pub(crate) fn recorded() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/containers-storage.tar.gz");
    run(Command::new("tar").arg("--no-same-owner").arg("-xzf").arg(data).arg("-C").arg(dir.path()));
    dir
}

fn diff(dir: &TempDir) -> PathBuf {
    dir.path().join("overlay").join(BASE).join("diff")
}

fn message(dir: &TempDir) -> String {
    match open(dir.path()).and_then(|storage| hash(&storage, "upper:1").map(|_| ())) {
        Err(error) => error.to_string(),
        Ok(()) => panic!("the image was imported"),
    }
}

#[test]
fn images_are_found_and_rebuilt() {
    let dir = recorded();
    let storage = open(dir.path()).unwrap();
    for name in ["localhost/upper:1", "upper:1", UPPER_ID, &UPPER_ID[..12], &format!("sha256:{UPPER_ID}")] {
        assert_eq!(storage.find(name).unwrap().id, UPPER_ID, "{name}");
    }
    let layers = hash(&storage, "upper:1").unwrap();
    assert_eq!(layers.iter().map(|layer| layer.entries).collect::<Vec<_>>(), [13, 9]);
    for name in ["upper", "upper:2", "3", "zz", "", "32c60641cc34b"] {
        let error = storage.find(name).unwrap_err();
        assert!(matches!(error, StorageError::NoImage(_)), "{name}: {error}");
    }
}

#[test]
fn contents_become_objects() {
    let dir = recorded();
    let objects = ObjectDir::create(&dir.path().join("objects"), Algorithm::Sha512, StorePolicy::default()).unwrap();
    let batch = objects.batch();
    let layers = store(&open(dir.path()).unwrap(), "upper:1", &batch).unwrap();
    // usr/bin/large and two versions of usr/bin/env; the others have at most 64 bytes.
    assert_eq!(batch.finish().unwrap().new, 3);
    let large = fs::read(diff(&dir).join("usr/bin/large")).unwrap();
    let digest = libcomposefs_image::verity::digest(Algorithm::Sha512, &large);
    assert!(layers[0].stream.objects().contains(&digest));
    assert_eq!(fs::read(objects.path_of(&digest)).unwrap(), large);

    // It is a clone where the file system can clone.
    let source = fs::File::open(diff(&dir).join("usr/bin/large")).unwrap();
    let target = fs::File::create(dir.path().join("clone")).unwrap();
    let can_clone = clone_file(source.as_fd(), target.as_fd()).unwrap() == Cloned::Yes;
    drop(target);
    fs::remove_file(dir.path().join("clone")).unwrap();
    let object = fs::File::open(objects.path_of(&digest)).unwrap();
    assert_eq!(shared_bytes(object.as_fd()).unwrap() > 0, can_clone);
}

#[test]
fn changed_files_are_noticed() {
    let change = |path: &str, change: &dyn Fn(&Path)| {
        let dir = recorded();
        let path = diff(&dir).join(path);
        change(&path);
        let message = message(&dir);
        assert!(message.contains(BASE) && message.contains("pull the image"), "{message}");
        message
    };
    let append = |path: &Path| fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"x").unwrap();
    assert!(change("usr/bin/large", &append).contains("is longer than 348894 bytes"));
    let cut = |path: &Path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(7).unwrap();
    assert!(change("usr/bin/env", &cut).contains("bytes early"));
    let other = |path: &Path| fs::write(path, "Text\n").unwrap();
    assert!(change("etc/text", &other).contains("checksum"));
    assert!(change("usr/bin/env", &|path| fs::remove_file(path).unwrap()).contains("is missing"));
    // The link leads to the same bytes.
    let link = |path: &Path| {
        fs::rename(path, path.with_extension("2")).unwrap();
        symlink("env.2", path).unwrap();
    };
    assert!(change("usr/bin/env", &link).contains("cannot be read"));
    let link = |path: &Path| {
        fs::rename(path, path.with_extension("2")).unwrap();
        symlink("usr.2", path).unwrap();
    };
    assert!(change("usr", &link).contains("cannot be read"));
    let directory = |path: &Path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    };
    assert!(change("usr/bin/env", &directory).contains("is missing"));
}

#[test]
fn changed_lists_are_noticed() {
    let edit = |name: &str, from: &str, to: &str| {
        let dir = recorded();
        let path = dir.path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
        message(&dir)
    };
    let parent = format!(r#""parent":"{BASE}""#);
    let circle =
        edit("overlay-layers/layers.json", &format!(r#""id":"{BASE}","#), &format!(r#""id":"{BASE}",{parent},"#));
    assert!(circle.contains("more than 1000"), "{circle}");
    let missing = edit("overlay-layers/layers.json", &parent, r#""parent":"00""#);
    assert!(missing.contains("the layer 00") && missing.contains("is missing"), "{missing}");
    let outside = edit("overlay-layers/layers.json", &format!(r#""id":"{BASE}""#), r#""id":"../../x""#);
    assert!(outside.contains("layers.json is damaged"), "{outside}");
    let big_data = |key: &str| format!("overlay-images/{UPPER_ID}/={}", STANDARD.encode(key));
    assert!(edit(&big_data(MANIFEST), "2", "3").contains("its manifest was changed"));
    let config = big_data(&format!("sha256:{UPPER_ID}"));
    assert!(edit(&config, "linux", "Linux").contains("its configuration was changed"));
}

#[test]
fn a_layer_without_tar_split_data_is_refused() {
    let dir = recorded();
    let path = dir.path().join(format!("overlay-layers/{BASE}.tar-split.gz"));
    let whole = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(message(&dir).contains("no tar-split data"));
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(message(&dir).contains("cannot be rebuilt: read the tar-split data"));
    // Data of another layer.
    let other = "overlay-layers/2eed1e86b7820873e37329ee10be6a51e81338d71522412e7dc2d927eede4c5a.tar-split.gz";
    fs::copy(dir.path().join(other), &path).unwrap();
    assert!(message(&dir).contains("is missing"));
    fs::write(&path, whole).unwrap();
    assert!(hash(&open(dir.path()).unwrap(), "upper:1").is_ok());
}

#[test]
fn another_archive_is_refused() {
    let dir = recorded();
    let path = dir.path().join(format!("overlay-layers/{BASE}.tar-split.gz"));
    let mut lines = String::new();
    flate2::read::GzDecoder::new(&fs::read(&path).unwrap()[..]).read_to_string(&mut lines).unwrap();
    // One more block of zeros at the end.
    let count = lines.lines().count();
    let payload = format!("{}==", "A".repeat(682));
    lines += &format!(r#"{{"type":2,"payload":"{payload}","position":{count}}}"#);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(lines.as_bytes()).unwrap();
    fs::write(&path, encoder.finish().unwrap()).unwrap();
    let message = message(&dir);
    assert!(message.contains("was changed in the store"), "{message}");
}

#[test]
fn layers_can_be_in_an_additional_store() {
    let (first, second) = (recorded(), recorded());
    // The first has the upper image and not its lower layer.
    let layers = first.path().join("overlay-layers/layers.json");
    let mut list: Vec<serde_json::Value> = serde_json::from_slice(&fs::read(&layers).unwrap()).unwrap();
    list.retain(|layer| layer["id"] != BASE);
    fs::write(&layers, json!(list).to_string()).unwrap();
    fs::remove_dir_all(diff(&first)).unwrap();
    assert!(hash(&open(first.path()).unwrap(), "upper:1").is_err());
    let both = ContainersStorage::open(&[first.path(), second.path()], || false).unwrap();
    assert_eq!(hash(&both, &UPPER_ID[..5]).unwrap().len(), 2);
}

#[test]
fn layers_in_the_form_of_composefs_are_rebuilt() {
    let dir = recorded();
    let files = ["etc/raw", "etc/hard", "usr/bin/env", "usr/bin/large"];
    let old = dir.path().join("old");
    fs::rename(diff(&dir), &old).unwrap();
    // The order of the archive.
    let path = dir.path().join(format!("overlay-layers/{BASE}.tar-split.gz"));
    let lines = BufReader::new(flate2::read::GzDecoder::new(fs::File::open(path).unwrap())).lines();
    let names = lines.filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        line["size"].as_u64().filter(|size| *size > 0).map(|_| line["name"].as_str().unwrap_or("etc/raw").to_owned())
    });
    let mut entries = vec![json!({"type": "dir", "name": "etc/"})];
    for name in names.collect::<Vec<_>>() {
        let name = name.trim_start_matches("./");
        let bytes = if name == "etc/raw" { b"x".to_vec() } else { fs::read(old.join(name)).unwrap() };
        let hex = BlobDigest::of(&bytes).hex();
        let path = diff(&dir).join(&hex[..2]);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(&hex[2..]), &bytes).unwrap();
        entries.push(json!({"type": "reg", "name": name, "size": bytes.len(), "digest": format!("sha256:{hex}")}));
    }
    assert_eq!(entries.len(), 1 + files.len());
    let data = diff(&dir).with_file_name("composefs-data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("composefs.blob"), "").unwrap();
    assert!(message(&dir).contains("a layer in the form of composefs needs it"));
    let big_data = dir.path().join("overlay-layers").join(BASE);
    fs::create_dir(&big_data).unwrap();
    let toc = json!({"version": 1, "entries": entries}).to_string();
    let path = big_data.join("=enN0ZC1jaHVua2VkLW1hbmlmZXN0");
    fs::write(&path, &toc).unwrap();
    assert!(hash(&open(dir.path()).unwrap(), "upper:1").is_ok());
    fs::write(&path, zstd::stream::encode_all(toc.as_bytes(), 0).unwrap()).unwrap();
    assert!(hash(&open(dir.path()).unwrap(), "upper:1").is_ok());
    let hex = BlobDigest::of(b"x").hex();
    fs::write(diff(&dir).join(&hex[..2]).join(&hex[2..]), "y").unwrap();
    assert!(message(&dir).contains("checksum"));
}

#[test]
fn a_directory_that_is_no_store_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("is no containers-storage") && error.contains("graphRoot"), "{error}");
    let error = open(&dir.path().join("missing")).unwrap_err().to_string();
    assert!(error.contains("missing"), "{error}");
}
