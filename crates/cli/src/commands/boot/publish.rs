//! Entries get their names, and what no entry needs is removed.

use std::collections::HashSet;
use std::io::Write as _;

use libcomposefs_disk::entries::{BootEntryText, EntryFileName, next_generation};
use libcomposefs_image::Digest;
use libcomposefs_repo::{ImageName, Repository, RepositoryError};

use super::esp::EspDirectory;
use super::found::{BootEntries, BootEntry, ENTRIES};
use super::place::entry_ref;
use crate::error_text::with_remedy;

/// Directory of our kernels, below the partition.
pub(super) const KERNELS: &str = "composefs";

/// Returns the number of a new entry.
pub(super) fn new_generation(entries: &BootEntries) -> anyhow::Result<u64> {
    next_generation(&entries.uses(None, None)).ok_or_else(|| {
        let error = "the number in the name of the newest entry is the highest possible one";
        with_remedy(error, "remove that entry: composefs boot remove ENTRY")
    })
}

/// Writes an entry. It is on disk when this returns. What an interrupted command has left is removed.
pub(super) fn write_entry(esp: &EspDirectory, name: &EntryFileName, text: &BootEntryText) -> anyhow::Result<()> {
    esp.make_directory(ENTRIES)?;
    esp.remove_unfinished(ENTRIES)?;
    let path = format!("{ENTRIES}/{name}");
    esp.write(&path, |file| Ok(file.write_all(text.to_string().as_bytes())?))
}

/// Gives the image of an entry the ref that protects it from gc. It is on disk when this returns.
pub(super) fn protect(repository: &Repository, digest: &Digest) -> anyhow::Result<()> {
    repository.tag(&ImageName::Digest(*digest), &entry_ref(digest)?)?;
    Ok(())
}

/// Removes the refs of images that no entry boots any more. A failure is a warning: gc then keeps the images.
pub(super) fn release(repository: &Repository, entries: &BootEntries, digests: &[Digest]) {
    // An entry that cannot be read may boot any image.
    if !entries.unread.is_empty() {
        return;
    }
    for digest in digests {
        let is_named = |entry: &BootEntry| entry.named.iter().any(|named| named.digest == *digest);
        if entries.all.iter().any(is_named) {
            continue;
        }
        let removed = entry_ref(digest).map(|name| repository.untag(&name));
        match removed {
            Ok(Ok(_) | Err(RepositoryError::NoSuchRef { .. })) => {}
            Ok(Err(error)) => tell!("composefs: warning: gc keeps the image {digest}: {error}"),
            Err(error) => tell!("composefs: warning: gc keeps the image {digest}: {error:#}"),
        }
    }
}

/// Removes entries of ours, then the kernels and refs that no entry needs. Returns the paths of what was removed.
pub(super) fn remove_entries(
    esp: &EspDirectory,
    repository: Option<&Repository>,
    entries: &[&BootEntry],
) -> anyhow::Result<Vec<String>> {
    let mut removed = Vec::new();
    for entry in entries {
        esp.remove(&entry.path)?;
        removed.push(entry.path.clone());
    }
    let left = BootEntries::read(esp)?;
    removed.extend(remove_unused_kernels(esp, &left)?);
    if let Some(repository) = repository {
        let digests: Vec<Digest> = entries.iter().flat_map(|entry| &entry.named).map(|named| named.digest).collect();
        release(repository, &left, &digests);
    }
    Ok(removed)
}

/// Removes directories of our kernels that no entry leads to, and returns their paths. Nothing is removed if an entry
/// cannot be read.
pub(super) fn remove_unused_kernels(esp: &EspDirectory, entries: &BootEntries) -> anyhow::Result<Vec<String>> {
    let mut removed = Vec::new();
    if !entries.unread.is_empty() {
        return Ok(removed);
    }
    // FAT has no difference between upper and lower case.
    let files = entries.all.iter().flat_map(|entry| &entry.files).map(|file| file.to_ascii_lowercase());
    let used: HashSet<String> = files.filter_map(|file| Some(file.rsplit_once('/')?.0.to_owned())).collect();
    for name in esp.names(KERNELS)? {
        let path = format!("{KERNELS}/{name}");
        let is_ours = name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_ours && !used.contains(&path) && esp.has_directory(&path) {
            esp.remove_directory(&path)?;
            removed.push(path);
        }
    }
    Ok(removed)
}
