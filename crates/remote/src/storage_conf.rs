//! Place of podman's store of images, by storage.conf.
//!
//! The rules are those of containers/storage: `CONTAINERS_STORAGE_CONF` names the only file; otherwise root reads the
//! system's file, and another user the own one, and of the system's only `rootless_storage_path`.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::conf_error::ConfError;
use crate::locations::Locations;
use crate::text_file;

#[derive(Debug, Default, Deserialize)]
struct ConfText {
    #[serde(default)]
    storage: StorageTable,
}

#[derive(Debug, Default, Deserialize)]
struct StorageTable {
    #[serde(default)]
    graphroot: String,
    #[serde(default)]
    rootless_storage_path: String,
}

/// Returns the graph root that the files name; `None` if they name none, so that the default place is meant.
///
/// # Errors
///
/// If a file cannot be read or is not valid, or the file of `CONTAINERS_STORAGE_CONF` is missing.
pub fn graph_root(locations: &Locations) -> Result<Option<PathBuf>, ConfError> {
    let is_root = locations.uid == 0;
    if let Some(path) = locations.storage_conf.as_deref().filter(|path| !path.as_os_str().is_empty()) {
        let missing = || ConfError::Read { path: path.to_owned(), source: io::ErrorKind::NotFound.into() };
        let table = read(path)?.ok_or_else(missing)?;
        return table.root(path, is_root, locations);
    }
    if !is_root
        && let Some(path) = locations.user_storage_file()
        && let Some(table) = read(&path)?
        && let Some(root) = table.root(&path, false, locations)?
    {
        return Ok(Some(root));
    }
    for path in locations.system_storage_files() {
        let Some(table) = read(&path)? else { continue };
        // The graph root of the system is that of root alone.
        let table = if is_root { table } else { StorageTable { graphroot: String::new(), ..table } };
        return table.root(&path, is_root, locations);
    }
    Ok(None)
}

fn read(path: &Path) -> Result<Option<StorageTable>, ConfError> {
    let failed = |source| ConfError::Read { path: path.to_owned(), source };
    let Some(text) = text_file::read(path).map_err(failed)? else { return Ok(None) };
    let invalid = |error: toml::de::Error| ConfError::Invalid {
        path: path.to_owned(),
        reason: error.to_string().trim_end().to_owned(),
    };
    Ok(Some(toml::from_str::<ConfText>(&text).map_err(invalid)?.storage))
}

impl StorageTable {
    fn root(&self, path: &Path, is_root: bool, locations: &Locations) -> Result<Option<PathBuf>, ConfError> {
        let (key, text) = match (self.graphroot.is_empty(), is_root) {
            (false, _) => ("graphroot", self.graphroot.clone()),
            (true, true) => return Ok(None),
            (true, false) => ("rootless_storage_path", self.rootless_storage_path.clone()),
        };
        if text.is_empty() {
            return Ok(None);
        }
        let text = if is_root { text } else { expand(text, locations) };
        if !text.starts_with('/') || text.contains('$') {
            let reason = format!(
                "{key} is {text:?}: expected an absolute path, in which only $HOME, $UID and $USER have values, and \
                 only for a user other than root"
            );
            return Err(ConfError::Invalid { path: path.to_owned(), reason });
        }
        Ok(Some(text.into()))
    }
}

fn expand(text: String, locations: &Locations) -> String {
    let home = locations.home.as_deref().and_then(Path::to_str);
    let uid = locations.uid.to_string();
    let values = [("$HOME", home), ("$UID", Some(uid.as_str())), ("$USER", locations.user.as_deref())];
    values.into_iter().fold(text, |text, (name, value)| value.map(|value| text.replace(name, value)).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, text).expect("a file");
    }

    #[test]
    fn the_files_are_read_in_the_order_of_podman() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |uid| Locations {
            root: Some(dir.path().join("root")),
            home: Some("/home/u".into()),
            config_home: Some(dir.path().join("config")),
            user: Some("u".to_owned()),
            uid,
            ..Locations::default()
        };
        let root =
            |locations: &Locations| graph_root(locations).expect("a place").map(|path| path.display().to_string());
        assert_eq!((root(&at(0)), root(&at(7))), (None, None));
        let system = dir.path().join("root/etc/containers/storage.conf");
        write(&system, "[storage]\ngraphroot = \"/srv/s\"\nrootless_storage_path = \"/srv/$USER/$UID\"\n");
        assert_eq!((root(&at(0)), root(&at(7))), (Some("/srv/s".into()), Some("/srv/u/7".into())));
        write(&dir.path().join("config/containers/storage.conf"), "[storage]\ngraphroot = \"$HOME/own\"\n");
        assert_eq!((root(&at(0)), root(&at(7))), (Some("/srv/s".into()), Some("/home/u/own".into())));
        let only = dir.path().join("only.conf");
        write(&only, "[storage]\ndriver = \"vfs\"\ngraphroot = \"/only\"\n[storage.options]\nx = 1\n");
        for uid in [0, 7] {
            let locations = Locations { storage_conf: Some(only.clone()), ..at(uid) };
            assert_eq!(root(&locations), Some("/only".into()));
        }
    }

    #[test]
    fn a_file_that_is_not_right_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let only = dir.path().join("only.conf");
        let error = || {
            let locations = Locations { storage_conf: Some(only.clone()), ..Locations::default() };
            graph_root(&locations).expect_err("it is wrong").to_string()
        };
        assert!(error().contains("only.conf"), "{}", error());
        for text in ["[storage", "[storage]\ngraphroot = 1\n", "[storage]\ngraphroot = \"relative\"\n"] {
            write(&only, text);
            assert!(error().contains("only.conf is not valid"), "{}", error());
        }
    }
}
