//! A directory that becomes a layer: opened first, so that a missing one is named before anything is mounted.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libcomposefs_sys::mount::{FsContext, MountError};
use libcomposefs_sys::proc_fd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::plan::Plan;

/// The longest text that `fsconfig` takes (`fs/fsopen.c`: 256 with its end mark).
const FSCONFIG_MAX: usize = 255;

/// An open directory with the path it was opened by.
#[derive(Debug)]
pub(crate) struct Layer {
    fd: OwnedFd,
    path: PathBuf,
}

impl Layer {
    fn open(image: &Path, role: &'static str, dir: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(dir, flags, Mode::empty()).map_err(|errno| Error::Directory {
            image: image.to_owned(),
            role,
            dir: dir.to_owned(),
            source: errno.into(),
        })?;
        Ok(Self { fd, path: dir.to_owned() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A path without any odd byte that leads to the same directory, or the path itself where `/proc` has none.
    pub(crate) fn short_path(&self) -> OsString {
        proc_fd::link(&self.fd).unwrap_or_else(|| self.path.clone()).into()
    }

    /// Sets a parameter of overlayfs to this directory.
    ///
    /// The path as the user wrote it is what people look for in `/proc/mounts`, so it is used where it is beyond
    /// doubt. Kernels differ in which bytes of it they unescape and all bound its length; then the descriptor itself
    /// goes (Linux 6.13), or the link to it.
    pub(crate) fn set(&self, context: &FsContext, key: &str) -> Result<(), MountError> {
        let bytes = self.path.as_os_str().as_bytes();
        if bytes.len() <= FSCONFIG_MAX && !bytes.iter().any(|byte| matches!(byte, b'\\' | b',' | b':')) {
            return context.set_string(key, &self.path);
        }
        match context.set_fd(key, &self.fd) {
            Err(error) if error.errno == Errno::INVAL => context.set_string(key, self.short_path()),
            answer => answer,
        }
    }
}

/// The directories of a plan.
#[derive(Debug)]
pub(crate) struct Layers {
    pub(crate) data: Vec<Layer>,
    /// Upper and work directory.
    pub(crate) upper: Option<(Layer, Layer)>,
}

impl Layers {
    /// Opens them all.
    pub(crate) fn open(plan: &Plan) -> Result<Self, Error> {
        let open = |role, dir: &PathBuf| Layer::open(&plan.image, role, dir);
        let data = plan.data.iter().map(|dir| open("basedir", dir)).collect::<Result<_, _>>()?;
        let upper = match &plan.upper {
            Some(upper) => Some((open("upperdir", &upper.dir)?, open("workdir", &upper.work)?)),
            None => None,
        };
        Ok(Self { data, upper })
    }
}
