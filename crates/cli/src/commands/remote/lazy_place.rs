//! The files in `/run/composefs/lazy` of lazy mounts by the kernel: for each mount, by its device number, a socket that
//! gives the status, and what is known about the mount, also when no process serves it any more.

use std::fs::{self, DirBuilder};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use libcomposefs_image::Digest;
use rustix::process::{Pid, getpid, test_kill_process};
use serde_json::Value;

use crate::commands::fuse::device_number;

/// The directory of the files.
const DIRECTORY: &str = "/run/composefs/lazy";

/// Most bytes of a status: it has two paths, a URL and a message.
pub(super) const STATUS_MAX: usize = 64 << 10;

/// Longest time to wait for a status. A worker that has just ended is started again.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

/// The socket of a mount, which the holder made, and on which the worker answers.
#[derive(Debug)]
pub(crate) struct LazyPlace {
    listener: UnixListener,
    socket: PathBuf,
    /// The file with what is known about the mount, and the number of the mount.
    mounted: Option<(PathBuf, (u32, u32))>,
}

/// How often the worker of a mount was started again, and why.
#[derive(Clone, Debug, Default)]
pub(crate) struct LazyRestarts {
    count: u64,
    last_end: Option<String>,
}

/// What is found about the mount of a directory.
#[derive(Debug)]
pub(super) enum FoundPlace {
    /// A process answered: this is the status.
    Served(Vec<u8>),
    /// No process serves the mount. This is what is known about it.
    Unserved(Value),
}

impl LazyRestarts {
    /// Notes that a worker has ended.
    pub(crate) fn note(&mut self, end: &str) {
        self.count += 1;
        self.last_end = Some(end.to_owned());
    }

    /// Puts the numbers into a status.
    pub(crate) fn put(&self, status: &mut Value) {
        status["restarts"] = self.count.into();
        status["last_end"] = self.last_end.clone().into();
    }
}

impl LazyPlace {
    /// Makes the socket under a name of this process, and removes what processes that were killed have left.
    pub(crate) fn new() -> io::Result<Self> {
        for directory in [Path::new("/run/composefs"), Path::new(DIRECTORY)] {
            match DirBuilder::new().mode(0o700).create(directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        remove_stale();
        let socket = Path::new(DIRECTORY).join(format!("{}.sock", getpid().as_raw_nonzero()));
        let _ = fs::remove_file(&socket);
        Ok(Self { listener: UnixListener::bind(&socket)?, socket, mounted: None })
    }

    /// Returns the socket that programs connect to.
    pub(crate) fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Returns the device number of the mount, if it is mounted.
    pub(crate) fn number(&self) -> Option<(u32, u32)> {
        self.mounted.as_ref().map(|(_, number)| *number)
    }

    /// Gives the files their names, by the device number of the mount.
    pub(crate) fn take(&mut self, number: (u32, u32), facts: &Value) -> io::Result<()> {
        let facts_path = path(number, "json");
        self.mounted = Some((facts_path.clone(), number));
        let mut facts = facts.clone();
        facts["holder"] = getpid().as_raw_nonzero().get().into();
        let temporary = self.socket.with_extension("new");
        fs::write(&temporary, facts.to_string())?;
        fs::rename(&temporary, facts_path)?;
        let socket = path(number, "sock");
        fs::rename(&self.socket, &socket)?;
        self.socket = socket;
        Ok(())
    }

    /// Removes the socket: the mount needs no process.
    pub(crate) fn leave(&self) {
        let _ = fs::remove_file(&self.socket);
    }

    /// Removes all files of the mount.
    pub(crate) fn remove(&self) {
        self.leave();
        if let Some((facts, _)) = &self.mounted {
            let _ = fs::remove_file(facts);
        }
    }
}

/// Finds the mount of a directory; `None` if it is no lazy mount by the kernel.
pub(super) fn find(target: &Path) -> io::Result<Option<FoundPlace>> {
    let number = device_number(target)?;
    let facts: Value = match fs::read(path(number, "json")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        facts => serde_json::from_slice(&facts?).unwrap_or_default(),
    };
    // Of a mount that has ended, and whose number another one has.
    if !is_mounted(target, &facts) {
        return Ok(None);
    }
    let answer = UnixStream::connect(path(number, "sock")).and_then(|socket| {
        socket.set_read_timeout(Some(STATUS_TIMEOUT))?;
        let mut status = Vec::new();
        socket.take(STATUS_MAX as u64).read_to_end(&mut status)?;
        Ok(status)
    });
    match answer {
        Ok(status) if !status.is_empty() => Ok(Some(FoundPlace::Served(status))),
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Ok(Some(FoundPlace::Unserved(facts)))
        }
        Err(error) => Err(error),
    }
}

/// Returns true if the image of the facts is mounted at a directory.
fn is_mounted(target: &Path, facts: &Value) -> bool {
    let digest = digest_of(facts);
    let (Ok(target), Ok(mounts)) = (target.canonicalize(), libcomposefs_mount::mounts()) else { return false };
    digest.is_some() && mounts.iter().any(|mount| mount.target == target && mount.digest == digest)
}

fn digest_of(facts: &Value) -> Option<Digest> {
    Digest::from_hex(facts["digest"].as_str()?).ok()
}

fn path((major, minor): (u32, u32), ending: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{major}:{minor}.{ending}"))
}

/// Removes files of mounts without a holder whose image is mounted nowhere here, and sockets without a process.
fn remove_stale() {
    let Ok(files) = fs::read_dir(DIRECTORY) else { return };
    let mounts = libcomposefs_mount::mounts().unwrap_or_default();
    for file in files.flatten() {
        let path = file.path();
        let is_stale = match path.extension().and_then(|ending| ending.to_str()) {
            Some("sock") => UnixStream::connect(&path).is_err(),
            Some("json") => {
                let facts: Value =
                    fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
                let digest = digest_of(&facts);
                let holder = facts["holder"].as_i64().and_then(|number| Pid::from_raw(i32::try_from(number).ok()?));
                holder.is_none_or(|holder| test_kill_process(holder).is_err())
                    && !mounts.iter().any(|mount| mount.digest == digest)
            }
            _ => false,
        };
        if is_stale {
            let _ = fs::remove_file(path);
        }
    }
}
