//! The lists of images and layers: JSON, of which only what is needed is read.

use serde::Deserialize;

use crate::BlobDigest;

/// An image of the store.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct StorageImage {
    /// The ID: the hexadecimal digits of the digest of the configuration.
    pub id: String,
    /// The digest of the manifest.
    #[serde(default)]
    pub digest: String,
    /// The names.
    #[serde(default, deserialize_with = "list")]
    pub names: Vec<String>,
    /// The ID of the uppermost layer; empty for an image without layers.
    #[serde(default)]
    pub layer: String,
}

/// A layer of the store.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct StorageLayer {
    /// The ID, which is not the diff ID.
    pub id: String,
    /// The ID of the layer below; empty for the lowest.
    #[serde(default)]
    pub parent: String,
    /// The digest of the archive as the store knows it.
    #[serde(default)]
    diff_digest: String,
}

impl StorageLayer {
    /// Returns the digest of the archive as the store knows it.
    #[must_use]
    pub fn diff_id(&self) -> Option<BlobDigest> {
        self.diff_digest.parse().ok()
    }
}

/// Reads `images.json`.
///
/// # Errors
///
/// If the text is malformed, or an ID could be a path.
pub fn parse_images(json: &[u8]) -> Result<Vec<StorageImage>, String> {
    let images: Option<Vec<StorageImage>> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let images = images.unwrap_or_default();
    images.iter().try_for_each(|image| check_id(&image.id))?;
    Ok(images)
}

/// Reads `layers.json`.
///
/// # Errors
///
/// If the text is malformed, or an ID could be a path.
pub fn parse_layers(json: &[u8]) -> Result<Vec<StorageLayer>, String> {
    let layers: Option<Vec<StorageLayer>> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let layers = layers.unwrap_or_default();
    layers.iter().try_for_each(|layer| check_id(&layer.id))?;
    Ok(layers)
}

/// Reads a list that may be `null`.
fn list<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Checks an ID, which becomes a part of paths.
fn check_id(id: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if id.is_empty() || id.len() > 128 || !id.bytes().all(is_plain) {
        return Err(format!("the ID {:?} has other characters than letters and digits", id.get(..40).unwrap_or(id)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_ids_checked() {
        let json = concat!(
            r#"[{"id":"ab","digest":"sha256:00","names":["a:1","b"],"layer":"cd","created":"x"},"#,
            r#"{"id":"ef","names":null}]"#
        );
        let images = parse_images(json.as_bytes()).unwrap();
        assert_eq!((images[0].names.len(), &*images[0].layer, images[1].names.len()), (2, "cd", 0));
        assert_eq!(parse_images(b"null").unwrap(), []);
        let digest = BlobDigest::of(b"");
        let json = format!(r#"[{{"id":"ab","parent":"cd","diff-digest":"{digest}","uidset":[0]}},{{"id":"cd"}}]"#);
        let layers = parse_layers(json.as_bytes()).unwrap();
        assert_eq!((layers[0].diff_id(), layers[1].diff_id()), (Some(digest), None));
        for id in ["", "..", "a/b", "a\\u0000b", "a.b"] {
            assert!(parse_layers(format!(r#"[{{"id":"{id}"}}]"#).as_bytes()).is_err(), "{id}");
            assert!(parse_images(format!(r#"[{{"id":"{id}"}}]"#).as_bytes()).is_err(), "{id}");
        }
        assert!(parse_images(b"[{}]").is_err() && parse_images(b"[").is_err());
    }
}
