//! Disk usage of images and OCI tags: how much they take, how much they share, and how much removing one would free.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd;

use libcomposefs_image::Digest;
use libcomposefs_sys::fiemap::shared_bytes;
use rustix::fs::FileType;

use super::marks::MarkSet;
use super::name_sizes::NameSizes;
use super::tag_usage::{TagUsage, TaggedNeeds};
use super::{RefName, Repository, RepositoryError};

/// Disk usage of one ref.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefUsage {
    /// Name of the image.
    pub name: RefName,
    /// Digest of the image.
    pub digest: Digest,
    /// Objects that the image needs, the image's own included.
    pub sizes: NameSizes,
    /// Whether the image is open, so that gc keeps it.
    pub in_use: bool,
}

/// Disk usage of a repository. All sizes are in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Disk usage of each ref.
    pub refs: Vec<RefUsage>,
    /// Disk usage of each tag of an OCI image.
    pub tags: Vec<TagUsage>,
    /// Number of objects in the repository.
    pub objects: u64,
    /// Size of all objects on disk.
    pub used: u64,
    /// Number of objects that neither a ref nor a kept stream needs.
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
    /// Number of the group that needs the object, if there is only one.
    owner: Option<usize>,
}

/// What one image, or one tagged OCI image, needs.
struct NeedGroup {
    number: usize,
    /// The needed objects, sorted.
    needed: Vec<Digest>,
    /// True if one name leads to it.
    has_one_name: bool,
}

impl Repository {
    /// Measures the disk usage of all refs, all tags of OCI images, and the repository.
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
        let mut others = MarkSet::new(self);
        others.broken(self, &self.refs()?.broken);
        // They have no size of their own here: `partial_images` has them.
        self.partial_entries()?.iter().for_each(|image| others.image(self, image));
        let tagged = self.tagged_needs(&reader, &mut others)?;
        let mut costs = HashMap::new();
        let mut groups = Vec::new();
        for (image, names) in &names {
            let mut needed = vec![*image];
            let held = reader.hold(image)?;
            if held.is_some() {
                self.objects_of_image(image, |object| needed.push(*object))?;
            }
            needed.sort_unstable();
            needed.dedup();
            let group = NeedGroup { number: groups.len(), needed, has_one_name: names.len() == 1 };
            self.put_costs(&group, &others, &mut costs);
            groups.push(group);
            // While this process has the image open, it would be reported as in use.
            drop(held);
        }
        for one in &tagged {
            let (needed, has_one_name) = (one.objects.clone(), one.tags.len() == 1);
            let group = NeedGroup { number: groups.len(), needed, has_one_name };
            self.put_costs(&group, &others, &mut costs);
            groups.push(group);
        }
        let mut usage = Usage::default();
        let mut groups = groups.iter();
        for ((digest, names), group) in names.iter().zip(groups.by_ref()) {
            let (sizes, in_use) = (self.sizes(group, &costs), self.is_open(digest)?);
            usage.refs.extend(names.iter().map(|name| {
                let (name, digest) = (name.clone(), *digest);
                RefUsage { name, digest, sizes, in_use }
            }));
        }
        usage.refs.sort_by(|a, b| a.name.cmp(&b.name));
        for (one, group) in tagged.into_iter().zip(groups) {
            usage.tags.extend(self.tag_usage(one, group, &costs)?);
        }
        usage.tags.sort_by(|a, b| a.tag.cmp(&b.tag));
        self.add_all_objects(&mut usage, &costs, &others)?;
        Ok(usage)
    }

    fn tag_usage(
        &self,
        one: TaggedNeeds,
        group: &NeedGroup,
        costs: &HashMap<Digest, ObjectCost>,
    ) -> Result<Vec<TagUsage>, RepositoryError> {
        let TaggedNeeds { manifest, tags, images, .. } = one;
        let mut in_use = false;
        for image in &images {
            in_use |= self.is_open(image)?;
        }
        let sizes = self.sizes(group, costs);
        let usage = |tag| {
            let (manifest, images) = (manifest.clone(), images.clone());
            TagUsage { tag, manifest, images, sizes, in_use }
        };
        Ok(tags.into_iter().map(usage).collect())
    }

    /// Counts all objects, and those that nothing needs.
    fn add_all_objects(
        &self,
        usage: &mut Usage,
        costs: &HashMap<Digest, ObjectCost>,
        others: &MarkSet,
    ) -> Result<(), RepositoryError> {
        for digest in self.objects.list() {
            let digest = digest?;
            let used = match costs.get(&digest) {
                Some(cost) => cost.used,
                None => {
                    let used = self.cost(&digest, None).map_or(0, |cost| cost.used);
                    if !others.objects.contains(&digest) {
                        usage.unneeded += 1;
                        usage.unneeded_used += used;
                    }
                    used
                }
            };
            usage.objects += 1;
            usage.used += used;
        }
        Ok(())
    }

    /// Adds the objects of a group to the costs. An object that something else needs has no owner.
    fn put_costs(&self, group: &NeedGroup, others: &MarkSet, costs: &mut HashMap<Digest, ObjectCost>) {
        for object in &group.needed {
            match costs.get_mut(object) {
                Some(cost) => cost.owner = None,
                None => {
                    let owner = (!others.objects.contains(object)).then_some(group.number);
                    if let Some(cost) = self.cost(object, owner) {
                        costs.insert(*object, cost);
                    }
                }
            }
        }
    }

    fn cost(&self, object: &Digest, owner: Option<usize>) -> Option<ObjectCost> {
        let stat = self.objects.try_stat(object).ok()?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        Some(ObjectCost {
            apparent: u64::try_from(stat.st_size).unwrap_or_default(),
            used: u64::try_from(stat.st_blocks).unwrap_or_default() * 512,
            has_other_names: stat.st_nlink > 1,
            owner,
        })
    }

    fn sizes(&self, group: &NeedGroup, costs: &HashMap<Digest, ObjectCost>) -> NameSizes {
        let mut usage = NameSizes { objects: group.needed.len() as u64, ..NameSizes::default() };
        for object in &group.needed {
            let Some(cost) = costs.get(object) else {
                usage.missing += 1;
                continue;
            };
            usage.apparent += cost.apparent;
            usage.used += cost.used;
            if group.has_one_name && cost.owner == Some(group.number) {
                usage.exclusive += cost.used;
                if !cost.has_other_names {
                    usage.freed += cost.used.saturating_sub(self.shared_of(object));
                }
            }
        }
        usage
    }

    /// Returns the size that an object shares with other files. If that is not known, the object shares nothing.
    fn shared_of(&self, object: &Digest) -> u64 {
        match self.objects.open_object(object) {
            Ok(Some(file)) => shared_bytes(file.as_fd()).unwrap_or_default(),
            _ => 0,
        }
    }
}
