//! The objects and images that refs, links and images say must exist.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;

use libcomposefs_image::Digest;
use libcomposefs_image::erofs::check::{Severity, check_in_file};
use libcomposefs_image::erofs::read::{ImageReader, load};
use libcomposefs_image::tree::NamedBy;
use libcomposefs_sys::resolve_beneath::open_directory_beneath;

use super::damage::{Damage, DamageKind, NeededBy, Remedy};
use super::seen::SeenEntry;
use crate::dir::LinkEntry;
use crate::{BrokenRef, Leads, RefName, Repository, RepositoryError, layout};

/// A needed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// Size of the object, in bytes. The size of an image is unknown.
    pub(super) size: Option<u64>,
    /// The first image that needs the object.
    pub(super) image: Digest,
}

/// The expected contents of a repository, and the damages that were found on the way.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Needed objects.
    pub(super) objects: HashMap<Digest, Need>,
    /// First name of each image.
    pub(super) names: BTreeMap<Digest, RefName>,
    /// Images that were read. The unreadable images are in `unread`.
    pub(super) images: Vec<Digest>,
    pub(super) unread: Vec<Digest>,
    /// Number of refs.
    pub(super) refs: u64,
    /// Number of streams.
    pub(super) streams: u64,
    /// Objects that streams need, and those of the streams themselves, with the first stream of each.
    pub(super) stream_objects: HashMap<Digest, Arc<str>>,
    /// Damages of refs and links.
    pub(super) damages: Vec<Damage>,
}

impl Needs {
    /// Reads all refs, links and images. `claim` protects images and returns whether it could; they are kept then with
    /// all objects they need.
    pub(super) fn find(
        repository: &Repository,
        claim: impl FnOnce(&[Digest]) -> Result<bool, RepositoryError>,
    ) -> Result<Self, RepositoryError> {
        let mut needs = Self::default();
        let (images, _) = repository.image_links()?;
        let mut to_claim = images.clone();
        to_claim.extend(repository.streams()?.links.iter().map(|link| link.digest));
        let claimed = claim(&to_claim)?.then_some(images);
        // Streams are listed before images: gc and other programs remove a stream before the image that it names.
        let streams = repository.streams()?;
        needs.streams = streams.links.len() as u64;
        let refs = repository.refs()?;
        needs.refs = refs.good.len() as u64;
        for (name, digest) in &refs.good {
            needs.names.entry(*digest).or_insert_with(|| name.clone());
        }
        let (images, broken) = repository.image_links()?;
        for broken in &refs.broken {
            if !leads_to_an_image(repository, broken, &images) {
                needs.damages.push(damage_of(repository, DamageKind::Ref, broken, None));
            }
        }
        for broken in &broken {
            let digest = broken.named_digest();
            if digest.is_some() || !leads_to_an_image(repository, broken, &images) {
                needs.damages.push(damage_of(repository, DamageKind::ImageLink, broken, digest));
            }
        }
        for (name, digest) in &refs.good {
            // The ref may have been removed since, and then the image.
            if images.binary_search(digest).is_err() && repository.is_dangling(name, digest)? {
                let path = PathBuf::from(layout::IMAGE_REFS).join(name.as_str());
                let found = format!("there is no image {digest}");
                needs.damages.push(damage(DamageKind::Dangling, path, found, Some(*digest)));
                // If the object exists, the image is read all the same: its objects are needed.
                if repository.objects().try_stat(digest).is_ok() {
                    needs.read(repository, digest);
                }
            }
        }
        // Images published after we took the lease belong to a running command; skip them.
        for digest in
            images.iter().filter(|digest| claimed.as_ref().is_none_or(|all| all.binary_search(digest).is_ok()))
        {
            needs.read(repository, digest);
        }
        needs.find_streams(repository, &streams, &images)?;
        Ok(needs)
    }

