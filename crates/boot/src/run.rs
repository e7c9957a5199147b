//! Running the steps: the one place that mounts the root and what is in it.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use libcomposefs_mount::{KernelFeatures, Options, Plan, UpperDir, Verity};
use libcomposefs_sys::in_root::{make_directories_in_root, open_directory_in_root};
use libcomposefs_sys::mount::{
    FsContext, MountAttrFlags, MountError, MountFd, clone_directory, set_read_only, unmount,
};
use libcomposefs_sys::proc_fd;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::io::Errno;

use crate::disk::{BootDisk, FoundImage};
use crate::error::BootError;
use crate::init_check;
use crate::steps::BootStep;

/// Directory of what only the boot needs.
pub(crate) const RUN: &str = "/run/composefs";

/// Disk, image and target that the steps work on.
#[derive(Debug)]
pub struct StepRunner<'a> {
    disk: &'a BootDisk,
    image: Option<&'a FoundImage>,
    target: &'a Path,
    init: Option<&'a str>,
    mounted: Option<OwnedFd>,
    is_attached: bool,
    /// Notes for the console.
    pub notes: Vec<String>,
}

impl<'a> StepRunner<'a> {
    /// Prepares to run steps that mount at `target`. `init` is the first program, if it must exist.
    #[must_use]
    pub fn new(disk: &'a BootDisk, image: Option<&'a FoundImage>, target: &'a Path, init: Option<&'a str>) -> Self {
        Self { disk, image, target, init, mounted: None, is_attached: false, notes: Vec::new() }
    }

    /// Runs the steps in their order. After a failure nothing stays mounted at the target.
    ///
    /// # Errors
    ///
    /// That of the step that failed.
    pub fn run(&mut self, steps: &[BootStep]) -> Result<(), BootError> {
        let result = steps.iter().try_for_each(|step| self.step(step));
        if result.is_err() && self.is_attached {
            let _ = unmount(self.target, true);
        }
        result
    }

    fn step(&mut self, step: &BootStep) -> Result<(), BootError> {
        match step {
            BootStep::MakeDirectory { path, mode } => self.make_directory(path, *mode),
            BootStep::MakeLink { path, target } => match rustix::fs::symlinkat(*target, &self.disk.root, path.as_str())
            {
                Ok(()) | Err(Errno::EXIST) => Ok(()),
                Err(errno) => Err(io(format!("making the symlink {path}"), errno)),
            },
            BootStep::MountRoot { source, needs_verity, is_transient, is_read_only } => {
                self.mount_root(source, *needs_verity, *is_transient, *is_read_only)
            }
            BootStep::CloneRoot { path } => {
                let root = open_path(path).map_err(|errno| io(format!("opening {}", path.display()), errno))?;
                let mount =
                    clone_directory(root.as_fd(), path).map_err(mount(format!("copying {}", path.display())))?;
                self.mounted = Some(mount.into());
                Ok(())
            }
            BootStep::CheckInit => {
                if !init_check::check(self.root()?.as_fd(), self.init.unwrap_or("/sbin/init"))? {
                    match self.init {
                        Some(init) => return Err(BootError::Init { path: init.into(), errno: Errno::NOENT }),
                        None => self.notes.push("the image has no /sbin/init".into()),
                    }
                }
                Ok(())
            }
            BootStep::AttachRoot => self.attach_root(),
            BootStep::AttachDisk { is_read_only } => self.attach_disk(*is_read_only),
            BootStep::Bind { state, at } => {
                let directory = self.state(state)?;
                let copy = clone_directory(directory.as_fd(), Path::new(state)).map_err(mount(state.clone()))?;
                self.attach(copy, at)
            }
            BootStep::Overlay { state, at } => {
                let layer = |name| self.layer(&format!("{state}/{name}"));
                let ((_upper, upper), (_work, work)) = (layer("upper")?, layer("work")?);
                self.overlay(at, &upper, &work)
            }
            BootStep::Transient { at } => {
                let memory = Memory::new(at)?;
                let (upper, work) = (memory.path.join("upper"), memory.path.join("work"));
                self.overlay(at, &upper, &work)
            }
        }
    }

    fn make_directory(&self, path: &str, mode: u32) -> Result<(), BootError> {
        let failed = |errno| io(format!("making the directory {path}"), errno);
        let (above, name) = path.rsplit_once('/').unwrap_or((".", path));
        let above = make_directories_in_root(self.disk.root.as_fd(), above.as_bytes()).map_err(failed)?;
        match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }

