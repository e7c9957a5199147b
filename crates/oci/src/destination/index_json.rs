//! The `index.json` of a layout: an entry is added, and the others stay as they are.

use serde_json::{Map, Value, json};

use crate::manifest::Manifest;

/// The annotation that names an image in `index.json`.
const NAME: &str = "org.opencontainers.image.ref.name";
/// Media type of indexes.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The file that marks a layout.
pub(super) const OCI_LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// Returns the index with an entry for an image. An entry of the same name is replaced; without a name, an entry of the
/// same manifest that has none. `old` is the present index; if it is no index, the error says why.
pub(super) fn with_image(old: Option<&[u8]>, manifest: &Manifest, name: Option<&str>) -> Result<Vec<u8>, String> {
    let mut index = match old {
        None => {
            let new = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] });
            new.as_object().cloned().unwrap_or_default()
        }
        Some(old) => serde_json::from_slice::<Map<String, Value>>(old)
            .map_err(|error| format!("its index.json is no valid index: {error}"))?,
    };
    if index.get("mediaType").is_some_and(|kind| kind.as_str() != Some(INDEX)) {
        return Err("its index.json is of another kind than an index".to_owned());
    }
    let Some(Value::Array(entries)) = index.get_mut("manifests") else {
        return Err("its index.json is no valid index: it has no manifests".to_owned());
    };
    let digest = manifest.digest.to_string();
    entries.retain(|entry| {
        let old = entry.pointer("/annotations").and_then(|annotations| annotations.get(NAME)).and_then(Value::as_str);
        match name {
            Some(_) => old != name,
            None => old.is_some() || entry["digest"] != digest.as_str(),
        }
    });
    let mut entry = json!({ "mediaType": manifest.media_type, "digest": digest, "size": manifest.raw.len() });
    if let Some(name) = name {
        entry["annotations"] = json!({ NAME: name });
    }
    entries.push(entry);
    Ok(Value::Object(index).to_string().into_bytes())
}
