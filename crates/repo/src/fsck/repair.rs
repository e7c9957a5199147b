//! Repair: objects first, then the links and refs that lead to them.

mod links;
mod objects;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use libcomposefs_image::Digest;
use libcomposefs_sys::tempfile;

use super::FsckOptions;
use super::damage::{Damage, DamageKind, Remedy};
use super::expected::Needs;
use super::quarantine::{Quarantine, Taken};
use super::sources::RepairSource;
use crate::lease::reader::LeaseReader;
use crate::{Lease, Repository, RepositoryError};

/// Reason to leave an entry that is not what was judged.
const CHANGED: &str = "it has changed since it was checked: run this again";
/// Advice about an image that names contents by paths only.
const BY_PATH: &str = "it was made without digests: make the image again from its tree, and untag this one";

/// Advice about a name of a missing stream.
const NO_STREAM: &str = "pull the OCI image again, or remove the name: `composefs oci untag NAME` for a tag";
/// Advice about a content that only a stream needs.
const NOT_FOUND_FOR_STREAM: &str =
    "its content was not found: pull the OCI image again, or give --from with a repository or objects that have it";

pub(super) struct Repair<'r> {
    repository: &'r Repository,
    lease: &'r Arc<Lease>,
    needs: &'r Needs,
    sources: &'r [RepairSource],
    threads: NonZeroUsize,
    quarantine: Quarantine<'r>,
    /// Contents that are in the repository under wrong names.
    misnamed: HashMap<Digest, PathBuf>,
}

impl<'r> Repair<'r> {
    pub(super) fn new(
        repository: &'r Repository,
        lease: &'r Arc<Lease>,
        needs: &'r Needs,
        options: &'r FsckOptions,
        misnamed: Vec<(Digest, PathBuf)>,
    ) -> Self {
        let quarantine = Quarantine::new(repository);
        let (sources, threads, misnamed) = (&options.sources, options.threads, misnamed.into_iter().collect());
        Self { repository, lease, needs, sources, threads, quarantine, misnamed }
    }

    /// Repairs all damages that can be repaired.
    pub(super) fn run(&self, damages: &mut Vec<Damage>) -> Result<(), RepositoryError> {
        self.objects(damages)?;
        for damage in damages.iter_mut() {
            match damage.kind {
                DamageKind::Mode => damage.remedy = self.mode(damage),
                DamageKind::NoVerity => damage.remedy = self.verity(damage),
                DamageKind::Foreign if damage.remedy == Remedy::Left => damage.remedy = self.take_away(damage)?,
                _ => {}
            }
        }
        // The objects of restored images could not be known before.
        self.needed_now(damages)?;
        for damage in damages.iter_mut() {
            match damage.kind {
                DamageKind::ImageLink | DamageKind::Dangling => damage.remedy = self.image_link(damage)?,
                DamageKind::Image => damage.remedy = self.image(damage)?,
                DamageKind::Payload => damage.remedy = Remedy::Failed(BY_PATH.into()),
                DamageKind::Stream => damage.remedy = self.stream(damage),
                DamageKind::StreamName => damage.remedy = Remedy::Failed(NO_STREAM.into()),
                _ => {}
            }
        }
        for damage in damages.iter_mut().filter(|damage| damage.kind == DamageKind::Ref) {
            damage.remedy = self.reference(damage)?;
        }
        Ok(())
    }

    /// Moves the entry that was judged to the quarantine.
    fn take(&self, damage: &Damage) -> Result<Taken, RepositoryError> {
        self.quarantine.take(&damage.path, damage.seen.as_ref(), || self.reason_to_leave(damage))
    }

    fn take_away(&self, damage: &Damage) -> Result<Remedy, RepositoryError> {
        let taken = self.take(damage)?;
        Ok(self.remedy_of(damage, taken))
    }

    fn remedy_of(&self, damage: &Damage, taken: Taken) -> Remedy {
        match taken {
            Taken::To(kept) => Remedy::TakenAway(kept),
            // Another process has repaired it meanwhile.
            Taken::Gone if damage.digest.is_none() || !has_wrong_object(damage.kind) => Remedy::Repaired,
            Taken::Gone => Remedy::Left,
            Taken::Changed if has_wrong_object(damage.kind) => self.judged_again(damage),
            Taken::Changed => Remedy::Failed(CHANGED.into()),
            Taken::Left(why) => Remedy::Failed(why),
        }
    }

    /// Returns the reason why a wrong entry of the object store must be left for now.
    fn reason_to_leave(&self, damage: &Damage) -> Result<Option<String>, RepositoryError> {
        // A damaged stream still says what it needs, and gc would not know that without it.
        let is_file = has_wrong_object(damage.kind) && damage.kind != DamageKind::NotRegular;
        if is_file && damage.needed_by.is_none() && damage.stream.is_some() {
            return Ok(Some(NOT_FOUND_FOR_STREAM.into()));
        }
        let Some(mut leases) = LeaseReader::look_at_others(&self.repository.dir, self.lease)? else { return Ok(None) };
        leases.read(|_| {})?;
        let is_claimed = damage.digest.is_some_and(|digest| leases.claimed.contains(&digest));
        let name = damage.path.file_name().unwrap_or_default().as_encoded_bytes();
        let may_be_written = name.starts_with(tempfile::PREFIX.as_bytes()) && !leases.is_empty();
        let why = "a running command relies on it; run this again when that has ended";
        Ok((is_claimed || may_be_written).then(|| why.to_owned()))
    }
}

fn has_wrong_object(kind: DamageKind) -> bool {
    use DamageKind::{Contents, Empty, Misnamed, NotRegular, Truncated, Unreadable, WrongVerity};
    matches!(kind, Contents | Empty | Misnamed | NotRegular | Truncated | Unreadable | WrongVerity)
}