    /// Reads one image. Damages of its object are found when all objects are read.
    pub(super) fn read(&mut self, repository: &Repository, digest: &Digest) {
        self.objects.entry(*digest).or_insert(Need { size: None, image: *digest });
        let Ok(image) = repository.read_image(digest) else {
            self.unread.push(*digest);
            return;
        };
        let loaded = ImageReader::new(&image.bytes).and_then(|reader| load(&reader, &[]));
        let report = check_in_file(&image.bytes, image.file_len);
        let worst = report.findings().find(|(severity, _)| *severity == Severity::Error);
        let worst = worst.map(|(_, finding)| finding.to_string());
        let wrong = match (&loaded, worst) {
            (Err(error), _) => Some(error.to_string()),
            (_, worst) => worst,
        };
        if let Some(found) = wrong {
            let path = PathBuf::from(layout::IMAGES).join(digest.to_hex());
            self.damages.push(damage(DamageKind::Image, path, found, Some(*digest)));
        }
        let Ok(loaded) = loaded else { return };
        self.images.push(*digest);
        let mut by_path = Vec::new();
        for object in loaded.tree.objects().filter(|object| object.size > 0) {
            let need = Need { size: Some(object.size), image: *digest };
            self.objects.entry(object.digest).or_insert(need);
            if object.named_by == NamedBy::Path {
                by_path.push(object);
            }
        }
        if let Some(first) = by_path.first() {
            let path = PathBuf::from(layout::IMAGES).join(digest.to_hex());
            let file = loaded.tree.path_of(first.inode);
            let found = format!(
                "nothing compares {} with it, and {} more files: they name their contents by paths only",
                String::from_utf8_lossy(&file),
                by_path.len() - 1
            );
            self.damages.push(damage(DamageKind::Payload, path, found, Some(*digest)));
        }
    }

    /// Adds what needs the object of a damage.
    pub(super) fn put_needs(&self, damage: &mut Damage) {
        let Some(digest) = damage.digest else { return };
        damage.needed_by = self.needed_by(&digest);
        if let Some(name) = self.stream_objects.get(&digest) {
            damage.put_stream(name);
        }
    }

    /// Returns the image that needs an object.
    pub(super) fn needed_by(&self, digest: &Digest) -> Option<NeededBy> {
        let need = self.objects.get(digest)?;
        Some(NeededBy { image: need.image, name: self.names.get(&need.image).cloned() })
    }
}

/// Describes a damage that nothing was done about.
pub(super) fn damage(kind: DamageKind, path: PathBuf, found: String, digest: Option<Digest>) -> Damage {
    Damage { kind, path, found, digest, needed_by: None, stream: None, remedy: Remedy::Left, seen: None }
}

/// Returns the damage of a ref or link. It may be moved only if it is still what was judged.
pub(super) fn damage_of(
    repository: &Repository,
    kind: DamageKind,
    broken: &BrokenRef,
    digest: Option<Digest>,
) -> Damage {
    let below = repository.dir.below(&broken.path);
    let seen = match &broken.seen {
        LinkEntry::Link(text) => Some(SeenEntry::Link(text.clone())),
        LinkEntry::Nothing | LinkEntry::Other => {
            let slash = below.iter().rposition(|byte| *byte == b'/').unwrap_or_default();
            let folder = open_directory_beneath(repository.dir.as_fd(), &below[..slash]).ok();
            let name = OsStr::from_bytes(below.get(slash + 1..).unwrap_or_default());
            let seen = folder.and_then(|folder| SeenEntry::at(folder.as_fd(), name).ok().flatten());
            // A link was made meanwhile.
            seen.filter(|seen| !matches!(seen, SeenEntry::Link(_)))
        }
    };
    Damage { seen, ..damage(kind, PathBuf::from(OsString::from_vec(below)), broken.found.clone(), digest) }
}

/// Returns whether an entry that is not in this program's form leads to an image. It belongs to another program or a
/// person then, and is sound.
fn leads_to_an_image(repository: &Repository, entry: &BrokenRef, images: &[Digest]) -> bool {
    match &entry.leads {
        Leads::To(digest) => images.binary_search(digest).is_ok() || repository.objects().try_stat(digest).is_ok(),
        Leads::Entry(_) => true,
        Leads::Unclear => false,
    }
}
