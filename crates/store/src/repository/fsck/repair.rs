//! Making a repository whole: objects first, then what leads to them.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use composefs_image::Digest;
use composefs_image::erofs::read::{Reader, load};
use rustix::fs::{Mode, fchmod, fsync};

use super::damage::{Damage, Kind, Remedy};
use super::needs::{Needs, damage};
use super::objects::object_path;
use super::quarantine::Quarantine;
use super::sources::{Source, fetch_misnamed};
use crate::repository::{Lease, RefName, Repository, RepositoryError, layout};

/// The mode of every object.
const OBJECT_MODE: Mode = Mode::from_raw_mode(0o644);

pub(super) struct Repair<'r> {
    repository: &'r Repository,
    lease: &'r Lease,
    sources: &'r [Source],
    quarantine: Quarantine<'r>,
    /// Contents that are in the repository under other names.
    misnamed: HashMap<Digest, PathBuf>,
}

impl<'r> Repair<'r> {
    pub(super) fn new(
        repository: &'r Repository,
        lease: &'r Lease,
        sources: &'r [Source],
        misnamed: Vec<(Digest, PathBuf)>,
    ) -> Self {
        let quarantine = Quarantine::new(repository);
        Self { repository, lease, sources, quarantine, misnamed: misnamed.into_iter().collect() }
    }

    /// Mends what can be.
    pub(super) fn run(&self, damages: &mut Vec<Damage>) -> Result<(), RepositoryError> {
        self.objects(damages)?;
        for damage in damages.iter_mut() {
            match damage.kind {
                Kind::Mode => damage.remedy = self.mode(damage),
                Kind::NoVerity => damage.remedy = self.verity(damage),
                Kind::Foreign => damage.remedy = self.take_away(&damage.path)?,
                _ => {}
            }
        }
        // Images that are there again need what nobody could ask for before.
        self.needed_now(damages)?;
        for damage in damages.iter_mut() {
            match damage.kind {
                Kind::ImageLink | Kind::Dangling => damage.remedy = self.image_link(damage)?,
                Kind::Image => damage.remedy = self.image(damage)?,
                Kind::Stream => damage.remedy = self.stream(damage),
                _ => {}
            }
        }
        for damage in damages.iter_mut().filter(|damage| damage.kind == Kind::Ref) {
            damage.remedy = self.reference(damage)?;
        }
        Ok(())
    }

    /// Objects that are wrong or missing, from wherever their contents can be had.
    fn objects(&self, damages: &mut [Damage]) -> Result<(), RepositoryError> {
        // What is in the way of a directory goes first: it may have a hundred objects' place.
        for damage in damages.iter_mut().filter(|damage| is_in_the_way(damage)) {
            damage.remedy = self.take_away(&damage.path)?;
        }
        let mut wanted: HashSet<Digest> = damages.iter().filter_map(wanted_of).collect();
        let all = wanted.clone();
        if all.is_empty() {
            return Ok(());
        }
        // A file that will be replaced keeps a name here; anything else has to make room.
        let mut kept: HashMap<PathBuf, PathBuf> = HashMap::new();
        for damage in damages.iter_mut().filter(|damage| has_wrong_object(damage.kind)) {
            if damage.kind == Kind::NotRegular {
                damage.remedy = self.take_away(&damage.path)?;
            } else if damage.kind != Kind::WrongVerity
                && let Some(path) = self.quarantine.keep(&damage.path)?
            {
                kept.insert(damage.path.clone(), path);
            }
        }
        let wrong = damages.iter().filter(|damage| has_wrong_object(damage.kind)).filter_map(|damage| damage.digest);
        let batch = self.repository.objects().batch_replacing(self.lease, wrong.collect());
        fetch_misnamed(self.repository, &self.misnamed, &mut wanted, &batch)?;
        // What has the right content and the wrong fs-verity is copied from itself.
        let own: HashMap<Digest, PathBuf> = damages
            .iter()
            .filter(|damage| damage.kind == Kind::WrongVerity)
            .filter_map(|damage| Some((damage.digest?, damage.path.clone())))
            .collect();
        fetch_misnamed(self.repository, &own, &mut wanted, &batch)?;
        for source in self.sources {
            if !wanted.is_empty() {
                source.fetch(&mut wanted, &batch)?;
            }
        }
        batch.finish()?;
        for damage in damages.iter_mut() {
            let Some(digest) = wanted_of(damage) else { continue };
            if damage.kind == Kind::Dangling || damage.kind == Kind::Stream {
                continue;
            }
            if !wanted.contains(&digest) {
                damage.remedy = Remedy::Repaired;
            } else if let Some(kept) = kept.get(&damage.path) {
                self.quarantine.forget(kept);
                let taken = self.take_away(&damage.path)?;
                damage.remedy = self.without_content(damage, taken);
            } else {
                let taken = damage.remedy.clone();
                damage.remedy = self.without_content(damage, taken);
            }
        }
        Ok(())
    }

