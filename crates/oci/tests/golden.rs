//! The layouts of `data/layouts.tar.gz` give the digests that cfsctl 0.9.4 gave (`data/images.tsv`).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::compression::{LayerDecoder, WINDOW_LOG};
use libcomposefs_oci::layer::{HashOnly, ImageTree, Whiteouts, Xattrs, apply_stream, import_layer};
use libcomposefs_oci::stream::ContentType;
use libcomposefs_oci::tar::Limits;
use libcomposefs_repo::Format;
use serde_json::Value;

/// Layouts for which the rules of this project give another digest than cfsctl, by intent (`docs/compatibility.md`).
const DIFFERENT: [&str; 3] = ["headers-old", "tar-zero-block-mid", "name-dotdot-last"];

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Returns the digest of the image of a layout.
fn image(
    layout: &Path,
    algorithm: Algorithm,
    xattrs: Xattrs,
    format: Format,
) -> Result<Digest, Box<dyn std::error::Error>> {
    let blob = |descriptor: &Value| {
        layout.join("blobs/sha256").join(descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap())
    };
    let manifest = json(&blob(&json(&layout.join("index.json"))["manifests"][0]));
    let config = json(&blob(&manifest["config"]));
    let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
    let mut tree = ImageTree::new(algorithm, xattrs, Whiteouts::InOrder)?;
    for (number, (layer, diff_id)) in manifest["layers"].as_array().unwrap().iter().zip(diff_ids).enumerate() {
        let bytes = std::fs::read(blob(layer))?;
        let mut archive = LayerDecoder::new(&bytes[..], WINDOW_LOG)?;
        let imported = import_layer(&mut archive, &HashOnly(algorithm), Limits::default(), u64::MAX)?;
        assert_eq!(imported.diff_id, diff_id.as_str().unwrap().parse::<BlobDigest>().unwrap());
        if number > 0 {
            tree.next_layer();
        }
        let file = imported.stream.finish(ContentType::LAYER, &[])?;
        apply_stream(&mut tree, &file, algorithm, &mut &imported.expanded)?;
    }
    let tree = tree.finish()?;
    Ok(format.plan(&tree)?.digest(algorithm))
}

#[test]
fn digests_are_those_of_cfsctl() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let dir = tempfile::tempdir().unwrap();
    let unpacked = Command::new("tar").arg("-xzf").arg(data.join("layouts.tar.gz")).arg("-C").arg(dir.path()).status();
    assert!(unpacked.unwrap().success());
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    let table = std::fs::read_to_string(data.join("images.tsv")).unwrap();
    for row in table.lines().filter(|line| !line.starts_with('#')) {
        let [name, algorithm, version, xattrs, bootable, expected] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        if bootable == "yes" {
            continue;
        }
        let algorithm = if algorithm == "sha256" { Algorithm::Sha256 } else { Algorithm::Sha512 };
        let kept = if xattrs == "keep-user-xattrs" { Xattrs::User } else { Xattrs::Allowlist };
        let format = match version {
            "1" => Format::One,
            _ => Format::Legacy,
        };
        let result = image(&dir.path().join(name), algorithm, kept, format);
        let is_error = expected.starts_with("ERROR");
        let outcome = match &result {
            Ok(digest) if digest.to_hex() == expected => "equal",
            Ok(_) if is_error => "only we accept",
            Err(_) if is_error => "both refuse",
            _ if DIFFERENT.contains(&name) || name == "mtime-base256-negative" && version == "1" => {
                "different by intent"
            }
            _ => {
                wrong.push(format!("{row}: {result:?}"));
                "wrong"
            }
        };
        *counts.entry(outcome).or_default() += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let expected = [("both refuse", 44), ("different by intent", 14), ("equal", 266), ("only we accept", 64)];
    assert_eq!(counts, BTreeMap::from(expected));
}
