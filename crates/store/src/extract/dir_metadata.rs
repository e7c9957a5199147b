//! Sets the metadata of directories last, since creating entries changes the mtime and needs write permission.

use std::os::fd::AsFd;
use std::sync::Arc;

use libcomposefs_image::tree::InodeId;
use rustix::fs::{Mode, openat};

use super::context::ExtractContext;
use super::dir_stack::{DirKey, DirStack};
use super::error::{ExtractError, FileError};
use super::metadata::MetadataTarget;
use super::populate::{Made, cannot_go_back};
use super::staging::OPEN_DIRECTORY;
use super::target::TargetDir;
use super::walk::{SelectionWalk, WalkStep};

/// Walks the tree again, and sets the metadata of each directory when leaving it.
pub(super) fn finish(run: &ExtractContext<'_>, target: &TargetDir, made: &[Made]) -> Result<(), ExtractError> {
    let root = DirStack::new(target.as_fd(), InodeId::ROOT);
    let mut descent = root.map_err(|error| target.error("open", std::io::Error::other(error)))?;
    let mut walk = SelectionWalk::new(run.tree, run.selection);
    let mut next = 1;
    while let Some(step) = walk.next() {
        match step {
            WalkStep::Entry { .. } => {}
            WalkStep::Enter { name, directory } => {
                let Some(Made { key, end }) = made.get(next).copied() else { break };
                next += 1;
                let entered = enter(&mut descent, name, directory, key);
                if !matches!(entered, Ok(true)) {
                    next = end;
                    walk.leave_out();
                    walk.next();
                }
                if let Err(error) = entered {
                    run.fail(run.path_in(*descent.own(), name), Arc::new(error));
                }
            }
            WalkStep::Leave => {
                let id = *descent.own();
                // Leave first: without search permission on this directory `..` could not be opened.
                let (directory, _) = descent.leave().map_err(|error| cannot_go_back(run, id, error))?;
                match run.give_metadata(MetadataTarget::Open(directory.as_fd()), id) {
                    Ok(()) => run.outcome().directories += 1,
                    Err(error) => run.fail(run.path_of(id), Arc::new(error)),
                }
            }
        }
    }
    match run.take_stopped() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Enters a directory that was made. Returns false if it was not made.
fn enter(
    descent: &mut DirStack<InodeId>,
    name: &[u8],
    directory: InodeId,
    key: Option<DirKey>,
) -> Result<bool, FileError> {
    let Some(key) = key else { return Ok(false) };
    let found = openat(descent.directory(), name, OPEN_DIRECTORY, Mode::empty());
    // If it is something else now, it must not be changed.
    let found = found.map_err(|_| FileError::Moved)?;
    if DirKey::of(found.as_fd()).map_err(FileError::io("stat"))? != key {
        return Err(FileError::Moved);
    }
    descent.enter(found, directory)?;
    Ok(true)
}
