//! Reads the part of an image's configuration that describes the process.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::RuntimeError;

/// Part of an image's configuration that describes the process. All fields are as the image has them, unchecked.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ImageProcess {
    /// User and group, such as `www-data` or `1000:1000`; empty for root.
    pub user: String,
    /// Environment variables, each `NAME=VALUE`.
    pub env: Vec<String>,
    /// First words of the command, kept if the user gives a command.
    pub entrypoint: Vec<String>,
    /// Other words of the command, replaced if the user gives a command.
    pub cmd: Vec<String>,
    /// Working directory; empty for `/`.
    pub working_dir: String,
    /// Directories that must be writable, sorted.
    pub volumes: Vec<String>,
}

/// `application/vnd.oci.image.config.v1+json`, and Docker's form. Both allow `null` for every field.
#[derive(Deserialize)]
struct ConfigFile {
    config: Option<ConfigObject>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct ConfigObject {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    volumes: Option<BTreeMap<String, IgnoredAny>>,
}

impl ImageProcess {
    /// Reads the process of an image out of its configuration.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::ImageConfig`] if the bytes are not JSON or a field has another type.
    pub fn parse(config: &[u8]) -> Result<Self, RuntimeError> {
        let file: ConfigFile = serde_json::from_slice(config).map_err(RuntimeError::ImageConfig)?;
        let object = file.config.unwrap_or_default();
        Ok(Self {
            user: object.user.unwrap_or_default(),
            env: object.env.unwrap_or_default(),
            entrypoint: object.entrypoint.unwrap_or_default(),
            cmd: object.cmd.unwrap_or_default(),
            working_dir: object.working_dir.unwrap_or_default(),
            volumes: object.volumes.unwrap_or_default().into_keys().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_may_be_null_or_missing() {
        let empty = ImageProcess::default();
        for text in [
            "{}",
            r#"{"config":null}"#,
            r#"{"config":{}}"#,
            r#"{"config":{"User":null,"Env":null,"Entrypoint":null,"Cmd":null,"WorkingDir":null,"Volumes":null}}"#,
        ] {
            assert_eq!(ImageProcess::parse(text.as_bytes()).unwrap(), empty, "{text}");
        }
    }

    #[test]
    fn fields_are_read_and_others_ignored() {
        let text = r#"{"architecture":"amd64","config":{"User":"app","Env":["A=1"],"Entrypoint":["/e"],"Cmd":["c"],
            "WorkingDir":"/w","Volumes":{"/v":{},"/a":{}},"Labels":{"run.oci.handler":"wasm"},"ArgsEscaped":true}}"#;
        let words = |text: &str| vec![text.to_owned()];
        let expected = ImageProcess {
            user: "app".into(),
            env: words("A=1"),
            entrypoint: words("/e"),
            cmd: words("c"),
            working_dir: "/w".into(),
            volumes: vec!["/a".into(), "/v".into()],
        };
        assert_eq!(ImageProcess::parse(text.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn other_types_are_refused() {
        for text in ["", "[]", r#"{"config":{"Cmd":"sh"}}"#, r#"{"config":{"User":0}}"#] {
            let error = ImageProcess::parse(text.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with("the image's configuration is malformed: "), "{text}: {error}");
        }
    }
}
