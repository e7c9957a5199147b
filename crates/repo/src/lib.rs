//! A repository: images, their objects and their names, for many users at once.
//!
//! `docs/format/repository.md` is its specification: the layout, the order in which things are published, how those at work
//! and those who remove things get on, and what a crash can leave.

#![forbid(unsafe_code)]

pub mod bundle;
mod create;
mod digest_set;
mod dir;
mod disk_usage;
mod error;
pub mod fsck;
mod gc;
mod images;
mod import;
mod init;
mod keepers;
mod layout;
mod lease;
mod link_target;
mod lock;
mod lock_holders;
mod marks;
mod meta;
mod read_lease;
mod ref_name;
mod refs;
mod stream;
mod stream_file;
mod streams;
mod sync;
mod walk;
mod windows;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use libcomposefs_image::Algorithm;
use libcomposefs_sys::beneath::{open_beneath, open_directory_beneath};
use libcomposefs_sys::copy::fill;
use libcomposefs_sys::verity::{Measurement, is_enabled, measure};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;

use libcomposefs_store::ObjectDir;
use libcomposefs_store::{Policy, VerifyExisting, Verity};

pub use create::{Created, Creation, Published};
pub use disk_usage::{RefUsage, Usage};
pub use error::RepositoryError;
use error::io_error;
pub use gc::{GcOptions, GcReport};
pub use images::{ImageEntry, Images};
pub use import::{ImportOptions, Incoming, Objects, WasImage};
pub use init::Settings;
pub use keepers::{Keeper, Reasons};
pub use lease::Lease;
pub use link_target::Leads;
use lock::Patience;
pub use lock::Waiting;
pub use lock_holders::{LockHolder, Opener};
pub use meta::{Format, Meta, MetaError};
pub use read_lease::{READER_WAITS, Reading};
pub use ref_name::{ImageName, InvalidRefName, RefName};
pub use refs::{BrokenRef, Refs};
pub use sync::SyncStep;

/// `meta.json` is a few lines.
const META_MAX: usize = 64 << 10;

/// An open repository.
#[derive(Debug)]
pub struct Repository {
    directory: Arc<OwnedFd>,
    path: PathBuf,
    meta: Meta,
    demands_verity: bool,
    objects: ObjectDir,
    patience: Patience,
}

impl Repository {
    /// Lets what is being made be given up, with an error and nothing published, once this is true.
    #[must_use]
    pub fn interrupted_by(self, flag: Arc<AtomicBool>) -> Self {
        Self { patience: Patience { interrupt: Some(flag), ..self.patience }, ..self }
    }

    /// Sets the function that is called when another process holds a lock for longer than a second, with the path of what is
    /// locked.
    #[must_use]
    pub fn telling(self, tell: fn(&Path, Waiting)) -> Self {
        Self { patience: Patience { tell: Some(tell), ..self.patience }, ..self }
    }

    /// Opens a repository that is there.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::NotARepository`], [`RepositoryError::Meta`], or what the kernel says.
    pub fn open(path: &Path) -> Result<Self, RepositoryError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(path, flags, Mode::empty()).map_err(io_error("open the repository", path))?;
        Self::open_at(directory, path)
    }

    fn open_at(directory: OwnedFd, path: &Path) -> Result<Self, RepositoryError> {
        let (meta, demands_verity) = read_meta(&directory, path)?;
        Self::with_meta(directory, path, meta, demands_verity)
    }

    /// A repository of these settings, whatever `meta.json` says.
    fn with_meta(directory: OwnedFd, path: &Path, meta: Meta, demands_verity: bool) -> Result<Self, RepositoryError> {
        let objects_path = path.join(layout::OBJECTS);
        let objects = match open_directory_beneath(directory.as_fd(), layout::OBJECTS.as_bytes()) {
            // Other programs make it when there is something to be put in.
            Err(Errno::NOENT) => dir::make_directory_in(directory.as_fd(), layout::OBJECTS, &objects_path)?,
            result => result.map_err(io_error("open the directory", &objects_path))?,
        };
        let policy = Policy {
            verity: if demands_verity { Verity::Required } else { Verity::IfPossible },
            verify_existing: VerifyExisting::Contents,
        };
        let objects = ObjectDir::at(objects, &objects_path, meta.algorithm, policy);
        Ok(Self {
            directory: Arc::new(directory),
            path: path.to_owned(),
            meta,
            demands_verity,
            objects,
            patience: Patience::default(),
        })
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The algorithm of all its digests.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.meta.algorithm
    }

    /// What holds for all of it.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Whether every object must have fs-verity, and every mount demands it.
    #[must_use]
    pub fn demands_verity(&self) -> bool {
        self.demands_verity
    }

    /// Its objects.
    #[must_use]
    pub fn objects(&self) -> &ObjectDir {
        &self.objects
    }

    fn expect_writable(&self) -> Result<(), RepositoryError> {
        if self.meta.read_only.is_empty() {
            return Ok(());
        }
        Err(RepositoryError::ReadOnly { path: self.path.clone(), features: self.meta.read_only.clone() })
    }
}

/// The settings, and whether the file that has them is sealed: so a repository demands fs-verity.
fn read_meta(directory: &OwnedFd, path: &Path) -> Result<(Meta, bool), RepositoryError> {
    let meta_path = path.join(layout::META);
    let file = match open_beneath(directory.as_fd(), layout::META.as_bytes()) {
        Err(Errno::NOENT) => return Err(RepositoryError::NotARepository { path: path.to_owned() }),
        result => result.map_err(io_error("open", &meta_path))?,
    };
    let stat = fstat(&file).map_err(io_error("stat", &meta_path))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io_error("read", &meta_path)(std::io::Error::other("it is no regular file")));
    }
    let mut text = vec![0; META_MAX];
    let len = fill(file.as_fd(), &mut text, 0).map_err(io_error("read", &meta_path))?;
    let meta = Meta::parse(&text[..len]).map_err(|source| RepositoryError::Meta { path: meta_path.clone(), source })?;
    let demands_verity = demands_verity(&file).map_err(io_error("measure", &meta_path))?;
    Ok((meta, demands_verity))
}

/// Whether a file of the repository has fs-verity. A sandbox that refuses to tell the digest must not make a repository one that
/// does without.
fn demands_verity(file: &OwnedFd) -> std::io::Result<bool> {
    match measure(file)? {
        Measurement::Digest(_) => Ok(true),
        Measurement::NotEnabled | Measurement::Unsupported => Ok(false),
        Measurement::Refused(_) => is_enabled(file),
    }
}
