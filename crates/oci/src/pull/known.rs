//! The table of contents that are here, during a pull: loaded once, completed by the layers, and saved at the end
//! (`docs/format/zstd-chunked.md`, section 6).

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use libcomposefs_content::mutex::{into_inner, lock};
use libcomposefs_repo::Repository;

use crate::zstd_chunked::table::{self, ContentTable};

/// The table of a repository. It is a cache: without it a pull fetches more bytes, and nothing else changes.
pub(super) struct KnownContents<'r> {
    repository: &'r Repository,
    table: OnceLock<ContentTable>,
    added: Mutex<ContentTable>,
}

impl<'r> KnownContents<'r> {
    pub(super) fn new(repository: &'r Repository) -> Self {
        let added = Mutex::new(ContentTable::new(repository.algorithm()));
        Self { repository, table: OnceLock::new(), added }
    }

    /// Returns the table as it was on disk. It is empty if it cannot be read.
    pub(super) fn table(&self) -> &ContentTable {
        self.table.get_or_init(|| {
            let algorithm = self.repository.algorithm();
            let loaded = self.repository.cache().ok().flatten().map(|cache| table::load(&cache, algorithm));
            loaded.and_then(Result::ok).unwrap_or_else(|| ContentTable::new(algorithm))
        })
    }

    /// Adds contents of a layer that is stored.
    pub(super) fn add(&self, add: impl FnOnce(&mut ContentTable)) {
        add(&mut lock(&self.added));
    }

    /// Adds the contents of all layers to the table on disk.
    pub(super) fn save(self) -> io::Result<()> {
        let added = into_inner(self.added);
        if added.is_empty() {
            return Ok(());
        }
        let cache = self.repository.make_cache().map_err(io::Error::other)?;
        table::update(&Arc::new(cache), self.repository.algorithm(), |table| {
            table.merge(&added);
            true
        })
    }
}
