//! Mounting the image itself: file-backed where the kernel can (Linux 6.12), else by a loop device.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use libcomposefs_sys::loopdev::{DirectIo, LoopDevice};
use libcomposefs_sys::mount::{FsContext, MountAttrFlags, MountError, MountFd, MountFlags, mount_at_once};
use libcomposefs_sys::namespace::Visit;
use libcomposefs_sys::proc_fd;
use libcomposefs_sys::readahead::read_ahead;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::Error;
use crate::failure::Failure;
use crate::image::ImageFile;
use crate::method::{ErofsMethod, KernelFeatures};
use crate::mountpoint::TemporaryMountpoint;
use crate::plan::Plan;
use crate::probe;

/// The mounted image, wherever it is. Dropping it unmounts it from there.
#[derive(Debug)]
pub(crate) enum ErofsMount {
    Detached(MountFd),
    At(TemporaryMountpoint),
}

/// A mount of an image, and what it is made with.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) image: &'a ImageFile,
    /// The open file of `idmap=`.
    pub(crate) userns: Option<&'a OwnedFd>,
    pub(crate) allowed: KernelFeatures,
    /// The attributes of the mount.
    pub(crate) attributes: MountAttrFlags,
}

/// Mounts the image read-only.
pub(crate) fn mount(request: &Request<'_>) -> Result<(ErofsMount, ErofsMethod), Failure> {
    let Request { plan, image, allowed, .. } = *request;
    if allowed.file_backed
        && let Some(by_file) = proc_fd::link(image).or_else(|| path_where_proc_is_missing(plan, image))
    {
        match mount_source(request, by_file.as_os_str()) {
            Err(Failure::Kernel(error)) if error.errno == Errno::NOTBLK => {}
            answer => {
                let mount = answer?;
                read_ahead(image, plan.options().read_ahead.bytes());
                return Ok((mount, ErofsMethod::File));
            }
        }
    }
    match mount_loop(request, DirectIo::Try) {
        // An overlay over ramfs or tmpfs takes direct I/O from a loop device at first and fails it later (seen on 6.1).
        Err(Failure::Kernel(error)) if error.errno == Errno::IO => mount_loop(request, DirectIo::Off),
        answer => answer,
    }
}

/// The path of the image, for the kernel to look up once more: only where `/proc` is missing (a chroot, an initramfs),
/// neither a digest nor a signature is demanded, and the path still leads to the open file. Where one is demanded,
/// another file could come between.
fn path_where_proc_is_missing(plan: &Plan, image: &ImageFile) -> Option<PathBuf> {
    if plan.options().digest().is_some() || plan.options().is_signed() {
        return None;
    }
    let there = rustix::fs::stat(&plan.image).ok()?;
    let here = rustix::fs::fstat(image).ok()?;
    ((there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)).then(|| plan.image.clone())
}

/// The same from the namespace that the thread came from: the kernel takes the image, or a loop device, by a path only,
/// and in the visited namespace its owner decides what is at `/proc` and `/dev`. A detached mount belongs to none.
pub(crate) fn mount_at_home(request: &Request<'_>, visit: &Visit) -> Result<(ErofsMount, ErofsMethod), Failure> {
    if !request.allowed.contexts || matches!(FsContext::open("erofs"), Err(error) if error.errno == Errno::NOSYS) {
        return Err(Failure::Kernel(no_contexts()));
    }
    visit.at_home(|| mount(request)).map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        Failure::Kernel(MountError {
            step: "setns(the mount namespace of this process)".into(),
            errno,
            log: Vec::new(),
        })
    })?
}

fn mount_loop(request: &Request<'_>, direct_io: DirectIo) -> Result<(ErofsMount, ErofsMethod), Failure> {
    let Request { plan, image, .. } = *request;
    let device = LoopDevice::attach(image, &plan.image, direct_io).map_err(|source| {
        Failure::Other(Error::NoLoopDevice { image: plan.image.clone(), release: probe::release(), source })
    })?;
    let way = ErofsMethod::Loop(device.path().to_owned());
    let mount = mount_source(request, device.path().as_os_str())?;
    // EROFS has its metadata in the pages of the device, which are not those of the file.
    read_ahead(&device, plan.options().read_ahead.bytes());
    Ok((mount, way))
}

fn mount_source(request: &Request<'_>, source: &OsStr) -> Result<ErofsMount, Failure> {
    let Request { plan, userns, allowed, attributes, .. } = *request;
    let context = if allowed.contexts { FsContext::open("erofs") } else { Err(no_contexts()) };
    let context = match context {
        Err(error) if error.errno == Errno::NOSYS => return mount_at_a_temporary(plan, source),
        answer => answer?,
    };
    context.set_string("source", source)?;
    context.set_flag("ro")?;
    if !plan.acl {
        context.set_flag("noacl")?;
    }
    context.create()?;
    let mount = context.mount(attributes)?;
    if let Some(userns) = userns {
        mount.map_ids(userns.as_fd())?;
    }
    Ok(ErofsMount::Detached(mount))
}

/// Mounts by `mount(2)`, for kernels before 5.2 and for those whose seccomp filter hides `fsopen`.
fn mount_at_a_temporary(plan: &Plan, source: &OsStr) -> Result<ErofsMount, Failure> {
    if plan.options().idmap.is_some() {
        return Err(Failure::Other(Error::NoIdmap { image: plan.image.clone(), release: probe::release() }));
    }
    let mut at = temporary(plan)?;
    let data = if plan.acl { c"" } else { c"noacl" };
    mount_at_once(source, at.path(), "erofs", MountFlags::RDONLY, data)?;
    at.now_has_mount();
    Ok(ErofsMount::At(at))
}

fn no_contexts() -> MountError {
    MountError { step: "fsopen(erofs)".into(), errno: Errno::NOSYS, log: Vec::new() }
}

impl ErofsMount {
    /// Gives the mount a path, which overlayfs before Linux 6.15 needs.
    pub(crate) fn into_path(self, plan: &Plan) -> Result<TemporaryMountpoint, Failure> {
        match self {
            ErofsMount::At(at) => Ok(at),
            ErofsMount::Detached(mount) => {
                let mut at = temporary(plan)?;
                mount.attach(at.path())?;
                at.now_has_mount();
                Ok(at)
            }
        }
    }
}

/// Returns the directory that the plan has for a temporary mount, or makes one.
pub(crate) fn temporary(plan: &Plan) -> Result<TemporaryMountpoint, Failure> {
    if let Some(dir) = &plan.mountpoint {
        return Ok(TemporaryMountpoint::given(dir));
    }
    TemporaryMountpoint::new()
        .map_err(|source| Failure::Other(Error::NoTemporary { image: plan.image.clone(), source }))
}

/// Opens the file of `idmap=`, if there is one.
pub(crate) fn open_userns(plan: &Plan) -> Result<Option<OwnedFd>, Error> {
    let Some(userns) = &plan.options().idmap else { return Ok(None) };
    let open = userns.open(OFlags::RDONLY);
    open.map(Some).map_err(|errno| Error::OpenUserns { userns: userns.name().into_owned(), source: errno.into() })
}
