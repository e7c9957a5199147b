//! The extraction itself: its steps in order.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, OnceLock};

use libcomposefs_content::Progress;
use libcomposefs_content::mutex::into_inner;
use libcomposefs_image::tree::{Data, Tree};

use super::context::ExtractContext;
use super::error::ExtractError;
use super::options::Options;
use super::report::ExtractReport;
use super::selection::Selection;
use super::staging::Staging;
use super::target::TargetDir;
use super::walk::{SelectionWalk, WalkStep};
use super::{dir_metadata, hardlinks, populate};
use crate::basedirs::Basedirs;
use crate::reflink::ReflinkSupport;

/// Extracts the selected paths of a tree into the directory `target`, which is created if it does not exist. Contents
/// come from the image or from `basedirs`.
///
/// A path whose content is missing or wrong is added to the [failures](ExtractReport::failures) and is not created;
/// the extraction continues. Nothing is synced.
///
/// # Errors
///
/// The target cannot be used, or an error concerns more than one path, such as a full disk. Files made until then
/// stay.
pub fn extract(
    tree: &Tree,
    selection: &Selection,
    basedirs: &Basedirs,
    target: &Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<ExtractReport, ExtractError> {
    let (names, entries, bytes) = count(tree, selection);
    let target = TargetDir::open(target, options.merge)?;
    let staging = Staging::new(target.as_fd(), options.merge);
    let staging = staging.map_err(|error| target.error("make a directory in", error))?;
    progress.begin(entries, bytes);
    let run = ExtractContext {
        tree,
        selection,
        basedirs,
        options,
        progress,
        staging,
        clones: ReflinkSupport::default(),
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
    let mut outcome = into_inner(run.outcome);
    outcome.links = outcome.links.saturating_sub(linked.len() as u64);
    outcome.failures.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(outcome)
}

/// Returns the number of selected names of each inode, if an inode has two, and the number of entries and bytes.
fn count(tree: &Tree, selection: &Selection) -> (Vec<u32>, u64, u64) {
    let mut names = vec![0u32; tree.inode_count()];
    let (mut entries, mut bytes) = (0, 0u64);
    for step in SelectionWalk::new(tree, selection) {
        let inode = match step {
            WalkStep::Leave => continue,
            WalkStep::Enter { directory, .. } => directory,
            WalkStep::Entry { inode, .. } => inode,
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
