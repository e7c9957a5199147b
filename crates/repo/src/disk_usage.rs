//! Disk usage of images: how much they take, how much they share, and how much removing one would free.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd;

use libcomposefs_image::Digest;
use libcomposefs_sys::fiemap::shared_bytes;
use rustix::fs::FileType;

use super::marks::MarkSet;
use super::{RefName, Repository, RepositoryError};

/// Disk usage of one ref. All sizes are in bytes. The size on disk is that of the blocks that the file system reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefUsage {
    /// Name of the image.
    pub name: RefName,
    /// Digest of the image.
    pub digest: Digest,
    /// Number of objects that the image needs, the image's own included.
    pub objects: u64,
    /// Total size of these objects.
    pub apparent: u64,
    /// Size of these objects on disk.
    pub used: u64,
    /// Size on disk of the objects that nothing else needs: no other image, no stream, no other name of this image.
    pub exclusive: u64,
    /// Size on disk that would be free after untag and gc: of the exclusive objects, those that have no other hard link
    /// and share no extents with other files.
    pub freed: u64,
    /// Number of objects that are missing.
    pub missing: u64,
    /// Whether the image is open, so that gc keeps it.
    pub in_use: bool,
}

/// Disk usage of a repository. All sizes are in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Disk usage of each ref.
    pub refs: Vec<RefUsage>,
    /// Number of objects in the repository.
    pub objects: u64,
    /// Size of all objects on disk.
    pub used: u64,
    /// Number of objects that neither a ref nor a stream needs.
    pub unneeded: u64,
    /// Size on disk of those objects.
    pub unneeded_used: u64,
}

/// Size and use of one object.
#[derive(Clone, Copy)]
struct ObjectCost {
    apparent: u64,
    used: u64,
    has_other_names: bool,
    /// The image that needs the object, if there is only one.
    owner: Option<Digest>,
}

impl Repository {
    /// Measures the disk usage of all refs and of the repository.
    ///
    /// # Errors
    ///
    /// If the repository, or an image that has a name, cannot be read.
    pub fn usage(&self) -> Result<Usage, RepositoryError> {
        let reader = self.reader()?;
        let mut names: BTreeMap<Digest, Vec<RefName>> = BTreeMap::new();
        for (name, digest) in self.refs()?.good {
            names.entry(digest).or_default().push(name);
        }
        reader.protect(&names.keys().copied().collect::<Vec<_>>())?;
        let mut streams = MarkSet::new(self);
        streams.all_but_names(self)?;
        let mut costs: HashMap<Digest, ObjectCost> = HashMap::new();
        let mut images: Vec<(Digest, Vec<Digest>)> = Vec::new();
        for image in names.keys() {
            let mut needed = vec![*image];
            let held = reader.hold(image)?;
            if held.is_some() {
                self.objects_of_image(image, |object| needed.push(*object))?;
            }
            needed.sort_unstable();
            needed.dedup();
            for object in &needed {
                match costs.get_mut(object) {
                    Some(cost) => cost.owner = None,
                    None => {
                        if let Some(cost) = self.cost(object, image, streams.objects.contains(object)) {
                            costs.insert(*object, cost);
                        }
                    }
                }
            }
            // While this process has the image open, it would be reported as in use.
            drop(held);
            images.push((*image, needed));
        }
        let mut usage = Usage::default();
        for (image, needed) in &images {
            for name in &names[image] {
                usage.refs.push(self.ref_usage(name, image, needed, &costs, names[image].len() == 1)?);
            }
        }
        usage.refs.sort_by(|a, b| a.name.cmp(&b.name));
        for digest in self.objects.list() {
            let digest = digest?;
            let used = match costs.get(&digest) {
                Some(cost) => cost.used,
                None => {
                    let used = self.cost(&digest, &digest, false).map_or(0, |cost| cost.used);
                    if !streams.objects.contains(&digest) {
                        usage.unneeded += 1;
                        usage.unneeded_used += used;
                    }
                    used
                }
            };
            usage.objects += 1;
            usage.used += used;
        }
        Ok(usage)
    }

    fn cost(&self, object: &Digest, image: &Digest, in_stream: bool) -> Option<ObjectCost> {
        let stat = self.objects.try_stat(object).ok()?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        Some(ObjectCost {
            apparent: u64::try_from(stat.st_size).unwrap_or_default(),
            used: u64::try_from(stat.st_blocks).unwrap_or_default() * 512,
            has_other_names: stat.st_nlink > 1,
            owner: (!in_stream).then_some(*image),
        })
    }

    fn ref_usage(
        &self,
        name: &RefName,
        image: &Digest,
        needed: &[Digest],
        costs: &HashMap<Digest, ObjectCost>,
        only_name: bool,
    ) -> Result<RefUsage, RepositoryError> {
        let mut usage = RefUsage {
            name: name.clone(),
            digest: *image,
            objects: needed.len() as u64,
            apparent: 0,
            used: 0,
            exclusive: 0,
            freed: 0,
            missing: 0,
            in_use: self.is_open(image)?,
        };
        for object in needed {
            let Some(cost) = costs.get(object) else {
                usage.missing += 1;
                continue;
            };
            usage.apparent += cost.apparent;
            usage.used += cost.used;
            if only_name && cost.owner == Some(*image) {
                usage.exclusive += cost.used;
                if !cost.has_other_names {
                    usage.freed += cost.used.saturating_sub(self.shared_of(object));
                }
            }
        }
        Ok(usage)
    }

    /// Returns the size that an object shares with other files. If that is not known, the object shares nothing.
    fn shared_of(&self, object: &Digest) -> u64 {
        match self.objects.open_object(object) {
            Ok(Some(file)) => shared_bytes(file.as_fd()).unwrap_or_default(),
            _ => 0,
        }
    }
}
