//! Repair: objects first, then the links and refs that lead to them.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libcomposefs_image::Digest;
use libcomposefs_image::erofs::read::{Reader, load};
use libcomposefs_sys::tempfile;
use rustix::fs::{Mode, fchmod, fstat, fsync};
use rustix::io::Errno;

use super::FsckOptions;
use super::damage::{Damage, Kind, Remedy};
use super::expected::{Needs, damage};
use super::objects::{judge_again, object_path};
use super::quarantine::{Kept, Quarantine, Taken};
use super::seen::SeenEntry;
use super::sources::{Source, fetch_misnamed, put_if};
use crate::image_link::{CompleteImage, LinkedImage};
use crate::lease::reader::LeaseReader;
use crate::link_target::leads_to;
use crate::lock::Locked;
use crate::{Leads, Lease, RefName, Repository, RepositoryError, layout, refs};

/// Mode of every object.
const OBJECT_MODE: Mode = Mode::from_raw_mode(0o644);

/// Reason to leave an entry that is not what was judged.
const CHANGED: &str = "it has changed since it was checked: run this again";
/// Advice about an image that names contents by paths only.
const BY_PATH: &str = "it was made without digests: make the image again from its tree, and untag this one";

pub(super) struct Repair<'r> {
    repository: &'r Repository,
    lease: &'r Arc<Lease>,
    needs: &'r Needs,
    sources: &'r [Source],
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
                Kind::Mode => damage.remedy = self.mode(damage),
                Kind::NoVerity => damage.remedy = self.verity(damage),
                Kind::Foreign if damage.remedy == Remedy::Left => damage.remedy = self.take_away(damage)?,
                _ => {}
            }
        }
        // The objects of restored images could not be known before.
        self.needed_now(damages)?;
        for damage in damages.iter_mut() {
            match damage.kind {
                Kind::ImageLink | Kind::Dangling => damage.remedy = self.image_link(damage)?,
                Kind::Image => damage.remedy = self.image(damage)?,
                Kind::Payload => damage.remedy = Remedy::Failed(BY_PATH.into()),
                Kind::Stream => damage.remedy = self.stream(damage),
                _ => {}
            }
        }
        for damage in damages.iter_mut().filter(|damage| damage.kind == Kind::Ref) {
            damage.remedy = self.reference(damage)?;
        }
        Ok(())
    }

    /// Restores wrong and missing objects from the sources.
    fn objects(&self, damages: &mut [Damage]) -> Result<(), RepositoryError> {
        // Entries in place of a directory are moved first: each may be in the way of a hundred objects.
        for damage in damages.iter_mut().filter(|damage| is_in_the_way(damage)) {
            damage.remedy = self.take_away(damage)?;
        }
        let mut wanted: HashSet<Digest> = damages.iter().filter_map(wanted_of).collect();
        let all = wanted.clone();
        if all.is_empty() {
            return Ok(());
        }
        // A file that will be replaced gets a second name in the quarantine; other entries are moved there.
        let mut kept: HashMap<PathBuf, Kept> = HashMap::new();
        // Paths of entries that are not what was judged any more.
        let mut changed: HashSet<PathBuf> = HashSet::new();
        for damage in damages.iter_mut().filter(|damage| has_wrong_object(damage.kind)) {
            let taken = match damage.kind {
                Kind::NotRegular => self.take(damage)?,
                Kind::WrongVerity => continue,
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
        let wrong = damages.iter().filter(|damage| has_wrong_object(damage.kind) && !changed.contains(&damage.path));
        let wrong = wrong.filter_map(|damage| damage.digest).collect();
        let batch = self.repository.objects().batch_replacing(self.lease.clone(), wrong);
        fetch_misnamed(self.repository, &self.misnamed, &mut wanted, &batch)?;
        // An object with the right content and the wrong fs-verity is copied from itself.
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

    /// Returns the remedy of an object whose content was not found.
    fn without_content(&self, damage: &Damage, taken: Remedy) -> Remedy {
        match taken {
            Remedy::TakenAway(path) if damage.needed_by.is_none() => Remedy::TakenAway(path),
            Remedy::TakenAway(path) => Remedy::Failed(format!(
                "its content was not found; the wrong object is in {}: give --from with a repository, objects or a \
                 tree that has it",
                path.display()
            )),
            // It was repaired by another process meanwhile, or must be left.
            remedy @ (Remedy::Repaired | Remedy::Failed(_)) => remedy,
            Remedy::Left => Remedy::Failed(
                "its content was not found: give --from with a repository, objects or a tree that has it".into(),
            ),
        }
    }

    /// Looks for needed objects that are missing, until nothing new is found.
    fn needed_now(&self, damages: &mut Vec<Damage>) -> Result<(), RepositoryError> {
        for _ in 0..2 {
            let needs = Needs::find(self.repository, |images| Ok(self.lease.protect(images).map(|()| true)?))?;
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
        self.in_place(damage, |file, _| fchmod(file, OBJECT_MODE).and_then(|()| fsync(file)).map_err(|e| e.to_string()))
    }

    fn verity(&self, damage: &Damage) -> Remedy {
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
    fn judged_again(&self, damage: &Damage) -> Remedy {
        let is_right = damage.digest.is_some_and(|digest| {
            self.repository.objects().try_stat(&digest).is_ok()
                && judge_again(self.repository, self.needs, &digest, self.threads).is_none()
        });
        if is_right { Remedy::Repaired } else { Remedy::Failed(CHANGED.into()) }
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
        let Some(mut leases) = LeaseReader::look_at_others(&self.repository.dir, self.lease)? else { return Ok(None) };
        leases.read(|_| {})?;
        let is_claimed = damage.digest.is_some_and(|digest| leases.claimed.contains(&digest));
        let name = damage.path.file_name().unwrap_or_default().as_encoded_bytes();
        let may_be_written = name.starts_with(tempfile::PREFIX.as_bytes()) && !leases.is_empty();
        let why = "a running command relies on it; run this again when that has ended";
        Ok((is_claimed || may_be_written).then(|| why.to_owned()))
    }

    /// Checks that the repository has an image and all objects that it needs.
    fn complete_image(&self, digest: &Digest) -> Result<CompleteImage, String> {
        let image = self.repository.read_image(digest).map_err(|error| error.to_string())?;
        let loaded =
            Reader::new(&image.bytes).and_then(|reader| load(&reader, &[])).map_err(|error| error.to_string())?;
        let needed = loaded.tree.objects().filter(|object| object.size > 0).map(|object| object.digest);
        match CompleteImage::check_all(self.repository.objects(), &[*digest], needed) {
            Ok(mut images) => images.pop().ok_or_else(|| "it was not checked".to_owned()),
            Err(missing) => Err(format!("it needs {}, which is missing", missing[0])),
        }
    }

    fn image_link(&self, damage: &Damage) -> Result<Remedy, RepositoryError> {
        // The name is not that of an image.
        let Some(digest) = damage.digest.filter(|digest| digest.algorithm() == self.repository.algorithm()) else {
            return self.without_place(damage);
        };
        self.lease.protect(&[digest])?;
        let image = match self.complete_image(&digest) {
            Ok(image) => image,
            Err(why) => return Ok(Remedy::Failed(why)),
        };
        if damage.kind == Kind::ImageLink && self.leads(damage) != Leads::To(digest) {
            match self.quarantine.take(&damage.path, damage.seen.as_ref(), || Ok(None))? {
                Taken::To(_) | Taken::Gone => {}
                Taken::Changed | Taken::Left(_) => return Ok(Remedy::Failed(CHANGED.into())),
            }
        }
        let locked = Locked::shared(&self.repository.dir)?;
        image.link(&self.repository.dir, self.lease, &locked)?;
        Ok(Remedy::Repaired)
    }

    /// Returns the target of the link that was judged.
    fn leads(&self, damage: &Damage) -> Leads {
        let folder = damage.path.parent().unwrap_or(Path::new("")).as_os_str().as_encoded_bytes();
        match &damage.seen {
            Some(SeenEntry::Link(text)) => leads_to(folder, text, self.repository.algorithm()),
            _ => Leads::Unclear,
        }
    }

    /// Moves an entry that this program would not have made to the quarantine, unless it leads to an image, which may
    /// come back.
    fn without_place(&self, damage: &Damage) -> Result<Remedy, RepositoryError> {
        match self.leads(damage) {
            Leads::To(digest) => Ok(Remedy::Failed(format!(
                "it leads to image {digest}, which is missing: restore that from a backup, or remove the link"
            ))),
            _ if damage.seen.is_none() => Ok(Remedy::Failed("move it out of the repository".into())),
            _ => self.take_away(damage),
        }
    }

    /// Moves the link of an image that cannot be read, unless something leads to it.
    fn image(&self, damage: &Damage) -> Result<Remedy, RepositoryError> {
        let Some(digest) = damage.digest else { return Ok(Remedy::Left) };
        // Streams are read without the lock. If they have changed when it is held, they may name the image.
        let streams = self.repository.streams()?;
        for (name, stream) in &streams.links {
            if self.repository.stream_names(stream, &digest)? {
                return Ok(Remedy::Failed(format!("stream {name} needs it, and belongs to another program")));
            }
        }
        let leave = || {
            let refs = self.repository.refs()?;
            if let Some((name, _)) = refs.good.iter().find(|(_, named)| *named == digest) {
                return Ok(Some(format!("it is published as {name}: run `composefs untag {name}`")));
            }
            if let Some(other) = refs.broken.iter().find(|entry| entry.leads == Leads::To(digest) || entry.is_unclear())
            {
                return Ok(Some(format!("{} may lead to it", other.path.display())));
            }
            if self.repository.streams()? != streams {
                return Ok(Some(CHANGED.into()));
            }
            self.reason_to_leave(damage)
        };
        let seen = SeenEntry::Link(layout::image_link(&digest).into_bytes());
        let taken = self.quarantine.take(&damage.path, Some(&seen), leave)?;
        Ok(self.remedy_of(damage, taken))
    }

    fn stream(&self, damage: &Damage) -> Remedy {
        match damage.digest {
            Some(digest) if self.repository.objects().try_stat(&digest).is_ok() => Remedy::Repaired,
            _ => Remedy::Failed("it belongs to the program that made it".into()),
        }
    }

    /// Restores a ref from another repository. Only that knows where it led.
    fn reference(&self, damage: &Damage) -> Result<Remedy, RepositoryError> {
        let name = damage.path.strip_prefix(layout::IMAGE_REFS).ok().and_then(Path::to_str);
        let Some(name) = name.and_then(|name| RefName::new(name).ok()) else {
            return self.without_place(damage);
        };
        let Some(digest) = self.sources.iter().find_map(|source| source.image_of(&name)) else {
            let why = format!("its image is unknown: run `composefs tag DIGEST {name}`, or untag it");
            return Ok(Remedy::Failed(why));
        };
        self.lease.protect(&[digest])?;
        if !self.repository.has_image(&digest)? {
            return Ok(Remedy::Failed(format!("it led to {digest}, but that image is missing")));
        }
        match self.quarantine.take(&damage.path, damage.seen.as_ref(), || Ok(None))? {
            Taken::To(_) | Taken::Gone => {}
            Taken::Changed | Taken::Left(_) => return Ok(Remedy::Failed(CHANGED.into())),
        }
        let dir = &self.repository.dir;
        let locked = Locked::shared(dir)?;
        // Another process may have written the ref meanwhile.
        if self.repository.read_ref(&name)?.is_none() {
            let Some(image) = LinkedImage::find(dir, &locked, &digest)? else {
                return Ok(Remedy::Failed(format!("it led to {digest}, but that image is missing")));
            };
            refs::write::write(dir, self.lease, &locked, &[(&name, &image)])?;
        }
        Ok(Remedy::Repaired)
    }
}

/// Returns whether an entry is in the place of one of the 256 directories.
fn is_in_the_way(damage: &Damage) -> bool {
    damage.kind == Kind::Foreign
        && damage.path.components().count() == 2
        && damage.path.file_name().is_some_and(|name| name.len() == 2)
}

fn has_wrong_object(kind: Kind) -> bool {
    use Kind::{Contents, Empty, Misnamed, NotRegular, Truncated, Unreadable, WrongVerity};
    matches!(kind, Contents | Empty | Misnamed | NotRegular | Truncated | Unreadable | WrongVerity)
}

/// Returns the content that would repair a damage.
fn wanted_of(damage: &Damage) -> Option<Digest> {
    let wants = has_wrong_object(damage.kind) || matches!(damage.kind, Kind::Missing | Kind::Dangling | Kind::Stream);
    damage.digest.filter(|_| wants)
}
