//! New manifests: other blobs of the same layers, or a further annotation. A new manifest is an OCI manifest.

use serde_json::{Map, Value, json};

use super::PushError;
use crate::BlobDigest;
use crate::manifest::{Document, Manifest};

/// Media type of OCI manifests.
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of the configuration in an OCI manifest.
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Beginnings of annotations that describe the bytes of a blob.
const OF_BLOBS: [&str; 3] =
    ["io.github.containers.zstd-chunked.", "containerd.io/snapshot/stargz/", "io.containers.estargz."];

/// The blob of a layer in a new manifest.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewLayer {
    pub(super) digest: BlobDigest,
    pub(super) size: u64,
    pub(super) media_type: &'static str,
}

/// Makes a manifest with other blobs, if they are given, and with an annotation, if one is given. Everything else stays
/// as it is in `old`.
pub(super) fn new_manifest(
    old: &Manifest,
    layers: Option<&[NewLayer]>,
    annotation: Option<(&str, &str)>,
) -> Result<Manifest, PushError> {
    let invalid = |reason: String| PushError::Manifest { digest: old.digest, reason };
    let mut manifest: Map<String, Value> =
        serde_json::from_slice(&old.raw).map_err(|error| invalid(error.to_string()))?;
    manifest.insert("mediaType".to_owned(), json!(OCI_MANIFEST));
    if let Some(config) = manifest.get_mut("config") {
        config["mediaType"] = json!(OCI_CONFIG);
    }
    let Some(Value::Array(descriptors)) = manifest.get_mut("layers") else {
        return Err(invalid("it has no layers".to_owned()));
    };
    for (number, descriptor) in descriptors.iter_mut().enumerate() {
        let Some(descriptor) = descriptor.as_object_mut() else { continue };
        let Some(new) = layers.and_then(|layers| layers.get(number)) else {
            let kind = descriptor.get("mediaType").and_then(Value::as_str).unwrap_or_default();
            let kind = oci_layer_type(kind).to_owned();
            descriptor.insert("mediaType".to_owned(), json!(kind));
            continue;
        };
        descriptor.insert("mediaType".to_owned(), json!(new.media_type));
        descriptor.insert("digest".to_owned(), json!(new.digest.to_string()));
        descriptor.insert("size".to_owned(), json!(new.size));
        // They lead to the old blob.
        descriptor.remove("urls");
        descriptor.remove("data");
        if let Some(Value::Object(annotations)) = descriptor.get_mut("annotations") {
            annotations.retain(|key, _| !OF_BLOBS.iter().any(|prefix| key.starts_with(prefix)));
            if annotations.is_empty() {
                descriptor.remove("annotations");
            }
        }
    }
    if let Some((key, value)) = annotation {
        let annotations = manifest.entry("annotations").or_insert_with(|| json!({}));
        if !annotations.is_object() {
            *annotations = json!({});
        }
        annotations[key] = json!(value);
    }
    let raw = Value::Object(manifest).to_string().into_bytes();
    match Document::parse(raw, None) {
        Ok(Document::Manifest(manifest)) => Ok(*manifest),
        Ok(Document::Index(_)) => Err(invalid("it is an index".to_owned())),
        Err(error) => Err(invalid(error.to_string())),
    }
}

/// Returns the OCI media type of a layer whose media type is docker's.
fn oci_layer_type(kind: &str) -> &str {
    match kind {
        "application/vnd.docker.image.rootfs.diff.tar" => "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar" => {
            "application/vnd.oci.image.layer.nondistributable.v1.tar"
        }
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => {
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(value: &Value) -> Manifest {
        match Document::parse(value.to_string().into_bytes(), None).unwrap() {
            Document::Manifest(manifest) => *manifest,
            Document::Index(_) => panic!("an index"),
        }
    }

    #[test]
    fn what_describes_the_old_blob_is_left_out() {
        let digest = BlobDigest::of(b"old").to_string();
        let old = manifest(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": { "mediaType": "application/vnd.docker.container.image.v1+json", "digest": digest, "size": 3 },
            "layers": [{
                "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                "digest": digest, "size": 3, "urls": ["https://example.org/"],
                "annotations": { "io.github.containers.zstd-chunked.manifest-position": "1:2:3:1", "other": "kept" },
            }],
        }));
        let kept = new_manifest(&old, None, Some(("key", "value"))).unwrap();
        assert_eq!(kept.annotations["key"], "value");
        assert_eq!((kept.layers[0].digest, kept.layers[0].annotations.len()), (old.layers[0].digest, 2));
        assert!(kept.layers[0].media_type.contains("oci.image.layer.nondistributable"));
        let layer = NewLayer { digest: BlobDigest::of(b"new"), size: 9, media_type: "application/x" };
        let new = new_manifest(&old, Some(&[layer]), None).unwrap();
        assert_eq!((new.media_type.as_str(), new.config.digest), (OCI_MANIFEST, old.config.digest));
        assert_eq!((new.layers[0].digest, new.layers[0].size), (layer.digest, 9));
        assert_eq!(new.layers[0].annotations.keys().collect::<Vec<_>>(), ["other"]);
        assert!(!String::from_utf8(new.raw).unwrap().contains("urls"));
    }
}