    fn mount_root(
        &mut self,
        source: &str,
        needs_verity: bool,
        is_transient: bool,
        is_read_only: bool,
    ) -> Result<(), BootError> {
        let Some(image) = self.image else { return Err(io("mounting the image", Errno::NOENT)) };
        let failed = |source| BootError::image(image.digest, source);
        let mut options = Options::default().with_basedir(image.objects.clone());
        options = if needs_verity { options.with_digest(image.digest) } else { options.with_verity(Verity::Off) };
        let memory = if is_transient { Some(Memory::new("root")?) } else { None };
        if let Some(memory) = &memory {
            let directory =
                |name: &str| open_path(&memory.path.join(name)).map_err(|errno| io("opening a tmpfs", errno));
            options = options.with_upper(UpperDir { dir: directory("upper")?.into(), work: directory("work")?.into() });
        }
        let mut plan = Plan::new(image.file.path(), &image.file.header().map_err(failed)?, options);
        plan.source = source.to_owned();
        let mut features = KernelFeatures::default();
        // The refused try would leave a line in the kernel's log that looks like a fault.
        features.detached = has_detached_layers(&libcomposefs_mount::release());
        let root: OwnedFd = plan.mount(&image.file, features).map_err(failed)?.into();
        if !is_transient && !is_read_only {
            // Without a writable layer it cannot be written anyway; the flag is only seen in the list of mounts. Linux
            // before 5.12 cannot change it.
            let _ = set_read_only(&root, false);
        }
        self.mounted = Some(root);
        Ok(())
    }

    fn root(&self) -> Result<&OwnedFd, BootError> {
        self.mounted.as_ref().ok_or_else(|| io("using the root before it is mounted", Errno::INVAL))
    }

    fn attach_root(&mut self) -> Result<(), BootError> {
        let doing = || format!("mounting the root at {}", self.target.display());
        let target = open_path(self.target).map_err(|errno| io(doing(), errno))?;
        move_to(self.root()?, &target).map_err(|errno| io(doing(), errno))?;
        self.is_attached = true;
        Ok(())
    }

    fn attach_disk(&mut self, is_read_only: bool) -> Result<(), BootError> {
        let at = match self.mount_point("sysroot") {
            Err(BootError::Io { errno: Errno::NOENT, .. }) => {
                self.notes.push("the image has no /sysroot: the repository is not seen after boot".into());
                return Ok(());
            }
            at => at?,
        };
        let copy = clone_directory(self.disk.root.as_fd(), &self.disk.path).map_err(mount("copying the disk"))?;
        if is_read_only {
            set_read_only(&copy, true).map_err(mount("making the disk read-only"))?;
        }
        copy.attach_to(at.as_fd(), Path::new("/sysroot")).map_err(mount("mounting the disk at /sysroot"))
    }

    /// Opens a directory of the new root. A symlink is refused: the mount would be elsewhere.
    fn mount_point(&self, at: &str) -> Result<OwnedFd, BootError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(self.root()?, at, flags, Mode::empty(), resolve)
            .map_err(|errno| io(format!("opening /{at} of the image"), errno))
    }

    fn state(&self, path: &str) -> Result<OwnedFd, BootError> {
        open_directory_in_root(self.disk.root.as_fd(), path.as_bytes())
            .map_err(|errno| io(format!("opening the state {path}"), errno))
    }

    fn attach(&self, mounted: MountFd, at: &str) -> Result<(), BootError> {
        let point = self.mount_point(at)?;
        mounted.attach_to(point.as_fd(), Path::new(at)).map_err(mount(format!("mounting /{at}")))
    }

    fn overlay(&self, at: &'static str, upper: &Path, work: &Path) -> Result<(), BootError> {
        let point = self.mount_point(at)?;
        let lower = layer_path(&point, &[self.target.join(at)], at, false)?;
        let create = || -> Result<MountFd, MountError> {
            let context = FsContext::open("overlay")?;
            context.set_string("source", "overlay")?;
            // One layer, by the name that every kernel knows.
            context.set_string("lowerdir", lower)?;
            context.set_string("upperdir", upper)?;
            context.set_string("workdir", work)?;
            context.create()?;
            context.mount(MountAttrFlags::empty())
        };
        self.attach(create().map_err(mount(format!("mounting /{at}")))?, at)
    }

    /// Opens a directory of the state, and returns with it the path by which overlayfs is told of it: one that the
    /// running system understands, if there is one.
    fn layer(&self, path: &str) -> Result<(OwnedFd, PathBuf), BootError> {
        let directory = self.state(path)?;
        let candidates = [self.target.join("sysroot").join(path), self.disk.path.join(path)];
        let path = layer_path(&directory, &candidates, path, true)?;
        Ok((directory, path))
    }
}

