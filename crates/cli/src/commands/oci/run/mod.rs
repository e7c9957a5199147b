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
mod mapped_ids;
mod overlay;
mod program;
mod remove_tree;
mod sizes;
mod supervise;
mod terminal_size;
mod volume;
mod watcher;
mod write_bundle;

use std::path::Path;

use anyhow::{Context as _, ensure};
use libcomposefs_oci::runtime::ImageProcess;
use libcomposefs_sys::mount::unmount;
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

/// The outcome of mounting the root of an image.
pub(crate) enum RootMount {
    /// It is mounted.
    Done,
    /// This is another process, which has served the mount until it ended.
    Served(anyhow::Result<()>),
}

/// Runs the process of an image and returns its exit status: 128 plus the number of a signal that ended it. The process
/// must be root, of the host or of a user namespace.
///
/// `config` is the configuration of the image. `mount_root` mounts the root of the image, read-only, at the directory
/// that it is given, and may return in another process that serves it, which then returns 0; it is called in the mount
/// namespace of the container. The process must not have other threads: they would take the signals of the command,
/// and stay in the mount namespace of the host.
///
/// # Errors
///
/// Everything that prevents the start of the command: [`status_of`] has the exit status for the error.
pub(crate) fn run_container(
    args: &RunArgs,
    config: &[u8],
    mount_root: impl FnOnce(&Path) -> anyhow::Result<RootMount>,
) -> anyhow::Result<u8> {
    let options = args.options()?;
    let image = ImageProcess::parse(config)?;
    let host = HostFacts::gather(args.container.cgroups)?;
    let program = program::find(args.container.runtime.as_deref(), std::env::var_os("PATH"))?;
    let is_users = host.mapped.is_some();
    let has_limits = options.limits.memory.is_some() || options.limits.cpu_quota.is_some();
    ensure!(!is_users || !has_limits, "--memory and --cpus need root: the control groups of the host belong to it");
    enter_private_mounts().context("cannot create a mount namespace")?;
    let place = is_users.then(ContainerChanges::on_disk).transpose()?;
    let bundle = OciBundle::in_memory(host.id(), place.as_ref().map(ContainerChanges::path).as_deref())?;
    if let RootMount::Served(served) = mount_root(&bundle.lower())? {
        // The directory is removed by the other process.
        std::mem::forget(place);
        return served.map(|()| 0);
    }
    // From here on a signal waits until the runtime takes it.
    let relay = SignalRelay::block().context("cannot block signals")?;
    let changes = changes::mount_root(&bundle, options.read_only, is_users)?;
    bundle.write(&image, &options, &host)?;
    let container = Container { bundle: &bundle, changes: changes.as_ref(), host: &host, program: &program };
    let ended = supervise::run(&relay, &container, args);
    // The container is gone, and nothing uses its root. If this fails, the mounts end with the process.
    let _ = bundle.unmount();
    if place.is_some() {
        let _ = unmount(bundle.path(), true);
    }
    drop((changes, place));
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
