//! The state of one extraction that all its threads share.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use libcomposefs_content::Progress;
use libcomposefs_content::mutex::lock;
use libcomposefs_image::tree::{InodeId, Kind, Places, Tree};

use super::error::{ExtractError, FileError};
use super::options::Options;
use super::report::{ExtractReport, PathFailure};
use super::selection::Selection;
use super::staging::Staging;
use crate::basedirs::Basedirs;
use crate::reflink::ReflinkSupport;

/// Input, options and results of an extraction.
pub(super) struct ExtractContext<'e> {
    pub(super) tree: &'e Tree,
    pub(super) selection: &'e Selection,
    pub(super) basedirs: &'e Basedirs,
    pub(super) options: &'e Options,
    pub(super) progress: &'e dyn Progress,
    pub(super) staging: Staging,
    pub(super) clones: ReflinkSupport,
    pub(super) threads: NonZeroUsize,
    pub(super) gives_owners: bool,
    /// Number of selected names of each inode; empty if no inode has two.
    pub(super) names: Vec<u32>,
    pub(super) places: OnceLock<Places<'e>>,
    pub(super) outcome: Mutex<ExtractReport>,
    /// Inodes with several names that were not made, each with the error, or `None` if it was left out.
    pub(super) lost: Mutex<HashMap<InodeId, Option<Arc<FileError>>>>,
    pub(super) stopped: Mutex<Option<ExtractError>>,
    pub(super) is_stopped: AtomicBool,
}

impl<'e> ExtractContext<'e> {
    /// Returns true if the inode is made once and then linked to each of its names.
    pub(super) fn is_linked(&self, inode: InodeId) -> bool {
        self.names.get(inode.index()).is_some_and(|count| *count > 1)
    }

    /// Returns all inodes with several selected names.
    pub(super) fn linked(&self) -> impl Iterator<Item = InodeId> {
        let inodes = self.tree.inodes().map(|inode| inode.id());
        inodes.filter(|inode| self.is_linked(*inode) && self.tree.inode(*inode).kind() != Kind::Directory)
    }

    pub(super) fn outcome(&self) -> MutexGuard<'_, ExtractReport> {
        lock(&self.outcome)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Stops the extraction early.
    pub(super) fn stop(&self, error: ExtractError) {
        lock(&self.stopped).get_or_insert(error);
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Returns the error that stopped the extraction early, if any.
    pub(super) fn take_stopped(&self) -> Option<ExtractError> {
        lock(&self.stopped).take()
    }

    /// Records that a path was not made, or stops the extraction if every further path would fail in the same way.
    pub(super) fn fail(&self, path: Vec<u8>, error: Arc<FileError>) {
        if error.is_general()
            && let FileError::Io { step, source } = &*error
        {
            let source = source.raw_os_error().map_or_else(|| source.kind().into(), std::io::Error::from_raw_os_error);
            return self.stop(ExtractError::Stopped { step, path, source });
        }
        self.outcome().failures.push(PathFailure { path, error });
    }

    /// Records that an inode with several names was not made.
    pub(super) fn lose(&self, inode: InodeId, error: Option<FileError>) {
        let error = error.map(Arc::new);
        if let Some(error) = error.clone().filter(|error| error.is_general()) {
            self.fail(self.path_of(inode), error);
        }
        lock(&self.lost).insert(inode, error);
    }

    /// Returns `Some` if an inode was not made, with the error if it was not left out.
    pub(super) fn lost(&self, inode: InodeId) -> Option<Option<Arc<FileError>>> {
        lock(&self.lost).get(&inode).cloned()
    }

    /// Returns the path of an inode's first name.
    pub(super) fn path_of(&self, inode: InodeId) -> Vec<u8> {
        let mut path = Vec::new();
        self.places.get_or_init(|| self.tree.places()).push_path(inode, &mut path);
        path
    }

    /// Returns the path of a name in a directory.
    pub(super) fn path_in(&self, directory: InodeId, name: &[u8]) -> Vec<u8> {
        let mut path = if directory == InodeId::ROOT { Vec::new() } else { self.path_of(directory) };
        path.push(b'/');
        path.extend_from_slice(name);
        path
    }
}
