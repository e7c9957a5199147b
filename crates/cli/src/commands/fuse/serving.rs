//! Serving a file system: mounting, going to the background, and serving until the end.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, anyhow, bail, ensure};
use libcomposefs_fuse::{ContentDamage, FuseError, FuseSession, MountRequest, MountedBy, ServedFileSystem};
use libcomposefs_sys::background::{self, BackgroundPart, Report};

use super::served_place::{ServedPlace, device_number, unmount};
use crate::error_text;
use crate::rlimits;

/// Failures that a server in the foreground prints at most: a damaged disk must not fill a log.
const MAX_REPORTS: usize = 100;

/// The part of the process that [`run_in_background`] returned in.
pub(crate) enum ServicePart {
    /// The part that the caller of the program waits for; the file system is mounted.
    Caller(MountedBy),
    /// The server, which has ended.
    Server(anyhow::Result<()>),
}

/// Returns the number of threads that serve a mount: one for each CPU, but two at least, as some wait for the disk.
pub(crate) fn default_threads() -> NonZeroUsize {
    let few = NonZeroUsize::MIN.saturating_add(1);
    rlimits::threads(None).clamp(few, few.saturating_add(6))
}

/// Returns the error with its remedy.
pub(super) fn service_error(error: &FuseError) -> anyhow::Error {
    match error.remedy() {
        Some(remedy) => error_text::with_remedy(error, remedy),
        None => anyhow!("{error}"),
    }
}

/// Makes the mount point independent of the working directory.
pub(crate) fn find_target(mount: &mut MountRequest) -> anyhow::Result<()> {
    mount.target = find_target_directory(&mount.target)?;
    Ok(())
}

/// Returns the absolute path of a mount point, which must be a directory.
pub(crate) fn find_target_directory(target: &Path) -> anyhow::Result<PathBuf> {
    let found = target.canonicalize().with_context(|| format!("cannot mount at {}", target.display()))?;
    ensure!(found.is_dir(), "cannot mount at {}: it is no directory", target.display());
    Ok(found)
}

/// Makes an object directory independent of the working directory, and finds it missing before anything is mounted.
pub(crate) fn find_object_directory(directory: &mut PathBuf) -> anyhow::Result<()> {
    let path = directory.canonicalize();
    *directory = path.with_context(|| format!("cannot open the object directory {}", directory.display()))?;
    Ok(())
}

/// Returns a function that prints failures, with the name of the program.
pub(crate) fn damage_report(program: &'static str) -> impl Fn(&ContentDamage) + Send + Sync {
    let count = AtomicUsize::new(0);
    move |damage| match count.fetch_add(1, Ordering::Relaxed) {
        MAX_REPORTS => tell!("{program}: more failures are not printed"),
        number if number < MAX_REPORTS => tell!("{program}: {damage}"),
        _ => {}
    }
}

/// Mounts, and serves until the file system is unmounted.
pub(crate) fn run_here(
    program: &'static str,
    mount: &MountRequest,
    server: &impl ServedFileSystem,
    threads: NonZeroUsize,
) -> anyhow::Result<()> {
    let place = ServedPlace::mount(program, mount).map_err(|error| service_error(&error))?;
    serve(server, place, threads, |_| Ok(()))
}

/// Mounts, and serves in this process, which is that of the server already. `ready` is called before the caller of the
/// program continues; if it fails, the file system is unmounted again.
pub(crate) fn run_as_server(
    program: &'static str,
    mount: &MountRequest,
    server: &impl ServedFileSystem,
    threads: NonZeroUsize,
    report: Report,
    ready: impl FnOnce(MountedBy) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let place = ServedPlace::mount(program, mount).map_err(|error| service_error(&error))?;
    let number = device_number(&mount.target).ok();
    serve(server, place, threads, |mounted_by| {
        // What is served by no process must not stay mounted.
        ready(mounted_by).inspect_err(|_| drop(unmount(mounted_by, &mount.target, number)))?;
        Ok(report.succeed()?)
    })
}

/// Mounts, and serves in a process of its own.
pub(crate) fn run_in_background(
    program: &'static str,
    mount: &MountRequest,
    server: &impl ServedFileSystem,
    threads: NonZeroUsize,
) -> anyhow::Result<ServicePart> {
    let place = ServedPlace::mount(program, mount).map_err(|error| service_error(&error))?;
    let part = background::split().context("cannot start a process for the server");
    match part.inspect_err(|_| drop(place.unmount()))? {
        BackgroundPart::Background(report) => {
            Ok(ServicePart::Server(serve(server, place, threads, |_| Ok(report.succeed()?))))
        }
        BackgroundPart::Foreground(waiting) => {
            if waiting.wait()?.is_some() {
                let _ = place.unmount();
                bail!("the server of {} ended before it was ready", mount.target.display());
            }
            Ok(ServicePart::Caller(place.mounted_by()))
        }
    }
}

/// Gives up what the server does not need. A process of the same user that could trace it could lie.
pub(crate) fn harden(mounted_by: MountedBy) {
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    if mounted_by == MountedBy::Kernel {
        // Not for users, whose `fusermount3` is set-user-ID.
        let _ = rustix::thread::set_no_new_privs(true);
    }
}

fn serve(
    server: &impl ServedFileSystem,
    place: ServedPlace,
    threads: NonZeroUsize,
    ready: impl FnOnce(MountedBy) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mounted_by = place.mounted_by();
    let device = place.end_on_signals()?;
    let session = FuseSession::begin(device, server).map_err(|error| anyhow!("{error}"))?;
    harden(mounted_by);
    ready(mounted_by)?;
    session.serve(server, threads).map(drop).map_err(|error| anyhow!("{error}"))
}
