//! Warning about a mount whose files can be mounted but not read, as its object directories have no fs-verity.

use std::fs::File;
use std::path::Path;

use libcomposefs_mount::{Mounted, PathOrFd, Plan, Verity};
use libcomposefs_sys::verity::{Measurement, measure};

/// Warns about each object directory of a verified mount whose file system does not support fs-verity.
///
/// overlayfs does not look at the objects until they are opened: the mount succeeds, and then every read fails with
/// `EIO` (`ovl_validate_verity` in `fs/overlayfs/util.c`). Without `mounted` the plan was only printed.
pub(super) fn print(program: &str, plan: &Plan, mounted: Option<&Mounted>) {
    let verity = mounted.map_or(plan.options().verity(), |mounted| mounted.verity);
    for dir in without_verity(verity, &plan.options().basedirs) {
        tell!(
            "{program}: warning: files with objects in {} cannot be read: the mount verifies them, and the file system \
             does not support fs-verity",
            dir.display()
        );
        tell!(
            "remedy: `composefs doctor {}` shows what is missing; verity_check=0 mounts without verification",
            dir.display()
        );
    }
}

/// Returns the directories without fs-verity, if the mount verifies its files.
fn without_verity(verity: Verity, dirs: &[PathOrFd]) -> Vec<&Path> {
    if verity == Verity::Off {
        Vec::new()
    } else {
        dirs.iter().filter_map(PathOrFd::path).filter(|dir| lacks_verity(dir)).collect()
    }
}

/// Returns true if the file system of a directory certainly has no fs-verity. ext4, f2fs and btrfs answer `ENODATA` for
/// a directory: fs-verity is available, and not enabled on it.
fn lacks_verity(dir: &Path) -> bool {
    // Object directories that cannot be opened are reported by the mount itself.
    File::open(dir).and_then(measure).is_ok_and(|measurement| measurement == Measurement::Unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_verified_mounts_need_fs_verity() {
        // sysfs has no fs-verity anywhere.
        let dirs = [PathOrFd::from("/sys"), PathOrFd::from("/nonexistent")];
        for verity in [Verity::Check, Verity::Require, Verity::RequireIfSupported] {
            assert_eq!(without_verity(verity, &dirs), [Path::new("/sys")], "{verity:?}");
        }
        assert!(without_verity(Verity::Off, &dirs).is_empty());
    }
}
