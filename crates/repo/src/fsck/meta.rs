//! Repositories whose `meta.json` is damaged are opened and repaired.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use libcomposefs_image::Algorithm;
use rustix::fs::{Mode, OFlags, open};

use super::damage::{Damage, DamageKind, Remedy};
use super::expected::damage;
use super::quarantine::Quarantine;
use super::seen::SeenEntry;
use super::sources::RepairSource;
use crate::init::write_meta;
use crate::{Format, Meta, Repository, RepositoryError, demands_verity, io_error, layout};
use libcomposefs_store::ObjectDir;
use libcomposefs_store::StorePolicy;

/// Opens a repository, and returns the damage of its settings. Damaged settings are derived from the objects.
pub(super) fn open_anyway(path: &Path) -> Result<(Repository, Option<Damage>), RepositoryError> {
    let found = match Repository::open(path) {
        Ok(repository) => return Ok((repository, None)),
        Err(RepositoryError::Meta { source, .. }) if source.is_damage() => source.to_string(),
        Err(error @ RepositoryError::NotARepository { .. }) if has_objects(path) => {
            let _ = error;
            "it is missing".into()
        }
        Err(RepositoryError::Io { step: "read", path: of, source }) if of.ends_with(layout::META) => source.to_string(),
        Err(RepositoryError::Io { step: "open", path: of, source })
            if of.ends_with(layout::META)
                && matches!(source.raw_os_error(), Some(code) if code == rustix::io::Errno::LOOP.raw_os_error()) =>
        {
            "it is a symlink".into()
        }
        Err(error) => return Err(error),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open(path, flags, Mode::empty()).map_err(io_error("open the repository", path))?;
    let Some((algorithm, demands_verity)) = guess(path) else {
        return Err(RepositoryError::NotARepository { path: path.to_owned() });
    };
    let meta = Meta::new(algorithm, Format::default());
    let repository = Repository::with_meta(directory, path, meta, demands_verity)?;
    Ok((repository, Some(damage(DamageKind::Meta, layout::META.into(), found, None))))
}

fn has_objects(path: &Path) -> bool {
    guess(path).is_some()
}

/// Derives the settings from one object, as all are alike.
fn guess(path: &Path) -> Option<(Algorithm, bool)> {
    [Algorithm::Sha256, Algorithm::Sha512].into_iter().find_map(|algorithm| {
        let objects = ObjectDir::open(&path.join(layout::OBJECTS), algorithm, StorePolicy::default()).ok()?;
        let first = objects.list().find_map(Result::ok)?;
        let file: OwnedFd = objects.open_object(&first).ok()??;
        Some((algorithm, demands_verity(&file).unwrap_or(false)))
    })
}

/// Writes the settings again: the settings of a similar repository, otherwise the derived ones.
pub(super) fn repair(repository: &Repository, sources: &[RepairSource]) -> Remedy {
    let like = sources.iter().find_map(|source| match source {
        RepairSource::Repository(other) if other.demands_verity() == repository.demands_verity() => {
            Some(other.meta().clone())
        }
        _ => None,
    });
    let meta = like.unwrap_or_else(|| repository.meta().clone());
    // Another repair may have written the file meanwhile.
    if Repository::open(repository.path()).is_ok() {
        return Remedy::Repaired;
    }
    let seen = SeenEntry::at(repository.dir.as_fd(), OsStr::new(layout::META)).ok().flatten();
    let has_come =
        || Ok(Repository::open(repository.path()).is_ok().then(|| "another process has repaired it".to_owned()));
    let written = Quarantine::new(repository)
        .take(Path::new(layout::META), seen.as_ref(), has_come)
        .and_then(|_| write_meta(&repository.dir.fd, repository.path(), &meta, repository.demands_verity()));
    match written {
        Ok(_) => Remedy::Repaired,
        Err(error) => Remedy::Failed(error.to_string()),
    }
}
