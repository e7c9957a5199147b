//! `composefs oci run` and `composefs oci bundle`: start containers with crun or runc on a mounted image.
//!
//! ```text
//! mount_root --> lower/ --overlay: changes--> rootfs/ --crun run--> the command
//! passwd, group, options, host --libcomposefs_oci::runtime--> config.json
//! ```
//!
//! `run` does all this in a mount namespace of its own: its mounts, and the bundle in a file system in memory, end with
//! the process, however it ends. Only the changes of the container are on disk, and removed afterwards.

mod accounts;
mod args;
mod bundle;
mod changes;
mod failure;
mod generated;
mod host;
mod overlay;
mod program;
mod remove_tree;
mod sizes;
mod supervise;
mod volume;
mod write_bundle;

use std::path::Path;

use anyhow::{Context as _, ensure};
use libcomposefs_oci::runtime::ImageProcess;
use libcomposefs_sys::namespace::enter_private_mounts;
use libcomposefs_sys::signal_relay::SignalRelay;
use rustix::process::geteuid;

pub(crate) use self::args::{BundleArgs, RunArgs};
use self::bundle::OciBundle;
pub(crate) use self::changes::ContainerChanges;
pub(crate) use self::failure::{CANNOT_EXECUTE, CANNOT_START, NOT_FOUND, status_of};
use self::host::HostFacts;
use self::supervise::Container;
pub(crate) use self::write_bundle::write_bundle;

/// Runs the process of an image and returns its exit status: 128 plus the number of a signal that ended it.
///
/// `config` is the configuration of the image. `mount_root` mounts the root of the image, read-only, at the directory
/// that it is given; it is called in the mount namespace of the container. The process must not have other threads:
/// they would take the signals of the command, and stay in the mount namespace of the host.
///
/// # Errors
///
/// Everything that prevents the start of the command: [`status_of`] has the exit status for the error.
pub(crate) fn run_container(
    args: &RunArgs,
    config: &[u8],
    mount_root: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<u8> {
    require_root("oci run")?;
    let options = args.options()?;
    let image = ImageProcess::parse(config)?;
    let host = HostFacts::gather(args.container.cgroups)?;
    let program = program::find(args.container.runtime.as_deref(), std::env::var_os("PATH"))?;
    // From here on a signal waits until the runtime takes it.
    let relay = SignalRelay::block().context("cannot block signals")?;
    enter_private_mounts().context("cannot create a mount namespace")?;
    let bundle = OciBundle::in_memory(host.id())?;
    mount_root(&bundle.lower())?;
    let changes = changes::mount_root(&bundle, options.read_only)?;
    bundle.write(&image, &options, &host)?;
    let container = Container { bundle: &bundle, changes: changes.as_ref(), host: &host, program: &program };
    let ended = supervise::run(&relay, &container, args);
    // The container is gone, and nothing uses its root. If this fails, the mounts end with the process.
    let _ = bundle.unmount();
    drop(changes);
    ended
}

fn require_root(command: &str) -> anyhow::Result<()> {
    ensure!(
        geteuid().is_root(),
        "{command} needs root: as another user, run podman on a mount of composefs oci mount \
         (podman run --rootfs DIR:O)"
    );
    Ok(())
}
