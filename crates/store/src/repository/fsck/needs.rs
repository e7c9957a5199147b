//! What images say must be there.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use composefs_image::Digest;
use composefs_image::erofs::check::{Severity, check};
use composefs_image::erofs::read::{Reader, load};
use composefs_image::tree::Data;

use super::damage::{Damage, Kind, NeededBy, Remedy};
use crate::repository::{Lease, RefName, Repository, RepositoryError, layout};

/// An object that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// Its length; that of an image is not known.
    pub(super) size: Option<u64>,
    /// The first image that needs it.
    pub(super) image: Digest,
}

/// What names, links and images say.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// What is needed.
    pub(super) objects: HashMap<Digest, Need>,
    /// The first name of each image.
    pub(super) names: BTreeMap<Digest, RefName>,
    /// Images that were read, and those that could not be.
    pub(super) images: Vec<Digest>,
    pub(super) unread: Vec<Digest>,
    /// How many names there are.
    pub(super) refs: u64,
    /// What is wrong among names and links.
    pub(super) damages: Vec<Damage>,
}

impl Needs {
    /// Reads all names, links and images. With a lease these stay as they are, with all they need, until it ends.
    pub(super) fn find(repository: &Repository, lease: Option<&Lease>) -> Result<Self, RepositoryError> {
        let mut needs = Self::default();
        let claimed = match lease {
            Some(lease) => {
                let (images, _) = repository.image_links()?;
                lease.claim(&images)?;
                Some(images)
            }
            None => None,
        };
        let refs = repository.refs()?;
        needs.refs = refs.good.len() as u64;
        for (name, digest) in &refs.good {
            needs.names.entry(*digest).or_insert_with(|| name.clone());
        }
        for broken in refs.broken {
            let path = below(repository, broken.path);
            needs.damages.push(damage(Kind::Ref, path, broken.found, None));
        }
        let (images, broken) = repository.image_links()?;
        for broken in broken {
            let path = below(repository, broken.path);
            let digest = path.file_name().and_then(|name| Digest::from_hex(name.as_encoded_bytes()).ok());
            needs.damages.push(damage(Kind::ImageLink, path, broken.found, digest));
        }
        for (name, digest) in &refs.good {
            // It may have lost its name and gone since.
            if images.binary_search(digest).is_err() && repository.is_dangling(name, digest)? {
                let path = PathBuf::from(layout::IMAGE_REFS).join(name.as_str());
                let found = format!("there is no image {digest}");
                needs.damages.push(damage(Kind::Dangling, path, found, Some(*digest)));
                // What it needs is needed all the same, if it can be found out.
                if repository.objects().try_stat(digest).is_ok() {
                    needs.read(repository, digest);
                }
            }
        }
        // One that came after is somebody else's who is still at it.
        for digest in
            images.iter().filter(|digest| claimed.as_ref().is_none_or(|all| all.binary_search(digest).is_ok()))
        {
            needs.read(repository, digest);
        }
        needs.damages.extend(dangling_streams(repository)?);
        Ok(needs)
    }

    /// Reads one image. What is wrong with its object is seen when all objects are looked at.
    fn read(&mut self, repository: &Repository, digest: &Digest) {
        self.objects.entry(*digest).or_insert(Need { size: None, image: *digest });
        let Ok(bytes) = repository.read_image(digest) else {
            self.unread.push(*digest);
            return;
        };
        let loaded = Reader::new(&bytes).and_then(|reader| load(&reader, &[]));
        let report = check(&bytes);
        let worst = report.findings().find(|(severity, _)| *severity == Severity::Error);
        let worst = worst.map(|(_, finding)| finding.to_string());
        let wrong = match (&loaded, worst) {
            (Err(error), _) => Some(error.to_string()),
            (_, worst) => worst,
        };
        if let Some(found) = wrong {
            let path = PathBuf::from(layout::IMAGES).join(digest.to_hex());
            self.damages.push(damage(Kind::Image, path, found, Some(*digest)));
        }
        let Ok(loaded) = loaded else { return };
        self.images.push(*digest);
        for inode in loaded.tree.inodes() {
            if let Data::Regular { content: None, payload: Some(_), digest: Some(object) } = inode.data()
                && inode.size() > 0
            {
                self.objects.entry(object).or_insert(Need { size: Some(inode.size()), image: *digest });
            }
        }
    }

    /// Who needs an object.
    pub(super) fn needed_by(&self, digest: &Digest) -> Option<NeededBy> {
        let need = self.objects.get(digest)?;
        Some(NeededBy { image: need.image, name: self.names.get(&need.image).cloned() })
    }
}

pub(super) fn damage(kind: Kind, path: PathBuf, found: String, digest: Option<Digest>) -> Damage {
    Damage { kind, path, found, digest, needed_by: None, remedy: Remedy::Left }
}

fn below(repository: &Repository, path: PathBuf) -> PathBuf {
    path.strip_prefix(repository.path()).map_or_else(|_| path.clone(), PathBuf::from)
}

fn dangling_streams(repository: &Repository) -> Result<Vec<Damage>, RepositoryError> {
    let mut damages = Vec::new();
    for (name, digest) in repository.stream_links()? {
        let path = PathBuf::from(layout::STREAMS).join(&name);
        match digest {
            Some(digest) if repository.objects().try_stat(&digest).is_ok() => {}
            Some(digest) => {
                damages.push(damage(Kind::Stream, path, format!("there is no object {digest}"), Some(digest)));
            }
            None => damages.push(damage(Kind::Stream, path, "leads to no object".into(), None)),
        }
    }
    Ok(damages)
}
