//! Making the directories and the files in them.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use libcomposefs_image::tree::{InodeId, Kind};

use super::context::ExtractContext;
use super::dir_stack::{DirKey, DirStack};
use super::error::{ExtractError, FileError};
use super::hardlinks::staged_name;
use super::target::TargetDir;
use super::walk::{SelectionWalk, WalkStep};
use libcomposefs_content::workers::{self, Sender};

/// A directory that was entered, in the order of entering, so that it can be recognised later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    /// Device and inode number; `None` if the directory could not be made.
    pub(super) key: Option<DirKey>,
    /// Number of directories that were entered when it was left.
    pub(super) end: usize,
}

/// Some entries of one directory.
struct EntryJob<'t> {
    directory: Arc<OwnedFd>,
    id: InodeId,
    entries: Vec<(&'t [u8], InodeId)>,
}

/// Number of entries in one job.
const BATCH: usize = 32;

/// The state of a directory between entering and leaving it.
struct DirState<'t> {
    id: InodeId,
    /// Set if the directory was made here, so that no other process can have an entry in it.
    is_new: bool,
    number: usize,
    entries: Vec<(&'t [u8], InodeId)>,
}

/// Makes all selected entries. Returns the directories, whose metadata is set later.
pub(super) fn fill(run: &ExtractContext<'_>, target: &TargetDir) -> Result<Vec<Made>, ExtractError> {
    let work = |job: EntryJob<'_>, buffer: &mut Vec<u8>| {
        for (name, inode) in &job.entries {
            if run.is_stopped() {
                return;
            }
            let done = run.make_entry(job.directory.as_fd(), name, *inode, buffer);
            if let Err(error) = done {
                run.fail(run.path_in(job.id, name), error);
            }
            run.progress.entries(1);
        }
    };
    workers::run(run.threads, work, |sender| go_down(run, target, sender))
}

fn go_down<'t>(
    run: &ExtractContext<'t>,
    target: &TargetDir,
    sender: &mut Sender<'_, EntryJob<'t>, Vec<u8>>,
) -> Result<Vec<Made>, ExtractError> {
    let own = |id, is_new, number| DirState { id, is_new, number, entries: Vec::new() };
    let root = DirStack::new(target.as_fd(), own(InodeId::ROOT, false, 0));
    let mut descent = root.map_err(|error| target.error("open", std::io::Error::other(error)))?;
    let key = DirKey::of(target.as_fd()).map_err(|errno| target.error("stat", errno))?;
    let mut made = vec![Made { key: Some(key), end: 0 }];
    let mut walk = SelectionWalk::new(run.tree, run.selection);
    while let Some(step) = walk.next().filter(|_| !run.is_stopped()) {
        match step {
            WalkStep::Enter { name, directory } => {
                let (parent, parent_is_new) = (descent.own().id, descent.own().is_new);
                let there = run.staging.make_directory(descent.directory().as_fd(), parent_is_new, name);
                let number = made.len();
                let entered = there.and_then(|(there, is_new)| descent.enter(there, own(directory, is_new, number)));
                made.push(Made { key: entered.as_ref().ok().copied(), end: number + 1 });
                run.progress.entries(1);
                if let Err(error) = entered {
                    run.fail(run.path_in(parent, name), Arc::new(error));
                    walk.leave_out();
                    walk.next();
                }
            }
            WalkStep::Entry { name, inode } => {
                descent.own().entries.push((name, inode));
                if descent.own().entries.len() == BATCH {
                    send(&mut descent, sender);
                }
            }
            WalkStep::Leave => {
                send(&mut descent, sender);
                let own = descent.own();
                let (id, number) = (own.id, own.number);
                made[number].end = made.len();
                if let Err(error) = descent.leave() {
                    run.stop(cannot_go_back(run, id, error));
                }
            }
        }
    }
    Ok(made)
}

fn send<'t>(descent: &mut DirStack<DirState<'t>>, sender: &mut Sender<'_, EntryJob<'t>, Vec<u8>>) {
    let entries = std::mem::take(&mut descent.own().entries);
    if !entries.is_empty() {
        sender.send(EntryJob { directory: Arc::clone(descent.directory()), id: descent.own().id, entries });
    }
}

/// Builds the error for directories above that cannot be reached any more.
pub(super) fn cannot_go_back(run: &ExtractContext<'_>, directory: InodeId, error: FileError) -> ExtractError {
    ExtractError::Stopped { step: "leave", path: run.path_of(directory), source: std::io::Error::other(error) }
}

impl ExtractContext<'_> {
    fn make_entry(
        &self,
        directory: rustix::fd::BorrowedFd<'_>,
        name: &[u8],
        inode: InodeId,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Arc<FileError>> {
        if self.is_linked(inode) {
            match self.lost(inode) {
                Some(None) => return Ok(()),
                Some(Some(error)) => return Err(error),
                None => self.staging.link(&staged_name(inode), directory, name)?,
            }
            self.outcome().links += 1;
            return Ok(());
        }
        if self.tree.inode(inode).kind() == Kind::Regular {
            let file = self.make_file(inode, buffer)?;
            self.staging.place_file(file, directory, name)?;
            self.outcome().files += 1;
            return Ok(());
        }
        let staged = self.staging.free_name();
        if self.make_node(inode, &staged)? {
            self.staging.place(&staged, directory, name)?;
            self.outcome().others += 1;
        }
        Ok(())
    }

    /// Makes an inode with several names under its name in the staging directory. Returns false if it was left out.
    pub(super) fn make_staged(&self, inode: InodeId, staged: &str, buffer: &mut Vec<u8>) -> Result<bool, FileError> {
        if self.tree.inode(inode).kind() != Kind::Regular {
            let is_made = self.make_node(inode, staged)?;
            self.outcome().others += u64::from(is_made);
            return Ok(is_made);
        }
        let file = self.make_file(inode, buffer)?;
        self.staging.place_file(file, self.staging.as_fd(), staged.as_bytes())?;
        self.outcome().files += 1;
        Ok(true)
    }
}
