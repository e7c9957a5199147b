//! A lazy mount by the kernel as a service of systemd, which is the holder: it keeps the devices of the layers and what
//! is known about the image, and starts the worker again when it ends.
//!
//! The manager has the devices before the overlay is attached. From then on a process of the service may end at any
//! moment: the next one gets the devices, has the lookups without an answer sent again, and serves them.

use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::exit;
use std::thread::Builder;

use anyhow::{Context as _, anyhow};
use libcomposefs_fuse::{FuseLayer, FuseSession, LookupLayer, MountedBy, NoObject};
use libcomposefs_mount::{DetachedMount, KernelFeatures};
use libcomposefs_repo::Repository;
use libcomposefs_sys::service_manager::{ServiceManager, take_descriptors};
use rustix::fs::{CWD, fstat, stat};
use rustix::mount::{MoveMountFlags, move_mount};

use super::LazyMount;
use super::overlay::{objects_of, planned};
use super::setup::{FetchedImage, SetupPart, fetch};
use super::worker::{WorkerStart, WorkerTask};
use crate::commands::fuse::{device_number, harden};
use crate::commands::mount::{MountPart, with_remedy};
use crate::commands::remote::{LazyPlace, LazyRestarts, make_file};
use crate::commands::repository::tell_of_waiting;
use crate::error_text;
use crate::rlimits;

/// Names of the descriptors that the manager keeps. The overlay is among them until it is attached.
const TRIGGER: &str = "trigger";
const REASON: &str = "reason";
const STATE: &str = "state";
const OVERLAY: &str = "overlay";

/// The devices, and what is known about the image.
struct ServiceDescriptors {
    trigger: OwnedFd,
    reason: OwnedFd,
    state: File,
    /// Missing once the overlay is attached.
    overlay: Option<OwnedFd>,
}

/// What was found among the descriptors that the manager kept.
enum FoundState {
    /// The mount of a process before.
    Mount(ServiceDescriptors),
    /// The mount of a process before is unmounted.
    Unmounted,
    Nothing,
}

/// Makes the mount, or takes it over from a process before, and serves it.
pub(super) fn run(mount: &LazyMount<'_>) -> anyhow::Result<MountPart> {
    rlimits::allow_open_files();
    let manager = manager()?;
    match found()? {
        FoundState::Mount(descriptors) => go_on(mount, &manager, descriptors),
        FoundState::Unmounted => {
            forget_all(&manager);
            manager.ready().context("cannot reach the service manager")?;
            Ok(MountPart::Caller)
        }
        FoundState::Nothing => {
            forget_all(&manager);
            begin(mount, &manager)
        }
    }
}

fn manager() -> anyhow::Result<ServiceManager> {
    let Some(name) = env::var_os("NOTIFY_SOCKET") else {
        return Err(error_text::with_remedy(
            "--service is for a process that systemd starts, and the variable NOTIFY_SOCKET is not set",
            "use the unit composefs-lazy@.service, or leave --service out",
        ));
    };
    ServiceManager::connect(&name).context("cannot connect to the service manager")
}

fn found() -> anyhow::Result<FoundState> {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(FoundState::Nothing);
    }
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let kept = take_descriptors(number("LISTEN_FDS").unwrap_or(0), &names);
    let mut kept: BTreeMap<_, _> = kept.context("cannot take what the service manager kept")?.into_iter().collect();
    let overlay = kept.remove(OVERLAY);
    Ok(match (kept.remove(TRIGGER), kept.remove(REASON), kept.remove(STATE)) {
        (Some(trigger), Some(reason), Some(state)) => {
            FoundState::Mount(ServiceDescriptors { trigger, reason, state: state.into(), overlay })
        }
        // The manager closes devices whose file system is unmounted.
        (None, None, Some(_)) if overlay.is_none() => FoundState::Unmounted,
        // A process ended before the manager had all, and thus before it mounted.
        _ => FoundState::Nothing,
    })
}

fn forget_all(manager: &ServiceManager) {
    for name in [TRIGGER, REASON, STATE, OVERLAY] {
        // What stays is closed when the service ends.
        let _ = manager.forget(name);
    }
}

