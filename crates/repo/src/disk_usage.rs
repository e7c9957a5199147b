//! What images take on the disk, what they share, and what would be free without them.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd;

use libcomposefs_image::Digest;
use libcomposefs_sys::extents::shared_bytes;
use rustix::fs::FileType;

use super::marks::Marks;
use super::{RefName, Repository, RepositoryError};

/// What a name stands for on the disk. Sizes are in bytes; what an object takes is what the file system says of its blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefUsage {
    /// The name.
    pub name: RefName,
    /// Its image.
    pub digest: Digest,
    /// How many objects the image needs, itself included.
    pub objects: u64,
    /// Their lengths together.
    pub apparent: u64,
    /// What they take.
    pub used: u64,
    /// What those of them take that nothing else needs: no other image, no stream, no other name of this image.
    pub exclusive: u64,
    /// What is free when the name is gone and gc was there: of the exclusive ones what has no other name anywhere and shares
    /// no extents with other files.
    pub freed: u64,
    /// Objects that are not there.
    pub missing: u64,
    /// Whether the image is open, so that gc leaves it as long as it is.
    pub in_use: bool,
}

/// What all of a repository takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// By name.
    pub refs: Vec<RefUsage>,
    /// How many objects there are.
    pub objects: u64,
    /// What they take.
    pub used: u64,
    /// How many of them no name needs, and no stream.
    pub unneeded: u64,
    /// What those take.
    pub unneeded_used: u64,
}

/// What one object is.
#[derive(Clone, Copy)]
struct Cost {
    apparent: u64,
    used: u64,
    has_other_names: bool,
    /// The image that needs it, if it is one only.
    owner: Option<Digest>,
}

impl Repository {
    /// Finds out what everything takes.
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
        let mut streams = Marks::new(self);
        streams.all_but_names(self)?;
        let mut costs: HashMap<Digest, Cost> = HashMap::new();
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
            // One that is open here would be told as being in use.
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

    fn cost(&self, object: &Digest, image: &Digest, in_stream: bool) -> Option<Cost> {
        let stat = self.objects.try_stat(object).ok()?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        Some(Cost {
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
        costs: &HashMap<Digest, Cost>,
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

    /// What of an object other files have too. What cannot be told is taken for its own.
    fn shared_of(&self, object: &Digest) -> u64 {
        match self.objects.open_object(object) {
            Ok(Some(file)) => shared_bytes(file.as_fd()).unwrap_or_default(),
            _ => 0,
        }
    }
}
