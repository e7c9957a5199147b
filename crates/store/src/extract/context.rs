//! One extraction: what all its threads share.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use libcomposefs_image::tree::{Data, InodeId, Kind, Places, Tree};

use super::error::{ExtractError, FileError};
use super::options::Options;
use super::progress::Progress;
use super::report::{Failure, Outcome};
use super::selection::Selection;
use super::staging::Staging;
use super::target::Target;
use super::walk::{Step, Walk};
use super::{dir_metadata, hardlinks, populate};
use crate::basedirs::Basedirs;
use crate::reflink::Clones;

/// What an extraction is about, and what came of it so far.
pub(super) struct Run<'e> {
    pub(super) tree: &'e Tree,
    pub(super) selection: &'e Selection,
    pub(super) basedirs: &'e Basedirs,
    pub(super) options: &'e Options,
    pub(super) progress: &'e dyn Progress,
    pub(super) staging: Staging,
    pub(super) clones: Clones,
    pub(super) threads: NonZeroUsize,
    pub(super) gives_owners: bool,
    /// How many of the selected names each inode has; empty if none has two.
    names: Vec<u32>,
    places: OnceLock<Places<'e>>,
    outcome: Mutex<Outcome>,
    /// Inodes of several names that were not made: why, unless they were left out.
    lost: Mutex<HashMap<InodeId, Option<Arc<FileError>>>>,
    stopped: Mutex<Option<ExtractError>>,
    is_stopped: AtomicBool,
}

/// Extracts what is selected of a tree into the directory `target`, which is made if it is not there. Contents come from
/// the image or from below `basedirs`.
///
/// A path whose content is missing or wrong is among the [failures](Outcome::failures) and does not end the run; nothing
/// is there under its name. Nothing is synced.
///
/// # Errors
///
/// If the target cannot be used, or something fails that has nothing to do with one path, such as a full disk. Then
/// what was made so far stays.
pub fn extract(
    tree: &Tree,
    selection: &Selection,
    basedirs: &Basedirs,
    target: &Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Outcome, ExtractError> {
    let (names, entries, bytes) = count(tree, selection);
    let target = Target::open(target, options.merge)?;
    let staging = Staging::new(target.as_fd(), options.merge);
    let staging = staging.map_err(|error| target.error("make a directory in", error))?;
    progress.begin(entries, bytes);
    let run = Run {
        tree,
        selection,
        basedirs,
        options,
        progress,
        staging,
        clones: Clones::default(),
        threads: options.thread_count(),
        gives_owners: options.gives_owners(),
        names,
        places: OnceLock::new(),
        outcome: Mutex::default(),
        lost: Mutex::default(),
        stopped: Mutex::default(),
        is_stopped: AtomicBool::new(false),
    };
    let linked = hardlinks::make(&run);
    let made = populate::fill(&run, &target);
    hardlinks::forget(&run, &linked);
    run.staging.remove_itself();
    if let Some(error) = run.take_stopped() {
        return Err(error);
    }
    dir_metadata::finish(&run, &target, &made?)?;
    let mut outcome = run.outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcome.links = outcome.links.saturating_sub(linked.len() as u64);
    outcome.failures.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(outcome)
}

/// How many of the selected names each inode has, if one has two; how many entries and bytes there are.
fn count(tree: &Tree, selection: &Selection) -> (Vec<u32>, u64, u64) {
    let mut names = vec![0u32; tree.inode_count()];
    let (mut entries, mut bytes) = (0, 0u64);
    for step in Walk::new(tree, selection) {
        let inode = match step {
            Step::Leave => continue,
            Step::Enter { directory, .. } => directory,
            Step::Entry { inode, .. } => inode,
        };
        entries += 1;
        names[inode.index()] += 1;
        let inode = tree.inode(inode);
        if names[inode.id().index()] == 1 && matches!(inode.data(), Data::Regular { .. }) {
            bytes = bytes.saturating_add(inode.size());
        }
    }
    if names.iter().all(|count| *count < 2) {
        names = Vec::new();
    }
    (names, entries, bytes)
}

impl<'e> Run<'e> {
    /// Whether an inode is made once and then linked to each of its names.
    pub(super) fn is_linked(&self, inode: InodeId) -> bool {
        self.names.get(inode.index()).is_some_and(|count| *count > 1)
    }

    /// All such inodes.
    pub(super) fn linked(&self) -> impl Iterator<Item = InodeId> {
        let inodes = self.tree.inodes().map(|inode| inode.id());
        inodes.filter(|inode| self.is_linked(*inode) && self.tree.inode(*inode).kind() != Kind::Directory)
    }

    pub(super) fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Ends the run before its end.
    pub(super) fn stop(&self, error: ExtractError) {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Why the run ended before its end, if it did.
    pub(super) fn take_stopped(&self) -> Option<ExtractError> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes note that a path is not there, or that no other will be either.
    pub(super) fn fail(&self, path: Vec<u8>, error: Arc<FileError>) {
        if error.is_general()
            && let FileError::Io { step, source } = &*error
        {
            let source = source.raw_os_error().map_or_else(|| source.kind().into(), std::io::Error::from_raw_os_error);
            return self.stop(ExtractError::Stopped { step, path, source });
        }
        self.outcome().failures.push(Failure { path, error });
    }

    /// Takes note that an inode of several names was not made.
    pub(super) fn lose(&self, inode: InodeId, error: Option<FileError>) {
        let error = error.map(Arc::new);
        if let Some(error) = error.clone().filter(|error| error.is_general()) {
            self.fail(self.path_of(inode), error);
        }
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).insert(inode, error);
    }

    /// Whether an inode was not made, and why.
    pub(super) fn lost(&self, inode: InodeId) -> Option<Option<Arc<FileError>>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).get(&inode).cloned()
    }

    /// The path of an inode's place.
    pub(super) fn path_of(&self, inode: InodeId) -> Vec<u8> {
        let mut path = Vec::new();
        self.places.get_or_init(|| self.tree.places()).push_path(inode, &mut path);
        path
    }

    /// The path of a name in a directory.
    pub(super) fn path_in(&self, directory: InodeId, name: &[u8]) -> Vec<u8> {
        let mut path = if directory == InodeId::ROOT { Vec::new() } else { self.path_of(directory) };
        path.push(b'/');
        path.extend_from_slice(name);
        path
    }
}
