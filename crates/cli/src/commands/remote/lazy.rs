//! The objects of a lazy mount, as its server has them, and what the server says about them.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use libcomposefs_delivery::{LazyObjects, LazyStatus};
use libcomposefs_fuse::{ObjectSupply, STATUS_ATTRIBUTE, SupplyError};
use libcomposefs_image::Digest;
use libcomposefs_repo::Repository;
use rustix::io::Errno;
use serde_json::{Value, json};

use super::lazy_place::{self, FoundPlace, STATUS_MAX};
use crate::commands::repository::tell_of_waiting;
use crate::error_text::with_remedy;

/// The objects of a remote as the supply of an image server.
#[derive(Debug)]
pub(crate) struct LazySupply {
    objects: LazyObjects,
    /// What never changes: repository, image and remote.
    facts: Value,
}

impl LazySupply {
    pub(crate) fn new(objects: LazyObjects, facts: Value) -> Self {
        Self { objects, facts }
    }

    /// Returns the objects.
    pub(crate) fn objects(&self) -> &LazyObjects {
        &self.objects
    }

    /// Makes a failure the last one of the status.
    pub(crate) fn note(&self, failure: String) {
        self.objects.note(failure);
    }
}

impl ObjectSupply for LazySupply {
    fn supply(&self, digest: &Digest, size: u64) -> Result<(), SupplyError> {
        Ok(self.objects.fetch(digest, size)?)
    }

    fn end(&self) {
        self.objects.end();
    }

    fn status(&self) -> Vec<u8> {
        status_text(&self.facts, self.objects.status())
    }
}

/// Returns the status of a lazy mount, as its server gives it.
pub(crate) fn status_text(facts: &Value, status: LazyStatus) -> Vec<u8> {
    let mut all = facts.clone();
    all["waiting"] = status.waiting.into();
    all["running"] = status.running.into();
    all["last_error"] = status.last_error.map_or(Value::Null, |(time, message)| {
        let time = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        json!({ "time": time, "message": message })
    });
    all.to_string().into_bytes()
}

/// What the server of a lazy mount says.
pub(super) struct ServerStatus {
    pub(super) repository: PathBuf,
    pub(super) digest: Digest,
    pub(super) remote: String,
    pub(super) name: String,
    /// The way of the mount: `fuse`, or `overlay`.
    pub(super) way: String,
    /// False if no process serves the mount any more.
    pub(super) is_served: bool,
    /// Number of times that the worker was started again.
    pub(super) restarts: u64,
    /// How the last worker ended.
    pub(super) last_end: Option<String>,
    pub(super) waiting: u64,
    pub(super) last_error: Option<(Duration, String)>,
}

impl ServerStatus {
    /// Asks the server of a lazy mount.
    pub(super) fn ask(target: &Path) -> anyhow::Result<Self> {
        let shown = target.display();
        let unknown = || format!("{shown} has a status that this program does not know");
        match lazy_place::find(target) {
            Ok(Some(FoundPlace::Served(text))) => return Self::parse(&text).with_context(unknown),
            Ok(Some(FoundPlace::Unserved(facts))) => {
                let found = Self::of_value(&facts).with_context(unknown)?;
                return Ok(Self { is_served: false, ..found });
            }
            // The directory of these files is for root, as lazy mounts by the kernel are.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            Ok(None) => {}
            Err(error) => bail!("cannot ask the worker of {shown}: {error}"),
        }
        let mut text = vec![0; STATUS_MAX];
        let len = match rustix::fs::getxattr(target, STATUS_ATTRIBUTE, &mut text[..]) {
            Ok(len) => len,
            Err(Errno::NODATA | Errno::OPNOTSUPP) => bail!(
                "{shown} is not the mount point of a lazy mount: `composefs mount --lazy=REMOTE REF DIR` makes one"
            ),
            Err(errno @ Errno::NOTCONN) => {
                let error = format!("cannot ask the server of {shown}: {}", std::io::Error::from(errno));
                return Err(with_remedy(
                    error,
                    format!("the server has ended: `composefs umount {shown}`, then mount"),
                ));
            }
            Err(errno) => bail!("cannot ask the server of {shown}: {}", std::io::Error::from(errno)),
        };
        Self::parse(text.get(..len).unwrap_or_default()).with_context(unknown)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        Self::of_value(&serde_json::from_slice(text).ok()?)
    }

    fn of_value(value: &Value) -> Option<Self> {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let last_error = value["last_error"].as_object().and_then(|error| {
            Some((Duration::from_secs(error["time"].as_u64()?), error["message"].as_str()?.to_owned()))
        });
        Some(Self {
            repository: text("repository")?.into(),
            digest: Digest::from_hex(text("digest")?).ok()?,
            remote: text("remote")?,
            name: text("ref")?,
            way: text("way").unwrap_or_else(|| "fuse".to_owned()),
            is_served: true,
            restarts: value["restarts"].as_u64().unwrap_or(0),
            last_end: text("last_end"),
            waiting: value["waiting"].as_u64().unwrap_or(0),
            last_error,
        })
    }

    /// Opens the repository of the mount.
    pub(super) fn open_repository(&self) -> anyhow::Result<Repository> {
        Ok(Repository::open(&self.repository)?.telling(tell_of_waiting))
    }
}
