//! A directory that becomes a layer: opened first, so that a missing one is named before anything is mounted.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libcomposefs_sys::mount::{FsContext, MountError};
use libcomposefs_sys::proc_fd;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::Error;
use crate::options::StatfsSource;
use crate::path_or_fd::PathOrFd;
use crate::plan::Plan;

/// The longest text that `fsconfig` takes (`fs/fsopen.c`: 256 with its end mark).
const FSCONFIG_MAX: usize = 255;

/// An open directory, with the path it was opened by, if any.
#[derive(Debug)]
pub(crate) struct Layer {
    fd: OwnedFd,
    path: Option<PathBuf>,
}

impl Layer {
    fn open(image: &Path, role: &'static str, dir: &PathOrFd) -> Result<Self, Error> {
        let fd = dir.open(OFlags::RDONLY | OFlags::DIRECTORY).map_err(|errno| Error::Directory {
            image: image.to_owned(),
            role,
            dir: dir.name().into_owned(),
            source: errno.into(),
        })?;
        Ok(Self { fd, path: dir.path().map(Path::to_owned) })
    }

    /// Returns the path that the user gave, or for a descriptor the link to it.
    pub(crate) fn path(&self) -> Result<PathBuf, MountError> {
        self.path.clone().map_or_else(|| self.short_path().map(PathBuf::from), Ok)
    }

    /// Returns a short path without special bytes that leads to the same directory, or the path itself where `/proc` is
    /// missing.
    pub(crate) fn short_path(&self) -> Result<OsString, MountError> {
        let path = proc_fd::link(&self.fd).or_else(|| self.path.clone()).ok_or_else(|| MountError {
            step: "finding a directory, given as a descriptor, in /proc/self/fd".into(),
            errno: Errno::NOENT,
            log: Vec::new(),
        })?;
        Ok(path.into())
    }

    /// Sets a parameter of overlayfs to this directory.
    ///
    /// People look for the path as the user wrote it in `/proc/mounts`, so it is used where every kernel takes it.
    /// Kernels differ in which bytes of it they unescape, and all limit its length; other paths are passed as the
    /// descriptor (Linux 6.13), or the link to it.
    pub(crate) fn set(&self, context: &FsContext, key: &str) -> Result<(), MountError> {
        if let Some(path) = &self.path {
            let bytes = path.as_os_str().as_bytes();
            if bytes.len() <= FSCONFIG_MAX && !bytes.iter().any(|byte| matches!(byte, b'\\' | b',' | b':')) {
                return context.set_string(key, path);
            }
        }
        match context.set_fd(key, &self.fd) {
            Err(error) if error.errno == Errno::INVAL => context.set_string(key, self.short_path()?),
            answer => answer,
        }
    }
}

/// The open directories of a plan.
#[derive(Debug)]
pub(crate) struct Layers {
    /// The directory that answers `statfs`, above the image.
    pub(crate) statfs: Option<Layer>,
    pub(crate) data: Vec<Layer>,
    /// The upper and the work directory.
    pub(crate) upper: Option<(Layer, Layer)>,
}

impl Layers {
    /// Opens all directories of a plan.
    pub(crate) fn open(plan: &Plan) -> Result<Self, Error> {
        let open = |role, dir: &PathOrFd| Layer::open(&plan.image, role, dir);
        let data = plan.options().basedirs.iter().map(|dir| open("basedir", dir)).collect::<Result<_, _>>()?;
        let upper = match &plan.options().upper {
            Some(upper) => Some((open("upperdir", &upper.dir)?, open("workdir", &upper.work)?)),
            None => None,
        };
        let statfs = match (&plan.statfs_dir, plan.options().statfs) {
            (Some(dir), StatfsSource::Objects) => Some(open("directory for statfs", dir)?),
            _ => None,
        };
        Ok(Self { statfs, data, upper })
    }
}