/// Takes the mount over from a process before.
fn go_on(
    mount: &LazyMount<'_>,
    manager: &ServiceManager,
    descriptors: ServiceDescriptors,
) -> anyhow::Result<MountPart> {
    let ServiceDescriptors { trigger, reason, mut state, overlay } = descriptors;
    let FetchedImage { document, index } = FetchedImage::read(&mut state).context("cannot read the kept state")?;
    let target = &mount.args.target;
    if let Some(overlay) = overlay {
        let of_overlay = fstat(&overlay).context("cannot look at the overlay that was kept")?.st_dev;
        if stat(target).with_context(|| format!("cannot open {}", target.display()))?.st_dev != of_overlay {
            move_mount(&overlay, c"", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
                .with_context(|| format!("cannot mount at {}", target.display()))?;
        }
        manager.forget(OVERLAY).context("cannot reach the service manager")?;
    }
    let repository = mount.selected.open()?.telling(tell_of_waiting);
    let path = repository.path().canonicalize().context("cannot find the repository")?;
    let objects = objects_of(&repository, &document.image.digest)?;
    let task = WorkerTask::new(mount, path, document, index, objects);
    let sessions = [FuseSession::resume(trigger), FuseSession::resume(reason)];
    let _lease = task.lease()?;
    let mut place = LazyPlace::new().context("cannot make the socket for `composefs status`")?;
    let listener = place.listener().try_clone().context("cannot make the socket for `composefs status`")?;
    if let Ok(number) = device_number(target) {
        let _ = place.take(number, &task.facts(target));
    }
    manager.ready().context("cannot reach the service manager")?;
    serve(&task, manager, sessions, &listener, || Ok(place))
}

/// Fetches the image, and mounts it.
fn begin(mount: &LazyMount<'_>, manager: &ServiceManager) -> anyhow::Result<MountPart> {
    let image = match fetch(mount)? {
        SetupPart::Fetcher(result) => return Ok(MountPart::Server(result)),
        SetupPart::Caller(image) => image,
    };
    let path = mount.selected.open()?.path().canonicalize().context("cannot find the repository")?;
    let repository = Repository::open(&path)?.telling(tell_of_waiting);
    let digest = image.document.image.digest;
    let mut state = make_file().context("cannot make a temporary file")?;
    image.write(&mut state).context("cannot write the state that the service manager keeps")?;
    let FetchedImage { document, index } = *image;
    let task = WorkerTask::new(mount, path, document, index, objects_of(&repository, &digest)?);
    let _lease = task.lease()?;
    let arrived = repository.arrived_objects()?;
    let layer = || FuseLayer::new().map_err(|error| error_text::with_remedy(&error, "use --via=fuse"));
    let ((trigger_device, trigger), (reason_device, reason)) = (layer()?, layer()?);
    let open = |device: &OwnedFd| device.try_clone().context("cannot open a device again");
    let descriptors =
        ServiceDescriptors { trigger: open(&trigger_device)?, reason: open(&reason_device)?, state, overlay: None };
    let begin = |device| FuseSession::begin(device, &LookupLayer::new(NoObject)).map_err(|error| anyhow!("{error}"));
    let sessions = [begin(trigger_device)?, begin(reason_device)?];
    let mut place = LazyPlace::new().context("cannot make the socket for `composefs status`")?;
    let listener = place.listener().try_clone().context("cannot make the socket for `composefs status`")?;
    let (target, facts) = (&mount.args.target, task.facts(&mount.args.target));
    serve(&task, manager, sessions, &listener, move || {
        // The layers can be opened from now on, as they are served.
        let (plan, file) = planned(mount, &repository, &digest, [&trigger, &reason], arrived.path())?;
        let overlay = plan.mount(&file, KernelFeatures::default()).map_err(|error| with_remedy(&error))?;
        // The overlay keeps its layers. Without it, the sessions end.
        drop((trigger, reason));
        attach(manager, &descriptors, &overlay, target)?;
        drop(overlay);
        if let Ok(number) = device_number(target) {
            let _ = place.take(number, &facts);
        }
        manager.ready().context("cannot reach the service manager")?;
        Ok(place)
    })
}

/// Attaches the overlay when the manager has all that the next process needs.
fn attach(
    manager: &ServiceManager,
    descriptors: &ServiceDescriptors,
    overlay: &DetachedMount,
    target: &std::path::Path,
) -> anyhow::Result<()> {
    let kept: [(&str, BorrowedFd<'_>); 4] = [
        (OVERLAY, overlay.as_fd()),
        (STATE, descriptors.state.as_fd()),
        (TRIGGER, descriptors.trigger.as_fd()),
        (REASON, descriptors.reason.as_fd()),
    ];
    let keep = || {
        kept.into_iter().try_for_each(|(name, descriptor)| manager.keep(name, descriptor))?;
        manager.barrier()
    };
    keep().context("cannot give the devices to the service manager")?;
    overlay.attach(target).map_err(|error| with_remedy(&error))?;
    // A mount with an open descriptor cannot be unmounted.
    manager.forget(OVERLAY).and_then(|()| manager.barrier()).context("cannot reach the service manager")
}

/// Serves both layers until the overlay is unmounted, or the image is complete. `mount` runs beside that.
fn serve(
    task: &WorkerTask<'_>,
    manager: &ServiceManager,
    [trigger, reason]: [FuseSession; 2],
    listener: &UnixListener,
    mount: impl FnOnce() -> anyhow::Result<LazyPlace> + Send,
) -> anyhow::Result<MountPart> {
    harden(MountedBy::Kernel);
    std::thread::scope(|scope| {
        let serve_reason = || {
            if let Err(error) = reason
                .resend()
                .and_then(|()| reason.serve(&LookupLayer::new(NoObject), std::num::NonZeroUsize::MIN).map(drop))
            {
                tell!("composefs: {error}");
                exit(1);
            }
        };
        let mounts = move || match mount() {
            // The socket is removed with the mount, by the next process that makes one.
            Ok(place) => drop(place),
            Err(error) => {
                error_text::print_error("composefs", &error);
                forget_all(manager);
                exit(1);
            }
        };
        Builder::new().name("reason".to_owned()).spawn_scoped(scope, serve_reason).context("cannot start a thread")?;
        Builder::new().name("mount".to_owned()).spawn_scoped(scope, mounts).context("cannot start a thread")?;
        let ended = || forget_all(manager);
        let restarts = LazyRestarts::default();
        let start = WorkerStart { ready: None, restarts, listener, ended: Some(&ended) };
        let status = task.work(&trigger, start)?;
        exit(status)
    })
}