    /// What is to be said of an object whose content is nowhere.
    fn without_content(&self, damage: &Damage, taken: Remedy) -> Remedy {
        match taken {
            Remedy::TakenAway(path) if damage.needed_by.is_none() => Remedy::TakenAway(path),
            Remedy::TakenAway(path) => Remedy::Failed(format!(
                "its content is nowhere to be had; what was there is in {}: give --from with a repository, objects or a \
                 tree that has it",
                path.display()
            )),
            Remedy::Failed(why) => Remedy::Failed(why),
            Remedy::Left | Remedy::Repaired => Remedy::Failed(
                "its content is nowhere to be had: give --from with a repository, objects or a tree that has it".into(),
            ),
        }
    }

    /// Looks again for what is needed and not there, as long as that brings anything.
    fn needed_now(&self, damages: &mut Vec<Damage>) -> Result<(), RepositoryError> {
        for _ in 0..2 {
            let needs = Needs::find(self.repository, Some(self.lease))?;
            let known: HashSet<Digest> = damages.iter().filter_map(wanted_of).collect();
            let mut new = Vec::new();
            for digest in needs.objects.keys().filter(|digest| !known.contains(*digest)) {
                if self.repository.objects().try_stat(digest).is_err() {
                    let found = "there is no such object".into();
                    let mut damage = damage(Kind::Missing, object_path(digest), found, Some(*digest));
                    damage.needed_by = needs.needed_by(digest);
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

    fn mode(&self, damage: &Damage) -> Remedy {
        let Some(digest) = damage.digest else { return Remedy::Left };
        let changed = match self.repository.objects().try_open(&digest) {
            Ok(file) => fchmod(&file, OBJECT_MODE).and_then(|()| fsync(&file)),
            Err(errno) => Err(errno),
        };
        changed.map_or_else(|errno| Remedy::Failed(errno.to_string()), |()| Remedy::Repaired)
    }

    fn verity(&self, damage: &Damage) -> Remedy {
        let Some(digest) = damage.digest else { return Remedy::Left };
        let sealed = match self.repository.objects().try_open(&digest) {
            Ok(file) => self.repository.objects().seal(file.as_fd(), &digest, false).map_err(|error| error.to_string()),
            Err(errno) => Err(errno.to_string()),
        };
        sealed.map_or_else(Remedy::Failed, |()| Remedy::Repaired)
    }

    fn take_away(&self, path: &Path) -> Result<Remedy, RepositoryError> {
        Ok(match self.quarantine.take(path)? {
            Some(kept) => Remedy::TakenAway(kept),
            // Somebody else did.
            None => Remedy::Repaired,
        })
    }

    /// Whether an image of this digest is there whole, and can be vouched for.
    fn is_whole_image(&self, digest: &Digest) -> Result<(), String> {
        let bytes = self.repository.read_image(digest).map_err(|error| error.to_string())?;
        let loaded = Reader::new(&bytes).and_then(|reader| load(&reader, &[])).map_err(|error| error.to_string())?;
        let missing = super::super::create::objects_of(&loaded.tree)
            .find(|(_, object)| self.repository.objects().try_stat(object).is_err());
        match missing {
            Some((_, object)) => Err(format!("it needs {object}, which is not there")),
            None => Ok(()),
        }
    }

    fn image_link(&self, damage: &Damage) -> Result<Remedy, RepositoryError> {
        // Not a name that an image can have.
        let Some(digest) = damage.digest.filter(|digest| digest.algorithm() == self.repository.algorithm()) else {
            return self.take_away(&damage.path);
        };
        self.lease.claim(&[digest])?;
        if let Err(why) = self.is_whole_image(&digest) {
            return Ok(Remedy::Failed(why));
        }
        let path = PathBuf::from(layout::IMAGES).join(digest.to_hex());
        if damage.kind == Kind::ImageLink {
            self.quarantine.take(&path)?;
        }
        let _shared = self.repository.lock_shared()?;
        self.repository.write_image_link(self.lease, &digest)?;
        Ok(Remedy::Repaired)
    }

    /// What cannot be read is not vouched for any more, unless a name leads there.
    fn image(&self, damage: &Damage) -> Result<Remedy, RepositoryError> {
        let named = self.repository.refs()?.good.into_iter().find(|(_, digest)| Some(*digest) == damage.digest);
        match named {
            Some((name, _)) => Ok(Remedy::Failed(format!("it was published like that: `composefs untag {name}`"))),
            None => self.take_away(&damage.path),
        }
    }

    fn stream(&self, damage: &Damage) -> Remedy {
        match damage.digest {
            Some(digest) if self.repository.objects().try_stat(&digest).is_ok() => Remedy::Repaired,
            _ => Remedy::Failed("it belongs to the program that made it".into()),
        }
    }

    /// Where a name led, only another repository can tell.
    fn reference(&self, damage: &Damage) -> Result<Remedy, RepositoryError> {
        let name = damage.path.strip_prefix(layout::IMAGE_REFS).ok().and_then(Path::to_str);
        let Some(name) = name.and_then(|name| RefName::new(name).ok()) else {
            return self.take_away(&damage.path);
        };
        let Some(digest) = self.sources.iter().find_map(|source| source.image_of(&name)) else {
            let why = format!("where it led cannot be found out: `composefs tag DIGEST {name}`, or untag it");
            return Ok(Remedy::Failed(why));
        };
        self.lease.claim(&[digest])?;
        if !self.repository.has_image(&digest)? {
            return Ok(Remedy::Failed(format!("it led to {digest}, and that image is not here")));
        }
        self.quarantine.take(&damage.path)?;
        let _shared = self.repository.lock_shared()?;
        self.repository.write_ref(self.lease, &name, &digest)?;
        Ok(Remedy::Repaired)
    }
}

/// Something else than a directory, where one of the 256 should be.
fn is_in_the_way(damage: &Damage) -> bool {
    damage.kind == Kind::Foreign
        && damage.path.components().count() == 2
        && damage.path.file_name().is_some_and(|name| name.len() == 2)
}

fn has_wrong_object(kind: Kind) -> bool {
    use Kind::{Contents, Empty, Misnamed, NotRegular, Truncated, Unreadable, WrongVerity};
    matches!(kind, Contents | Empty | Misnamed | NotRegular | Truncated | Unreadable | WrongVerity)
}

/// The content that would mend a damage.
fn wanted_of(damage: &Damage) -> Option<Digest> {
    let wants = has_wrong_object(damage.kind) || matches!(damage.kind, Kind::Missing | Kind::Dangling | Kind::Stream);
    damage.digest.filter(|_| wants)
}
