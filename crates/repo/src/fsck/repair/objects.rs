//! Repair of objects: contents from the sources, modes and fs-verity.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use libcomposefs_image::Digest;
use rustix::fs::{Mode, fchmod, fstat, fsync};
use rustix::io::Errno;

use super::{CHANGED, NOT_FOUND_FOR_STREAM, Repair, has_wrong_object};
use crate::RepositoryError;
use crate::fsck::damage::{Damage, DamageKind, Remedy};
use crate::fsck::expected::{Needs, damage};
use crate::fsck::objects::{judge_again, object_path};
use crate::fsck::quarantine::{Kept, Taken};
use crate::fsck::seen::SeenEntry;
use crate::fsck::sources::{fetch_misnamed, put_if};

/// Mode of every object.
const OBJECT_MODE: Mode = Mode::from_raw_mode(0o644);

/// Wrong entries before their objects are restored, by path.
#[derive(Default)]
struct SetAside {
    /// Files that have a second name in the quarantine.
    kept: HashMap<PathBuf, Kept>,
    /// Entries that are not what was judged any more.
    changed: HashSet<PathBuf>,
}

impl Repair<'_> {
    /// Restores wrong and missing objects from the sources.
    pub(super) fn objects(&self, damages: &mut [Damage]) -> Result<(), RepositoryError> {
        // Entries in place of a directory are moved first: each may be in the way of a hundred objects.
        for damage in damages.iter_mut().filter(|damage| is_in_the_way(damage)) {
            damage.remedy = self.take_away(damage)?;
        }
        let mut wanted: HashSet<Digest> = damages.iter().filter_map(wanted_of).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let SetAside { kept, changed } = self.set_aside(damages)?;
        self.fetch(damages, &changed, &mut wanted)?;
        for damage in damages.iter_mut() {
            let Some(digest) = wanted_of(damage) else { continue };
            if damage.kind == DamageKind::Dangling || damage.kind == DamageKind::Stream {
                continue;
            }
            if !wanted.contains(&digest) {
                damage.remedy = Remedy::Repaired;
            } else if !changed.contains(&damage.path) {
                let taken = match kept.get(&damage.path) {
                    Some(kept) => {
                        let taken = self.quarantine.take_kept(&damage.path, kept, || self.reason_to_leave(damage))?;
                        self.remedy_of(damage, taken)
                    }
                    None => damage.remedy.clone(),
                };
                damage.remedy = self.without_content(damage, taken);
            }
        }
        Ok(())
    }

    /// Moves wrong entries to the quarantine. A file that will be replaced gets a second name there.
    fn set_aside(&self, damages: &mut [Damage]) -> Result<SetAside, RepositoryError> {
        let SetAside { mut kept, mut changed } = SetAside::default();
        for damage in damages.iter_mut().filter(|damage| has_wrong_object(damage.kind)) {
            let taken = match damage.kind {
                DamageKind::NotRegular => self.take(damage)?,
                DamageKind::WrongVerity => continue,
                _ => match self.quarantine.keep(&damage.path, damage.seen.as_ref())? {
                    Ok(one) => {
                        kept.insert(damage.path.clone(), one);
                        continue;
                    }
                    Err(taken) => taken,
                },
            };
            match taken {
                Taken::To(path) => damage.remedy = Remedy::TakenAway(path),
                Taken::Gone => {}
                Taken::Changed => {
                    changed.insert(damage.path.clone());
                    damage.remedy = self.judged_again(damage);
                }
                Taken::Left(why) => {
                    changed.insert(damage.path.clone());
                    damage.remedy = Remedy::Failed(why);
                }
            }
        }
        Ok(SetAside { kept, changed })
    }

    /// Stores the wanted contents that a source has, and removes them from the set.
    fn fetch(
        &self,
        damages: &[Damage],
        changed: &HashSet<PathBuf>,
        wanted: &mut HashSet<Digest>,
    ) -> Result<(), RepositoryError> {
        let wrong = damages.iter().filter(|damage| has_wrong_object(damage.kind) && !changed.contains(&damage.path));
        let wrong = wrong.filter_map(|damage| damage.digest).collect();
        let batch = self.repository.objects().batch_replacing(self.lease.clone(), wrong);
        fetch_misnamed(self.repository, &self.misnamed, wanted, &batch)?;
        // An object with the right content and the wrong fs-verity is copied from itself.
        let own: HashMap<Digest, PathBuf> = damages
            .iter()
            .filter(|damage| damage.kind == DamageKind::WrongVerity)
            .filter_map(|damage| Some((damage.digest?, damage.path.clone())))
            .collect();
        fetch_misnamed(self.repository, &own, wanted, &batch)?;
        for source in self.sources {
            if !wanted.is_empty() {
                source.fetch(wanted, &batch)?;
            }
        }
        batch.finish()?;
        Ok(())
    }

    /// Returns the remedy of an object whose content was not found.
    fn without_content(&self, damage: &Damage, taken: Remedy) -> Remedy {
        match taken {
            Remedy::TakenAway(path) if damage.needed_by.is_none() && damage.stream.is_none() => Remedy::TakenAway(path),
            Remedy::TakenAway(path) => Remedy::Failed(format!(
                "its content was not found; the wrong object is in {}: give --from with a repository, objects or a \
                 tree that has it",
                path.display()
            )),
            // It was repaired by another process meanwhile, or must be left.
            remedy @ (Remedy::Repaired | Remedy::Failed(_)) => remedy,
            Remedy::Left if damage.needed_by.is_none() && damage.stream.is_some() => {
                Remedy::Failed(NOT_FOUND_FOR_STREAM.into())
            }
            Remedy::Left => Remedy::Failed(
                "its content was not found: give --from with a repository, objects or a tree that has it".into(),
            ),
        }
    }

    /// Looks for needed objects that are missing, until nothing new is found.
    pub(super) fn needed_now(&self, damages: &mut Vec<Damage>) -> Result<(), RepositoryError> {
        for _ in 0..2 {
            let needs = Needs::find(self.repository, |images| Ok(self.lease.protect(images).map(|()| true)?))?;
            let known: HashSet<Digest> = damages.iter().filter_map(wanted_of).collect();
            let mut new: Vec<Damage> = Vec::new();
            let all = needs.objects.keys().chain(needs.stream_objects.keys());
            for digest in all.filter(|digest| !known.contains(*digest)) {
                if self.repository.objects().try_stat(digest).is_err()
                    && new.iter().all(|damage| damage.digest != Some(*digest))
                {
                    let found = "there is no such object".into();
                    let mut damage = damage(DamageKind::Missing, object_path(digest), found, Some(*digest));
                    needs.put_needs(&mut damage);
                    new.push(damage);
                }
            }
            if new.is_empty() {
                return Ok(());
            }
            self.objects(&mut new)?;
            damages.append(&mut new);
        }
        Ok(())
    }

    pub(super) fn mode(&self, damage: &Damage) -> Remedy {
        self.in_place(damage, |file, _| fchmod(file, OBJECT_MODE).and_then(|()| fsync(file)).map_err(|e| e.to_string()))
    }

    pub(super) fn verity(&self, damage: &Damage) -> Remedy {
        self.in_place(damage, |file, digest| {
            self.repository.objects().seal(file, digest, false).map_err(|error| error.to_string())
        })
    }

    /// Changes the object that was judged. If the file has other names, or belongs to another user, a changed copy
    /// replaces it.
    fn in_place(&self, damage: &Damage, change: impl FnOnce(BorrowedFd<'_>, &Digest) -> Result<(), String>) -> Remedy {
        let Some(digest) = damage.digest else { return Remedy::Left };
        let objects = self.repository.objects();
        let opened = objects.try_open(&digest).and_then(|file| Ok((fstat(&file)?, file)));
        let (stat, file) = match opened {
            Ok(opened) => opened,
            Err(Errno::NOENT) => return self.judged_again(damage),
            Err(errno) => return Remedy::Failed(errno.to_string()),
        };
        if Some(SeenEntry::of(&stat)) != damage.seen {
            return self.judged_again(damage);
        }
        let changed = if objects.is_shared(&stat) {
            let batch = objects.batch_replacing(self.lease.clone(), HashSet::from([digest]));
            match put_if(&digest, file.as_fd(), &batch).and_then(|put| Ok((put, batch.finish()?))) {
                Ok((true, _)) => Ok(()),
                Ok((false, _)) => Err("it has changed while it was copied".into()),
                Err(error) => Err(error.to_string()),
            }
        } else {
            change(file.as_fd(), &digest)
        };
        changed.map_or_else(Remedy::Failed, |()| Remedy::Repaired)
    }

    /// Returns the remedy of an object that is not what was judged any more.
    pub(super) fn judged_again(&self, damage: &Damage) -> Remedy {
        let is_right = damage.digest.is_some_and(|digest| {
            self.repository.objects().try_stat(&digest).is_ok()
                && judge_again(self.repository, self.needs, &digest, self.threads).is_none()
        });
        if is_right { Remedy::Repaired } else { Remedy::Failed(CHANGED.into()) }
    }
}

/// Returns whether an entry is in the place of one of the 256 directories.
fn is_in_the_way(damage: &Damage) -> bool {
    damage.kind == DamageKind::Foreign
        && damage.path.components().count() == 2
        && damage.path.file_name().is_some_and(|name| name.len() == 2)
}

/// Returns the content that would repair a damage.
fn wanted_of(damage: &Damage) -> Option<Digest> {
    let wants = has_wrong_object(damage.kind)
        || matches!(damage.kind, DamageKind::Missing | DamageKind::Dangling | DamageKind::Stream);
    damage.digest.filter(|_| wants)
}
