//! Inodes with several names. They are made first, in the staging directory, so that each name is a link, in whatever
//! order the names are made.

use libcomposefs_image::tree::InodeId;

use super::context::ExtractContext;
use libcomposefs_content::workers;

/// Name of such an inode in the staging directory.
pub(super) fn staged_name(inode: InodeId) -> String {
    format!("l{}", inode.index())
}

/// Makes the inodes. Returns those that were made.
pub(super) fn make(run: &ExtractContext<'_>) -> Vec<InodeId> {
    let all: Vec<InodeId> = run.linked().collect();
    if all.is_empty() {
        return all;
    }
    let work = |inode: InodeId, buffer: &mut Vec<u8>| {
        if run.is_stopped() {
            return;
        }
        match run.make_staged(inode, &staged_name(inode), buffer) {
            Ok(true) => {}
            Ok(false) => run.lose(inode, None),
            Err(error) => run.lose(inode, Some(error)),
        }
    };
    workers::run(run.threads, work, |sender| all.iter().for_each(|inode| sender.send(*inode)));
    all.into_iter().filter(|inode| run.lost(*inode).is_none()).collect()
}

/// Removes their names in the staging directory, once all others exist.
pub(super) fn forget(run: &ExtractContext<'_>, made: &[InodeId]) {
    for inode in made {
        // A name that cannot be removed is reported when the directory cannot be removed.
        let _ = run.staging.remove(&staged_name(*inode));
    }
}
