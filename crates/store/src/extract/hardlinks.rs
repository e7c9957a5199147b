//! Inodes of several names: made first, in the directory of our own, so that every name is a link, whoever comes first.

use libcomposefs_image::tree::InodeId;

use super::context::ExtractContext;
use libcomposefs_content::workers;

/// The name under which such an inode waits.
pub(super) fn staged_name(inode: InodeId) -> String {
    format!("l{}", inode.index())
}

/// Makes them; gives back those that are there.
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

/// Takes their first names away, when they have all others.
pub(super) fn forget(run: &ExtractContext<'_>, made: &[InodeId]) {
    for inode in made {
        // What is left is shown when the directory cannot be removed.
        let _ = run.staging.remove(&staged_name(*inode));
    }
}
