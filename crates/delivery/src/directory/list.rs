//! The files of a directory are listed.

use std::fs::{DirEntry, read_dir};
use std::io;
use std::path::Path;

use crate::{FileKind, FileName, ListedFile};

/// Most directories between that of a kind and a file. Names of refs are paths.
const DEPTH_MAX: usize = 512;

/// Returns all files of a kind.
pub(super) fn files(root: &Path, kind: FileKind) -> io::Result<Vec<ListedFile>> {
    let mut found = Vec::new();
    let mut directories = vec![(kind.directory().to_owned(), 0)];
    while let Some((directory, depth)) = directories.pop() {
        let entries = match read_dir(root.join(&directory)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            result => result?,
        };
        for entry in entries {
            let entry = entry?;
            let Some(path) = entry.file_name().to_str().map(|name| format!("{directory}/{name}")) else { continue };
            if entry.file_type()?.is_dir() && depth < DEPTH_MAX {
                directories.push((path, depth + 1));
            } else if let Some(name) = FileName::from_path(&path) {
                found.extend(listed(&entry, name)?);
            }
        }
    }
    Ok(found)
}

/// Returns a file that is still there.
fn listed(entry: &DirEntry, name: FileName) -> io::Result<Option<ListedFile>> {
    match entry.metadata() {
        Ok(metadata) if metadata.is_file() => {
            Ok(Some(ListedFile { name, length: metadata.len(), modified: metadata.modified()? }))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
