//! The system that podman and LXC share.

use anyhow::{Context as _, Result};

use super::chroot::{Chroot, ChrootRecipe};
use crate::minbase;

const RECIPE: ChrootRecipe = ChrootRecipe {
    name: "containers",
    // It has no mkcomposefs of its own: the one that is found is ours.
    suite: "trixie",
    packages: &[
        "podman",
        "buildah",
        "skopeo",
        "crun",
        "containers-storage",
        "docker-registry",
        "busybox-static",
        "attr",
        "acl",
        "libcap2-bin",
        "util-linux",
        "util-linux-extra",
        "lxc",
        "squashfs-tools",
        "python3",
        "e2fsprogs",
        "openssh-client",
    ],
};

/// The system, with a small Debian at /srv/rootfs.
pub(super) fn set_up() -> Result<Chroot> {
    let chroot = RECIPE.set_up()?;
    let rootfs = minbase::set_up()?.context("a chroot is built by root")?;
    chroot.copy_once(&rootfs, "srv/rootfs")?;
    Ok(chroot)
}

/// The same, with our program under its names.
pub(super) fn with_ours() -> Result<Chroot> {
    let chroot = set_up()?;
    chroot.install_ours()?;
    Ok(chroot)
}
