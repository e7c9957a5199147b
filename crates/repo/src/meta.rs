//! `meta.json`: the settings of a repository (`docs/format/repository.md`, section 2).

use libcomposefs_image::Algorithm;
use libcomposefs_image::erofs::{Image, Versions, WriteError, format_version};
use libcomposefs_image::tree::Tree;
use serde::{Deserialize, Serialize};

/// Version of the layout.
const VERSION: u32 = 1;
/// Feature of images in the format of the C tools. A program that cannot write it may read the repository.
const V1_EROFS: &str = "v1_erofs";

/// The settings of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Algorithm of all digests.
    pub algorithm: Algorithm,
    /// Format of new images.
    pub format: Format,
    /// Unknown features without which a program must not write to the repository.
    pub read_only: Vec<String>,
}

/// Format version of new images. In a repository, one tree has one digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The version that `mkcomposefs` chooses: 0, or 1 if the tree has whiteouts.
    #[default]
    Auto,
    /// Always version 1.
    One,
    /// Always version 2, of old repositories of bootc.
    Legacy,
}

impl Format {
    /// Lays out the image of a tree.
    ///
    /// # Errors
    ///
    /// Errors of [`Image::plan`].
    pub fn plan(self, tree: &Tree) -> Result<Image<'_>, WriteError> {
        match self {
            Format::Auto => Image::plan(tree, Versions::default()),
            Format::One => Image::plan(tree, Versions::exactly(1)),
            Format::Legacy => Image::plan_as(tree, &format_version::LEGACY),
        }
    }
}

/// Reason why `meta.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// The file is not such JSON.
    #[error("it is damaged: {0}")]
    Json(#[from] serde_json::Error),
    /// The layout has another version.
    #[error("it has layout version {0}; this program knows version {VERSION}")]
    Version(u32),
    /// The algorithm of digests is unknown.
    #[error("its algorithm {0:?} is unknown; fsverity-sha256-12 and fsverity-sha512-12 are known")]
    Algorithm(String),
    /// The repository needs features that this program does not have.
    #[error("it needs features that this program does not have: {}", .0.join(", "))]
    Incompatible(Vec<String>),
    /// The images have a format that this program does not write.
    #[error("its images have format {0}; this program writes 0, 1 and 2")]
    Format(u32),
}

impl MetaError {
    /// Returns whether the file is damaged, rather than of a repository that this program does not support.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, MetaError::Json(_))
    }
}

#[derive(Serialize, Deserialize)]
struct MetaText {
    version: u32,
    algorithm: String,
    #[serde(default)]
    features: Features,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    erofs_formats: Option<ErofsFormats>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Features {
    compatible: Vec<String>,
    read_only_compatible: Vec<String>,
    incompatible: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct ErofsFormats {
    default: u32,
}

impl Meta {
    /// Returns the settings of a new repository.
    #[must_use]
    pub fn new(algorithm: Algorithm, format: Format) -> Self {
        Self { algorithm, format, read_only: Vec::new() }
    }

    /// Parses `meta.json`.
    ///
    /// # Errors
    ///
    /// [`MetaError`]
    pub fn parse(text: &[u8]) -> Result<Self, MetaError> {
        let text: MetaText = serde_json::from_slice(text)?;
        if text.version != VERSION {
            return Err(MetaError::Version(text.version));
        }
        let known = Algorithm::ALL.into_iter().find(|known| known.verity_name() == text.algorithm);
        let Some(algorithm) = known else { return Err(MetaError::Algorithm(text.algorithm)) };
        if !text.features.incompatible.is_empty() {
            return Err(MetaError::Incompatible(text.features.incompatible));
        }
        let format = match text.erofs_formats.map_or(0, |formats| formats.default) {
            0 => Format::Auto,
            1 => Format::One,
            2 => Format::Legacy,
            number => return Err(MetaError::Format(number)),
        };
        let read_only = text.features.read_only_compatible.into_iter().filter(|name| name != V1_EROFS).collect();
        Ok(Self { algorithm, format, read_only })
    }

    /// Returns the text of `meta.json` for a new repository.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let (number, feature) = match self.format {
            Format::Auto => (0, None),
            Format::One => (1, Some(V1_EROFS.to_owned())),
            Format::Legacy => (2, None),
        };
        let text = MetaText {
            version: VERSION,
            algorithm: self.algorithm.verity_name().to_owned(),
            features: Features { read_only_compatible: feature.into_iter().collect(), ..Features::default() },
            erofs_formats: Some(ErofsFormats { default: number }),
        };
        let mut bytes = serde_json::to_vec_pretty(&text).expect("names and numbers are JSON");
        bytes.push(b'\n');
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for format in [Format::Auto, Format::One, Format::Legacy] {
                let meta = Meta::new(algorithm, format);
                assert_eq!(Meta::parse(&meta.emit()).unwrap(), meta);
            }
        }
    }

    #[test]
    fn features_mean_what_they_mean_in_ext4() {
        let text = |compatible, read_only, incompatible| {
            format!(
                r#"{{"version":1,"algorithm":"fsverity-sha512-12","features":{{"compatible":{compatible},
                "read-only-compatible":{read_only},"incompatible":{incompatible}}},
                "erofs_formats":{{"default":1}},"x":1}}"#
            )
        };
        let meta = Meta::parse(text(r#"["new"]"#, r#"["v1_erofs"]"#, "[]").as_bytes()).unwrap();
        assert_eq!(meta, Meta::new(Algorithm::Sha512, Format::One));
        let meta = Meta::parse(text("[]", r#"["v1_erofs","new"]"#, "[]").as_bytes()).unwrap();
        assert_eq!(meta.read_only, ["new"]);
        let error = Meta::parse(text("[]", "[]", r#"["new"]"#).as_bytes()).unwrap_err();
        assert!(matches!(&error, MetaError::Incompatible(names) if names == &["new"]), "{error}");
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (text, expected) in [
            ("", "it is damaged"),
            ("{}", "it is damaged"),
            (r#"{"version":2,"algorithm":"fsverity-sha256-12"}"#, "layout version 2"),
            (r#"{"version":1,"algorithm":"fsverity-sha256-16"}"#, "\"fsverity-sha256-16\" is unknown"),
            (r#"{"version":1,"algorithm":"fsverity-sha256-12","erofs_formats":{"default":7}}"#, "format 7"),
        ] {
            let error = Meta::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(Meta::parse(br#"{"version":1,"algorithm":"fsverity-sha256-12"}"#).is_ok());
    }
}
