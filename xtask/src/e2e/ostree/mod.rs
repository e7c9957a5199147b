//! Debian's ostree on our library: its commits, its own tests, its deployments and the program that mounts them at
//! boot.

mod guest;

use anyhow::Result;

use super::chroot::Chroot;
use super::sid;
use crate::artifacts;
use crate::test::report::Suite;

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Also the other installed tests of ostree that write images, which take minutes.
    #[arg(long)]
    pub(super) all: bool,
}

/// The checks: `$1` is `all` for the long form with the tests `$2`, `$3` is `packaged` where the library is the
/// system's own.
pub(super) const SCRIPT: &str = include_str!("check.sh");

/// Path at which the scripts look for our library.
const LIBRARY: &str = "opt/composefs/libcomposefs.so.1";

/// Tests of ostree 2026.4 in which `lcfs_write_to` is called, besides the two that are about composefs.
pub(super) const WRITERS: &[&str] = &[
    "test-admin-boot-counting-tries.sh",
    "test-admin-deploy-2.sh",
    "test-admin-deploy-bootid-gc.sh",
    "test-admin-deploy-bootprefix.sh",
    "test-admin-deploy-clean.sh",
    "test-admin-deploy-emptyetc.sh",
    "test-admin-deploy-etcmerge-cornercases.sh",
    "test-admin-deploy-karg.sh",
    "test-admin-deploy-nomerge.sh",
    "test-admin-deploy-grub2.sh",
    "test-admin-deploy-switch.sh",
    "test-admin-deploy-none.sh",
    "test-admin-deploy-syslinux.sh",
    "test-admin-deploy-uboot.sh",
    "test-admin-deploy-whiteouts.sh",
    "test-admin-deploy-var.sh",
    "test-admin-gpg.sh",
    "test-admin-instutil-set-kargs.sh",
    "test-admin-kargs.sh",
    "test-admin-pull-deploy-commit.sh",
    "test-admin-pull-deploy-split.sh",
    "test-admin-stateroot.sh",
    "test-admin-upgrade-endoflife.sh",
    "test-admin-upgrade-not-backwards.sh",
    "test-admin-upgrade-systemd-update.sh",
    "test-admin-upgrade-unconfigured.sh",
    "test-osupdate-dtb.sh",
    "test-sysroot-c",
    "test-no-initramfs.sh",
    "test-sysroot.js",
];

/// The system, with our library where the scripts look for it, and our program.
pub(super) fn set_up() -> Result<Chroot> {
    let chroot = sid::set_up()?.kept_copy("ostree")?;
    chroot.install(&artifacts::library()?, LIBRARY)?;
    chroot.install_ours()?;
    Ok(chroot)
}

/// Runs `cargo xtask e2e ostree`.
pub(super) fn run(options: &Options) -> Result<Vec<Suite>> {
    let chroot = set_up()?;
    let tests = WRITERS.join(" ");
    let long = if options.all { "all" } else { "" };
    let mut suites = chroot.suite("ostree", SCRIPT, &[long, &tests, ""])?;
    suites.extend(guest::run(&chroot)?);
    Ok(suites)
}
