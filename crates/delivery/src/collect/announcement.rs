//! The announcement of a gc of a remote: the files that it is about to remove.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::remote::Remote;
use crate::{
    DeliveryError, DocumentError, ExpectedFile, FileName, FileVersion, REMOTE_VERSION, RefReplacement, check_version,
};

/// Most files of one announcement.
pub(super) const ANNOUNCED_MAX: usize = 4096;
/// Age at which an announcement is taken for that of a dead gc.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(3600);
/// Most bytes of the announcements.
const ANNOUNCEMENT_MAX: u64 = 4 << 20;
/// Most gcs at once.
const COLLECTIONS_MAX: usize = 8;
/// Number of attempts to change the announcements while others do.
const TRIES: usize = 64;

/// The files that running gcs are about to remove.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Announcement {
    version: u32,
    collections: Vec<CollectionJson>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CollectionJson {
    /// Number that distinguishes gcs, at random.
    id: u64,
    /// Time of the announcement, in seconds since 1970.
    begun: u64,
    /// Paths of the files.
    files: Vec<String>,
}

impl Announcement {
    /// Reads the announcements of the gcs that may still run; `None` if no such gc has announced a file.
    pub(crate) fn read(remote: &Remote<'_>) -> Result<Option<Self>, DeliveryError> {
        let (mut all, _) = Self::read_all(remote)?;
        all.forget_dead(DEAD_AFTER);
        Ok((!all.collections.is_empty()).then_some(all))
    }

    /// Returns whether a gc is about to remove a file.
    pub(crate) fn has(&self, name: &FileName) -> bool {
        let path = name.path();
        self.collections.iter().any(|one| one.files.contains(&path))
    }

    /// Takes back the announcements of dead gcs.
    pub(super) fn forget(remote: &Remote<'_>, dead_after: Duration) -> Result<(), DeliveryError> {
        let (mut all, _) = Self::read_all(remote)?;
        let before = all.collections.len();
        all.forget_dead(dead_after);
        if all.collections.len() == before {
            return Ok(());
        }
        Self::change(remote, |all| all.forget_dead(dead_after))
    }

    fn read_all(remote: &Remote<'_>) -> Result<(Self, Option<FileVersion>), DeliveryError> {
        let (store, name) = (remote.store(), FileName::Collection);
        let Some(file) = remote.patience().access(|| store.read(&name, ANNOUNCEMENT_MAX))? else {
            return Ok((Self { version: REMOTE_VERSION, collections: Vec::new() }, None));
        };
        let parsed = check_version(&file.bytes).and_then(|()| Ok(serde_json::from_slice(&file.bytes)?));
        let wrong = |source| DeliveryError::Document { location: remote.location(), file: name.path(), source };
        let version = file.version.unwrap_or_else(|| FileVersion(String::new()));
        Ok((parsed.map_err(wrong)?, Some(version)))
    }

    fn forget_dead(&mut self, after: Duration) {
        let now = seconds();
        self.collections.retain(|one| now.saturating_sub(one.begun) < after.as_secs());
    }

    /// Changes the announcements, whatever others do.
    fn change(remote: &Remote<'_>, change: impl Fn(&mut Self)) -> Result<(), DeliveryError> {
        let (store, name) = (remote.store(), FileName::Collection);
        let wrong = |source| DeliveryError::Document { location: remote.location(), file: name.path(), source };
        for _ in 0..TRIES {
            let (mut all, version) = Self::read_all(remote)?;
            change(&mut all);
            if all.collections.len() > COLLECTIONS_MAX {
                break;
            }
            let text = serde_json::to_vec(&all).map_err(DocumentError::from).map_err(wrong)?;
            let expected = version.map_or(ExpectedFile::Absent, ExpectedFile::Version);
            match remote.patience().access(|| store.replace(&name, &text, &expected))? {
                RefReplacement::Done(_) => return Ok(()),
                RefReplacement::Changed => {}
            }
        }
        Err(DeliveryError::Collection { location: remote.location() })
    }
}

/// The announcement of this gc.
#[must_use = "the announcement must be taken back"]
pub(super) struct Announced {
    id: u64,
}

impl Announced {
    /// Announces files. Those of dead gcs are forgotten.
    pub(super) fn begin(
        remote: &Remote<'_>,
        files: Vec<FileName>,
        dead_after: Duration,
    ) -> Result<Self, DeliveryError> {
        let id = RandomState::new().hash_one(seconds());
        let files: Vec<String> = files.iter().map(FileName::path).collect();
        Announcement::change(remote, |all| {
            all.forget_dead(dead_after);
            all.collections.retain(|one| one.id != id);
            all.collections.push(CollectionJson { id, begun: seconds(), files: files.clone() });
        })?;
        Ok(Self { id })
    }

    /// Takes the announcement back.
    pub(super) fn end(self, remote: &Remote<'_>) -> Result<(), DeliveryError> {
        Announcement::change(remote, |all| all.collections.retain(|one| one.id != self.id))
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
