//! A directory of objects.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use libcomposefs_image::digest::{Algorithm, Digest};
use libcomposefs_sys::file_lease::open_leased;
use libcomposefs_sys::fs_magic::FsMagic;
use libcomposefs_sys::resolve_beneath::open_directory_beneath;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, Stat, fsync, mkdir, mkdirat, open, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::error::Error;
use crate::fanout::{FanoutDirs, OPEN_DIRECTORY};
use crate::policy::StorePolicy;

/// Mode of the directories of a store, before the umask.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

/// Any type of file may have the name of an object: opening must not block on a FIFO.
const OPEN_OBJECT: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// A directory of objects `xx/yyyy…`, of one algorithm, with a policy.
///
/// A symlink below the directory is never followed.
///
/// ```
/// use libcomposefs_image::Algorithm;
/// use libcomposefs_store::{Basedirs, ObjectDir, ObjectError, StorePolicy, VerifiedBy};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("objects");
/// // Put: the object is on disk, under its digest, when `finish` returns.
/// let policy = StorePolicy::default().with_verity(libcomposefs_store::ObjectVerity::Off);
/// let store = ObjectDir::create(&path, Algorithm::Sha256, policy)?;
/// let batch = store.batch();
/// let (digest, _) = batch.put_bytes(b"content")?;
/// assert_eq!(batch.finish()?.new, 1);
/// assert!(path.join(digest.object_path()).exists());
///
/// // Get: the content is checked before it is passed on.
/// let object = Basedirs::open(&[&path])?.open_object(digest.object_path().as_bytes())?;
/// assert_eq!(object.verify(&digest)?, VerifiedBy::Hashed);
/// let mut content = Vec::new();
/// object.copy_verified(&digest, |bytes| {
///     content.extend_from_slice(bytes);
///     Ok::<_, ObjectError>(())
/// })?;
/// assert_eq!(content, b"content");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ObjectDir {
    /// Set once the directory is open.
    directory: OnceLock<Arc<OwnedFd>>,
    /// The directory above and the name of the store in it, for a store that may not exist yet.
    above: Option<(Arc<OwnedFd>, String)>,
    path: PathBuf,
    algorithm: Algorithm,
    policy: StorePolicy,
    fans: FanoutDirs,
    /// Set once the file system turns out not to support fs-verity, or refuses the request.
    pub(crate) no_verity: AtomicBool,
    /// Set once the support of fs-verity was probed.
    pub(crate) verity_probed: AtomicBool,
}

impl ObjectDir {
    /// Opens an existing store.
    ///
    /// # Errors
    ///
    /// The path cannot be opened, or is not a directory.
    pub fn open(path: &Path, algorithm: Algorithm, policy: StorePolicy) -> Result<Self, Error> {
        let directory = open(path, OPEN_DIRECTORY, Mode::empty()).map_err(io_error("open the object store", path))?;
        Ok(Self::at(directory, path, algorithm, policy))
    }

    /// Returns the store in an open directory; `path` is only used in messages.
    #[must_use]
    pub fn at(directory: OwnedFd, path: &Path, algorithm: Algorithm, policy: StorePolicy) -> Self {
        Self { directory: Arc::new(directory).into(), ..Self::missing(path, algorithm, policy) }
    }

    /// Opens the store `name` in an open directory, without creating it: while the directory of the store does not
    /// exist, the store is empty. The first object that is stored creates it. `path` is only used in messages.
    ///
    /// # Errors
    ///
    /// The directory exists and cannot be opened; a symlink fails with `ELOOP`.
    pub fn open_in(
        above: Arc<OwnedFd>,
        name: &str,
        path: &Path,
        algorithm: Algorithm,
        policy: StorePolicy,
    ) -> Result<Self, Error> {
        let store = Self { above: Some((above, name.to_owned())), ..Self::missing(path, algorithm, policy) };
        match store.directory() {
            Ok(_) | Err(Errno::NOENT) => Ok(store),
            Err(errno) => Err(io_error("open the directory", path)(errno)),
        }
    }

