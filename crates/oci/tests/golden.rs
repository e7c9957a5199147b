//! The recorded layouts give the digests that cfsctl 0.9.4 gave.

use std::collections::BTreeMap;
use std::path::Path;

use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::compression::{LayerDecoder, WINDOW_LOG};
use libcomposefs_oci::layer::{HashOnly, ImageTree, WhiteoutRule, XattrFilter, apply_stream, import_layer};
use libcomposefs_oci::pull::{NoPullProgress, PullOptions, image_digest};
use libcomposefs_oci::source::{DirectoryFiles, OciLayout};
use libcomposefs_oci::stream::ContentType;
use libcomposefs_oci::tar::Limits;
use libcomposefs_repo::Format;
use libcomposefs_testkit::oci;
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
    xattrs: XattrFilter,
    format: Format,
) -> Result<Digest, Box<dyn std::error::Error>> {
    let blob = |descriptor: &Value| {
        layout.join("blobs/sha256").join(descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap())
    };
    let manifest = json(&blob(&json(&layout.join("index.json"))["manifests"][0]));
    let config = json(&blob(&manifest["config"]));
    let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
    let mut tree = ImageTree::new(algorithm, xattrs, WhiteoutRule::InOrder)?;
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

/// Returns the digest that is computed without a stream of the layers.
fn digest_alone(layout: &Path, algorithm: Algorithm, xattrs: XattrFilter, format: Format) -> Option<Digest> {
    let files = DirectoryFiles::open(layout).unwrap();
    let source = OciLayout::new(files, "layout".to_owned(), None);
    let mut options = PullOptions::default();
    options.xattrs = xattrs;
    let computed = image_digest(&source, algorithm, format, &options, &NoPullProgress);
    computed.ok().map(|(digest, _)| digest)
}

#[test]
fn digests_are_those_of_cfsctl() {
    let dir = tempfile::tempdir().unwrap();
    oci::unpack_layouts(dir.path());
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    for row in oci::recorded().into_iter().filter(|row| !row.is_bootable) {
        let algorithm = row.algorithm.parse().unwrap();
        let kept = if row.xattrs == "keep-user-xattrs" { XattrFilter::User } else { XattrFilter::Allowlist };
        let format = if row.version == "1" { Format::One } else { Format::Legacy };
        let layout = dir.path().join(&row.layout);
        let result = image(&layout, algorithm, kept, format);
        // The same layers for the other algorithm and version.
        if algorithm == Algorithm::Sha256 && format == Format::One {
            assert_eq!(result.as_ref().ok(), digest_alone(&layout, algorithm, kept, format).as_ref(), "{row:?}");
        }
        let is_intended =
            DIFFERENT.contains(&row.layout.as_str()) || row.layout == "mtime-base256-negative" && row.version == "1";
        let outcome = match (&result, &row.digest) {
            (Ok(digest), Some(expected)) if digest.to_hex() == *expected => "equal",
            (Ok(_), None) => "only we accept",
            (Err(_), None) => "both refuse",
            _ if is_intended => "different by intent",
            _ => {
                wrong.push(format!("{row:?}: {result:?}"));
                "wrong"
            }
        };
        *counts.entry(outcome).or_default() += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let expected = [("both refuse", 44), ("different by intent", 14), ("equal", 266), ("only we accept", 64)];
    assert_eq!(counts, BTreeMap::from(expected));
}