/// Returns the first path that leads to the directory and can be written into an option of overlayfs as it is, else
/// that of its descriptor.
fn layer_path(directory: &OwnedFd, candidates: &[PathBuf], name: &str, is_written: bool) -> Result<PathBuf, BootError> {
    let here = rustix::fs::fstat(directory).map_err(|errno| io(format!("asking for {name}"), errno))?;
    let leads_here = |path: &PathBuf| {
        let stat = rustix::fs::statat(rustix::fs::CWD, path, AtFlags::empty());
        stat.is_ok_and(|there| (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino))
    };
    // Overlayfs refuses an upper directory on a mount that is read-only.
    let may_write = |path: &PathBuf| {
        let stat = rustix::fs::statvfs(path);
        stat.is_ok_and(|stat| !stat.f_flag.contains(StatVfsMountFlags::RDONLY))
    };
    let is_usable = |path: &&PathBuf| is_plain(path) && leads_here(path) && (!is_written || may_write(path));
    candidates
        .iter()
        .find(is_usable)
        .cloned()
        .or_else(|| proc_fd::link(directory))
        .ok_or_else(|| BootError::Io { doing: format!("finding {name} in /proc/self/fd"), errno: Errno::NOENT })
}

/// fsconfig(2) takes 255 bytes, and overlayfs has its own meaning for some.
fn is_plain(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.len() <= 255 && !bytes.iter().any(|byte| matches!(byte, b'\\' | b',' | b':'))
}

/// A file system in memory with the directories of an overlay. It is attached at a directory of its own while the
/// overlay is made, since overlayfs takes no layer of a detached mount before Linux 6.15.
struct Memory {
    path: PathBuf,
}

impl Memory {
    fn new(name: &str) -> Result<Self, BootError> {
        let path = Path::new(RUN).join(format!("transient-{name}"));
        let doing = || format!("making a tmpfs for /{name}");
        std::fs::create_dir_all(&path).map_err(|error| io(doing(), crate::disk::errno(&error)))?;
        let create = || -> Result<(), MountError> {
            let context = FsContext::open("tmpfs")?;
            context.set_string("source", "composefs-transient")?;
            context.set_string("mode", "0755")?;
            context.create()?;
            context.mount(MountAttrFlags::empty())?.attach(&path)
        };
        create().map_err(mount(doing()))?;
        let memory = Self { path };
        for (name, mode) in [("upper", 0o755), ("work", 0o700)] {
            rustix::fs::mkdir(memory.path.join(name), Mode::from_raw_mode(mode)).map_err(|errno| io(doing(), errno))?;
        }
        Ok(memory)
    }
}

impl Drop for Memory {
    /// The overlay keeps the file system.
    fn drop(&mut self) {
        let _ = unmount(&self.path, true);
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// Returns true if overlayfs of this kernel takes layers that are attached nowhere (Linux 6.15).
fn has_detached_layers(release: &str) -> bool {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(|part| part.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) >= (6, 15),
        _ => false,
    }
}

fn open_path(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn move_to(mounted: &OwnedFd, target: &OwnedFd) -> Result<(), Errno> {
    use rustix::mount::MoveMountFlags as Flags;
    let flags = Flags::MOVE_MOUNT_F_EMPTY_PATH | Flags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mounted, c"", target, c"", flags)
}

fn io(doing: impl Into<String>, errno: Errno) -> BootError {
    BootError::Io { doing: doing.into(), errno }
}

fn mount(doing: impl Into<String>) -> impl FnOnce(MountError) -> BootError {
    let doing = doing.into();
    move |source| BootError::Mount { doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detached_layers_by_release() {
        for (release, expected) in
            [("6.15.0", true), ("6.12.117-cloud", false), ("7.0", true), ("5.14.0-570.el9", false), ("x", false)]
        {
            assert_eq!(has_detached_layers(release), expected, "{release}");
        }
    }
}