    fn missing(path: &Path, algorithm: Algorithm, policy: StorePolicy) -> Self {
        Self {
            directory: OnceLock::new(),
            above: None,
            path: path.to_owned(),
            algorithm,
            policy,
            fans: FanoutDirs::new(),
            no_verity: AtomicBool::new(false),
            verity_probed: AtomicBool::new(false),
        }
    }

    /// Opens a store. Creates it and its missing parents first; new directories are on disk when this returns.
    ///
    /// # Errors
    ///
    /// A directory cannot be created, or as [`open`](Self::open).
    pub fn create(path: &Path, algorithm: Algorithm, policy: StorePolicy) -> Result<Self, Error> {
        create_directories(path)?;
        Self::open(path, algorithm, policy)
    }

    /// Returns the directory of the store.
    ///
    /// # Errors
    ///
    /// The kernel's; `ENOENT` while the directory does not exist.
    pub fn directory(&self) -> rustix::io::Result<BorrowedFd<'_>> {
        self.opened().map(AsFd::as_fd)
    }

    fn opened(&self) -> rustix::io::Result<&Arc<OwnedFd>> {
        if let Some(directory) = self.directory.get() {
            return Ok(directory);
        }
        let (above, name) = self.above.as_ref().ok_or(Errno::NOENT)?;
        let directory = open_directory_beneath(above.as_fd(), name.as_bytes())?;
        Ok(self.directory.get_or_init(|| Arc::new(directory)))
    }

    /// Returns the directory of the store. Creates it if it does not exist; then it is on disk when this returns.
    pub(crate) fn create_directory(&self) -> Result<&Arc<OwnedFd>, Error> {
        for _ in 0..2 {
            match (self.opened(), &self.above) {
                (Ok(directory), _) => return Ok(directory),
                (Err(Errno::NOENT), Some((above, name))) => match mkdirat(above, name, DIRECTORY_MODE) {
                    Ok(()) => fsync(above).map_err(io_error("sync the directory of", &self.path))?,
                    Err(Errno::EXIST) => {}
                    Err(errno) => return Err(io_error("make the directory", &self.path)(errno)),
                },
                (Err(errno), _) => return Err(io_error("open the directory", &self.path)(errno)),
            }
        }
        Err(io_error("open the directory", &self.path)(Errno::NOENT))
    }

    /// Returns true if the store is on a file system of one of these types. A store that does not exist is created on
    /// the file system of the directory above.
    pub(crate) fn is_on(&self, types: &[FsMagic]) -> bool {
        let above = || self.above.as_ref().map(|(above, _)| above.as_fd());
        self.directory().ok().or_else(above).is_some_and(|directory| FsMagic::is_one_of(types, directory))
    }

    /// Returns the path that the store was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the algorithm of the digests.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the requirements on the objects.
    #[must_use]
    pub fn policy(&self) -> StorePolicy {
        self.policy
    }

    /// Returns the path of an object, for messages.
    #[must_use]
    pub fn path_of(&self, digest: &Digest) -> PathBuf {
        self.path.join(digest.object_path())
    }

    /// Opens the file under the name of an object, for reading. Returns `None` if it does not exist. The file is not
    /// checked, and may be of any type.
    ///
    /// # Errors
    ///
    /// The file cannot be opened; a symlink fails with `ELOOP`.
    pub fn open_object(&self, digest: &Digest) -> Result<Option<OwnedFd>, Error> {
        self.expect_algorithm(digest)?;
        match self.try_open(digest) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.object_error("open", digest, errno)),
        }
    }

    /// Opens the file under the name of an object, which may be of any type except a symlink.
    ///
    /// # Errors
    ///
    /// The kernel's; `ENOENT` if the object does not exist.
    pub fn try_open(&self, digest: &Digest) -> rustix::io::Result<OwnedFd> {
        let fan = self.fans.get(self.directory()?, digest.as_bytes()[0])?;
        // A gc that tests if an image is open holds a file lease on it for a short time.
        open_leased(|| openat(&fan, &digest.object_path()[3..], OPEN_OBJECT, Mode::empty()))
    }

    /// Returns the metadata of the file under the name of an object, without opening it.
    ///
    /// # Errors
    ///
    /// The kernel's; `ENOENT` if the object does not exist.
    pub fn try_stat(&self, digest: &Digest) -> rustix::io::Result<Stat> {
        let fan = self.fans.get(self.directory()?, digest.as_bytes()[0])?;
        statat(fan, &digest.object_path()[3..], AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Removes an object.
    ///
    /// # Errors
    ///
    /// The kernel's; `ENOENT` if the object does not exist.
    pub fn remove(&self, digest: &Digest) -> rustix::io::Result<()> {
        let fan = self.fans.get(self.directory()?, digest.as_bytes()[0])?;
        unlinkat(fan, &digest.object_path()[3..], AtFlags::empty())
    }

    /// Returns which of the 256 directories exist; all, if the store cannot be listed.
    pub(crate) fn fans_there(&self) -> [bool; 256] {
        let list = || -> rustix::io::Result<[bool; 256]> {
            let mut there = [false; 256];
            for entry in Dir::read_from(self.directory()?)? {
                let entry = entry?;
                let name = entry.file_name().to_str().ok();
                if let Some(first) = name.filter(|name| name.len() == 2).and_then(|n| u8::from_str_radix(n, 16).ok()) {
                    there[usize::from(first)] = true;
                }
            }
            Ok(there)
        };
        match list() {
            Err(Errno::NOENT) => [false; 256],
            there => there.unwrap_or([true; 256]),
        }
    }

    /// Opens one of the 256 directories. Creates it if it does not exist.
    pub(crate) fn fan(&self, name: &str) -> Result<OwnedFd, Error> {
        let path = || self.path.join(name);
        let store = self.create_directory()?;
        for _ in 0..2 {
            match openat(store, name, OPEN_DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(fan) => return Ok(fan),
                Err(Errno::NOENT) => match mkdirat(store, name, DIRECTORY_MODE) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(io_error("make the directory", &path())(errno)),
                },
                Err(Errno::LOOP | Errno::NOTDIR) => return Err(Error::NotAnObjectDirectory { path: path() }),
                Err(errno) => return Err(io_error("open", &path())(errno)),
            }
        }
        Err(io_error("open", &path())(Errno::NOENT))
    }

    pub(crate) fn expect_algorithm(&self, digest: &Digest) -> Result<(), Error> {
        if digest.algorithm() == self.algorithm {
            return Ok(());
        }
        Err(Error::Algorithm { digest: *digest, expected: self.algorithm, store: self.path.clone() })
    }

    pub(crate) fn object_error(&self, step: &'static str, digest: &Digest, source: impl Into<io::Error>) -> Error {
        Error::Io { step, path: self.path_of(digest), source: source.into() }
    }

    pub(crate) fn store_error(&self, step: &'static str, source: impl Into<io::Error>) -> Error {
        Error::Io { step, path: self.path.clone(), source: source.into() }
    }
}

