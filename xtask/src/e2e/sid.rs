//! The system that ostree and the packages share: Debian's own ostree and composefs, in which nothing is changed.

use anyhow::Result;

use super::chroot::{Chroot, ChrootRecipe};

const RECIPE: ChrootRecipe = ChrootRecipe {
    name: "sid",
    suite: "sid",
    packages: &[
        "ostree",
        "ostree-tests",
        "ostree-boot",
        "composefs",
        "libcomposefs-dev",
        "attr",
        "e2fsprogs",
        "python3",
        "xz-utils",
        "mount",
        "gcc",
        "libc6-dev",
        "pkgconf",
        "man-db",
        "groff-base",
        "bash-completion",
    ],
};

/// Builds the system if it is missing.
pub(super) fn set_up() -> Result<Chroot> {
    RECIPE.set_up()
}
