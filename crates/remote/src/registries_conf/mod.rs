//! registries.conf: mirrors, blocked registries, short names, and which endpoints serve a reference.
//!
//! The format is version 2 of containers-registries.conf(5). [`RegistriesConf::load`] reads files; all else is pure.

mod endpoints;
mod file;
mod short_names;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub use endpoints::{Endpoint, EndpointError};
pub use short_names::ShortNameError;

use crate::conf_error::ConfError;
use crate::locations::Locations;
use crate::text_file;

/// What registries.conf and its drop-in files say together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistriesConf {
    rules: Vec<RegistryRule>,
    search: Option<Vec<String>>,
    mode: ShortNameMode,
    aliases: BTreeMap<String, String>,
}

/// A `[[registry]]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RegistryRule {
    prefix: String,
    /// Replaces the prefix; `None` keeps it.
    location: Option<String>,
    is_insecure: bool,
    is_blocked: bool,
    mirrors: Vec<MirrorRule>,
    /// Path of the file, for messages.
    file: PathBuf,
}

/// A `[[registry.mirror]]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MirrorRule {
    location: String,
    is_insecure: bool,
    uses: MirrorUses,
}

/// The references for which a mirror is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MirrorUses {
    All,
    DigestOnly,
    TagOnly,
}

/// Mode of `short-name-mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShortNameMode {
    /// A name with several candidates is an error.
    Enforcing,
    /// All candidates are tried, as without a terminal to ask the user.
    #[default]
    Permissive,
    /// All candidates are tried.
    Disabled,
}

impl RegistriesConf {
    /// Reads registries.conf and the drop-in files. Missing files say nothing.
    ///
    /// # Errors
    ///
    /// If a file that exists cannot be read or is not valid.
    pub fn load(locations: &Locations) -> Result<Self, ConfError> {
        let (main, dirs) = locations.registries_conf();
        let mut files = vec![main];
        for dir in dirs {
            files.extend(drop_ins(&dir)?);
        }
        let mut conf = Self::default();
        for path in files {
            let read = |source| ConfError::Read { path: path.clone(), source };
            if let Some(text) = text_file::read(&path).map_err(read)? {
                conf.add(&text, &path)?;
            }
        }
        Ok(conf)
    }

    /// Adds a file, given by its text. It replaces rules with the same prefix, aliases with the same name and settings.
    ///
    /// # Errors
    ///
    /// If the text is not valid. `path` is for the message.
    pub fn add(&mut self, text: &str, path: &Path) -> Result<(), ConfError> {
        let invalid = |reason| ConfError::Invalid { path: path.to_owned(), reason };
        let file = file::parse(text, path).map_err(invalid)?;
        for rule in file.rules {
            match self.rules.iter_mut().find(|known| known.prefix == rule.prefix) {
                Some(known) => *known = rule,
                None => self.rules.push(rule),
            }
        }
        self.search = file.search.or(self.search.take());
        self.mode = file.mode.unwrap_or(self.mode);
        for (name, value) in file.aliases {
            // An empty value removes what an earlier file says.
            if value.is_empty() {
                self.aliases.remove(&name)
            } else {
                self.aliases.insert(name, value)
            };
        }
        Ok(())
    }
}

/// The files `*.conf` of a directory, by name; none if it does not exist.
fn drop_ins(dir: &Path) -> Result<Vec<PathBuf>, ConfError> {
    let failed = |source| ConfError::Read { path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if text_file::is_missing(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "conf") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests;
