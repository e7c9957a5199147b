//! Parses one registries.conf file.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{MirrorRule, MirrorUses, RegistryRule, ShortNameMode};

/// Contents of one file.
#[derive(Debug)]
pub(super) struct ConfFile {
    pub(super) rules: Vec<RegistryRule>,
    pub(super) search: Option<Vec<String>>,
    pub(super) mode: Option<ShortNameMode>,
    pub(super) aliases: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ConfTable {
    unqualified_search_registries: Option<Vec<String>>,
    short_name_mode: Option<String>,
    #[serde(default, rename = "registry")]
    rules: Vec<RuleTable>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    /// Version 1 of the format.
    registries: Option<toml::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RuleTable {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default, rename = "mirror")]
    mirrors: Vec<MirrorTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorTable {
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: String,
}

/// Parses a text. `path` is kept for messages.
pub(super) fn parse(text: &str, path: &Path) -> Result<ConfFile, String> {
    let table: ConfTable = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    if table.registries.is_some() {
        return Err("[registries] is version 1 of the format: write [[registry]] tables and \
                    unqualified-search-registries instead"
            .to_owned());
    }
    let mode = table.short_name_mode.as_deref().filter(|mode| !mode.is_empty()).map(mode).transpose()?;
    let rules = table.rules.into_iter().map(|rule| rule.check(path)).collect::<Result<_, _>>()?;
    let search = table.unqualified_search_registries.map(|list| list.iter().map(|host| trim(host)).collect());
    Ok(ConfFile { rules, search, mode, aliases: table.aliases })
}

fn mode(mode: &str) -> Result<ShortNameMode, String> {
    match mode {
        "enforcing" => Ok(ShortNameMode::Enforcing),
        "permissive" => Ok(ShortNameMode::Permissive),
        "disabled" => Ok(ShortNameMode::Disabled),
        other => Err(format!("short-name-mode is {other:?}: it must be enforcing, permissive or disabled")),
    }
}

impl RuleTable {
    fn check(self, path: &Path) -> Result<RegistryRule, String> {
        let (prefix, location) = (trim(&self.prefix), trim(&self.location));
        let is_wildcard = prefix.starts_with("*.");
        let name = if prefix.is_empty() { &location } else { &prefix };
        if name.is_empty() {
            return Err("a [[registry]] has neither prefix nor location".to_owned());
        }
        if name.contains("://") || location.contains("://") {
            return Err(format!("[[registry]] {name:?}: prefix and location are HOST[/PATH], without a scheme"));
        }
        if prefix.trim_start_matches("*.").contains('*') || is_wildcard && prefix.contains('/') {
            return Err(format!("[[registry]] {prefix:?}: a wildcard must be `*.` before a host"));
        }
        if location.is_empty() && !is_wildcard {
            return Err(format!("[[registry]] {prefix:?} has no location"));
        }
        let mirrors = self.mirrors.into_iter().map(|mirror| mirror.check(name, self.mirror_by_digest_only));
        Ok(RegistryRule {
            prefix: name.clone(),
            mirrors: mirrors.collect::<Result<_, _>>()?,
            location: Some(location).filter(|location| !location.is_empty()),
            is_insecure: self.insecure,
            is_blocked: self.blocked,
            file: path.to_owned(),
        })
    }
}

impl MirrorTable {
    fn check(self, registry: &str, by_digest_only: bool) -> Result<MirrorRule, String> {
        let location = trim(&self.location);
        if location.is_empty() || location.contains("://") {
            return Err(format!("a mirror of [[registry]] {registry:?} has no location of the form HOST[/PATH]"));
        }
        let uses = match (self.pull_from_mirror.as_str(), by_digest_only) {
            ("", true) => MirrorUses::DigestOnly,
            ("" | "all", false) => MirrorUses::All,
            ("digest-only", false) => MirrorUses::DigestOnly,
            ("tag-only", false) => MirrorUses::TagOnly,
            (_, true) => {
                let why = "pull-from-mirror cannot be used together with mirror-by-digest-only";
                return Err(format!("[[registry]] {registry:?}: {why}"));
            }
            (other, false) => {
                let why = format!("pull-from-mirror is {other:?}: it must be all, digest-only or tag-only");
                return Err(format!("[[registry]] {registry:?}: {why}"));
            }
        };
        Ok(MirrorRule { location, is_insecure: self.insecure, uses })
    }
}

fn trim(name: &str) -> String {
    name.trim_end_matches('/').to_owned()
}
