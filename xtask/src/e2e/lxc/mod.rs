//! Containers of LXC whose root is an overlay on a composefs mount.

use anyhow::Result;

use super::containers;
use crate::test::report::Suite;

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Options {}

/// Runs `cargo xtask e2e lxc`.
pub(super) fn run(_options: &Options) -> Result<Vec<Suite>> {
    containers::with_ours()?.suite("lxc", include_str!("check.sh"), &[])
}
