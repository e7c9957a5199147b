//! Differences between the configurations of two OCI images, and between their layers.

use std::collections::{BTreeMap, BTreeSet};

use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::manifest::{BlobRef, ImageConfig, Manifest};
use serde_json::{Map, Value};

/// A field of the configuration that differs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ConfigChange {
    /// The field: `config.Env.PATH`.
    pub(super) field: String,
    /// Its value on each side; `None` if the side does not have it.
    pub(super) values: [Option<Value>; 2],
}

/// Fields of `config` whose members are compared one by one.
const MAPS: [&str; 3] = ["Labels", "ExposedPorts", "Volumes"];

/// Returns the fields that differ, except the layers.
pub(super) fn config_changes(a: &ImageConfig, b: &ImageConfig) -> anyhow::Result<Vec<ConfigChange>> {
    let [mut a, mut b] = [fields(&a.raw)?, fields(&b.raw)?];
    let names: BTreeSet<FieldPath> = a.keys().chain(b.keys()).cloned().collect();
    let changes = names.into_iter().map(|path| {
        let values = [a.remove(&path), b.remove(&path)];
        ConfigChange { field: path.join("."), values }
    });
    Ok(changes.filter(|change| change.values[0] != change.values[1]).collect())
}

/// The names of the objects that a field is in, and its own. Names may have dots, so that joined ones are not unique.
type FieldPath = Vec<String>;

/// Returns the fields of a configuration by their paths.
fn fields(raw: &[u8]) -> anyhow::Result<BTreeMap<FieldPath, Value>> {
    let mut fields = BTreeMap::new();
    for (name, value) in serde_json::from_slice::<Map<String, Value>>(raw)? {
        match (name.as_str(), value) {
            ("rootfs", _) => {}
            ("config", Value::Object(config)) => {
                config.into_iter().for_each(|(name, value)| put_field(&mut fields, &name, value));
            }
            (_, value) => put(&mut fields, &[&name], value),
        }
    }
    Ok(fields)
}

/// Puts a field of the object `config`.
fn put_field(fields: &mut BTreeMap<FieldPath, Value>, name: &str, value: Value) {
    match value {
        Value::Object(members) if MAPS.contains(&name) => {
            members.into_iter().for_each(|(key, value)| put(fields, &["config", name, &key], value));
        }
        Value::Array(variables) if name == "Env" => {
            let mut named: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for variable in variables.iter().filter_map(Value::as_str) {
                let key = variable.split_once('=').map_or(variable, |(key, _)| key);
                named.entry(key).or_default().push(variable);
            }
            for (key, entries) in named {
                // A variable without `=`, and several of one name, are given as they are written.
                let value = match entries.as_slice() {
                    [only] if only.len() > key.len() => only[key.len() + 1..].into(),
                    entries => entries.into(),
                };
                put(fields, &["config", "Env", key], value);
            }
        }
        value => put(fields, &["config", name], value),
    }
}

/// Puts a value, unless it is `null`: some programs write `null` where others leave the field out.
fn put(fields: &mut BTreeMap<FieldPath, Value>, path: &[&str], value: Value) {
    if !value.is_null() {
        fields.insert(path.iter().map(|name| (*name).to_owned()).collect(), value);
    }
}

/// A layer of one or both images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayerPair {
    pub(super) diff_id: BlobDigest,
    /// The blob of the layer in each image; `None` if the image does not have the layer.
    pub(super) blobs: [Option<BlobRef>; 2],
}

/// Returns the layers of both images: those of the first in their order, then those that only the second has.
pub(super) fn layer_pairs([a, b]: [(&Manifest, &ImageConfig); 2]) -> Vec<LayerPair> {
    let blob = |(manifest, config): (&Manifest, &ImageConfig), diff_id: &BlobDigest| {
        let place = config.diff_ids.iter().position(|other| other == diff_id)?;
        manifest.layers.get(place).cloned()
    };
    let mut seen = BTreeSet::new();
    let all = a.1.diff_ids.iter().chain(&b.1.diff_ids).filter(|diff_id| seen.insert(diff_id.to_string()));
    all.map(|diff_id| LayerPair { diff_id: *diff_id, blobs: [blob(a, diff_id), blob(b, diff_id)] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(config: &str) -> ImageConfig {
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}},"config":{config}}}"#
        );
        ImageConfig::parse(text.into_bytes()).unwrap()
    }

    #[test]
    fn variables_and_labels_are_compared_one_by_one() {
        let a = config(r#"{"Env":["PATH=/bin","A=1"],"Labels":{"x":"1","y":"2"},"Cmd":["sh"],"User":null}"#);
        let b = config(r#"{"Env":["A=1","PATH=/usr/bin"],"Labels":{"y":"2"},"Cmd":["sh","-l"]}"#);
        let changes = config_changes(&a, &b).unwrap();
        let fields: Vec<_> = changes.iter().map(|change| change.field.as_str()).collect();
        assert_eq!(fields, ["config.Cmd", "config.Env.PATH", "config.Labels.x"]);
        assert_eq!(changes[1].values, [Some("/bin".into()), Some("/usr/bin".into())]);
        assert_eq!(changes[2].values, [Some("1".into()), None]);
        assert!(config_changes(&a, &a).unwrap().is_empty());
    }

    #[test]
    fn no_variable_hides_another() {
        let changed = |a: &str, b: &str| {
            let [a, b] = [a, b].map(|env| config(&format!(r#"{{"Env":{env}}}"#)));
            let changes = config_changes(&a, &b).unwrap();
            changes.into_iter().map(|change| (change.field, change.values)).collect::<Vec<_>>()
        };
        let field = "config.Env.A".to_owned();
        let found = changed(r#"["A"]"#, r#"["A="]"#);
        assert_eq!(found, [(field.clone(), [Some(serde_json::json!(["A"])), Some("".into())])]);
        let found = changed(r#"["A=1","B=1","A=2"]"#, r#"["A=2","B=1"]"#);
        assert_eq!(found, [(field, [Some(serde_json::json!(["A=1", "A=2"])), Some("2".into())])]);
        assert!(changed(r#"["A=1","A=2","B"]"#, r#"["B","A=1","A=2"]"#).is_empty());
    }

    #[test]
    fn a_field_with_dots_in_its_name_hides_no_other_field() {
        let named = |user: &str| {
            let text = format!(
                r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}},
                "config":{{"User":"{user}","Labels":{{"x":"{user}"}},"Labels.x":"1"}},"config.User":"1"}}"#
            );
            ImageConfig::parse(text.into_bytes()).unwrap()
        };
        let changes = config_changes(&named("root"), &named("daemon")).unwrap();
        let fields: Vec<_> = changes.iter().map(|change| change.field.as_str()).collect();
        assert_eq!(fields, ["config.Labels.x", "config.User"]);
        assert!(config_changes(&named("root"), &named("root")).unwrap().is_empty());
    }
}