pub(crate) fn io_error<E: Into<io::Error>>(step: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { step, path, source: source.into() }
}

/// Creates a directory and its missing parents, and syncs the parent of each new one.
fn create_directories(path: &Path) -> Result<(), Error> {
    let mut missing = Vec::new();
    let mut at = Some(path);
    while let Some(path) = at.filter(|p| !p.as_os_str().is_empty()) {
        match mkdir(path, DIRECTORY_MODE) {
            Ok(()) => {
                sync_parent(path)?;
                break;
            }
            Err(Errno::EXIST) => break,
            Err(Errno::NOENT) => missing.push(path),
            // On a read-only file system `mkdir` also fails for an existing directory. Opening it reports the right
            // error.
            Err(_) if path.is_dir() => break,
            Err(errno) => return Err(io_error("make the directory", path)(errno)),
        }
        at = path.parent();
    }
    for path in missing.into_iter().rev() {
        match mkdir(path, DIRECTORY_MODE) {
            Ok(()) => sync_parent(path)?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(io_error("make the directory", path)(errno)),
        }
    }
    Ok(())
}

fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = openat(CWD, parent, OPEN_DIRECTORY, Mode::empty()).map_err(io_error("open", parent))?;
    fsync(directory).map_err(io_error("sync", parent))
}
