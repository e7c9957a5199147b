//! Repair of image links, streams and refs.

use std::path::Path;

use libcomposefs_image::Digest;
use libcomposefs_image::erofs::read::{ImageReader, load};

use super::{CHANGED, Repair};
use crate::fsck::damage::{Damage, DamageKind, Remedy};
use crate::fsck::quarantine::Taken;
use crate::fsck::seen::SeenEntry;
use crate::image_link::{CompleteImage, LinkedImage};
use crate::link_target::leads_to;
use crate::lock::Locked;
use crate::{Leads, OciStreamKind, RefName, RepositoryError, layout, refs};

impl Repair<'_> {
    /// Checks that the repository has an image and all objects that it needs.
    fn complete_image(&self, digest: &Digest) -> Result<CompleteImage, String> {
        let image = self.repository.read_image(digest).map_err(|error| error.to_string())?;
        let loaded =
            ImageReader::new(&image.bytes).and_then(|reader| load(&reader, &[])).map_err(|error| error.to_string())?;
        let needed = loaded.tree.objects().filter(|object| object.size > 0).map(|object| object.digest);
        match CompleteImage::check_all(self.repository.objects(), &[*digest], needed) {
            Ok(mut images) => images.pop().ok_or_else(|| "it was not checked".to_owned()),
            Err(missing) => Err(format!("it needs {}, which is missing", missing[0])),
        }
    }

    pub(super) fn image_link(&self, damage: &Damage) -> Result<Remedy, RepositoryError> {
        // The name is not that of an image.
        let Some(digest) = damage.digest.filter(|digest| digest.algorithm() == self.repository.algorithm()) else {
            return self.without_place(damage);
        };
        self.lease.protect(&[digest])?;
        let image = match self.complete_image(&digest) {
            Ok(image) => image,
            Err(why) => return Ok(Remedy::Failed(why)),
        };
        if damage.kind == DamageKind::ImageLink && self.leads(damage) != Leads::To(digest) {
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
    pub(super) fn image(&self, damage: &Damage) -> Result<Remedy, RepositoryError> {
        let Some(digest) = damage.digest else { return Ok(Remedy::Left) };
        // Streams are read without the lock. If they have changed when it is held, they may name the image.
        let streams = self.repository.streams()?;
        for link in &streams.links {
            if self.repository.stream_names(&link.digest, &digest)? {
                let name = &link.name;
                return Ok(Remedy::Failed(format!("stream {name} needs it: pull the OCI image again")));
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

    pub(super) fn stream(&self, damage: &Damage) -> Remedy {
        match damage.digest {
            Some(digest) if self.repository.objects().try_stat(&digest).is_ok() => Remedy::Repaired,
            _ if damage.path.file_name().and_then(|name| name.to_str()).and_then(OciStreamKind::of_name).is_some() => {
                Remedy::Failed("pull the OCI image again".into())
            }
            _ => Remedy::Failed("it belongs to the program that made it".into()),
        }
    }

    /// Restores a ref from another repository. Only that knows where it led.
    pub(super) fn reference(&self, damage: &Damage) -> Result<Remedy, RepositoryError> {
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
