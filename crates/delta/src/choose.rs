//! The choice of bases: for each new object an old one that is likely to be similar.

use std::collections::{HashMap, HashSet};

use libcomposefs_image::Digest;
use libcomposefs_image::tree::Tree;

use crate::path_pattern::{name_of, without_digits};

/// Most old objects of the same name of which the sizes are compared.
const SAME_NAME_MAX: usize = 64;

/// An object and the path of a file that needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedObject {
    /// Path of the file, from `/`.
    pub path: Vec<u8>,
    /// Digest of the object.
    pub digest: Digest,
    /// Size of the object, in bytes.
    pub size: u64,
}

/// A new object, and the old object that is its base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseChoice {
    /// The new object, with the first path that needs it.
    pub object: NamedObject,
    /// Digest and size of the base.
    pub base: Option<(Digest, u64)>,
}

/// Returns the objects that the files of a tree need, in the order of their paths. An object that several files need is
/// listed once for each path.
#[must_use]
pub fn needed_objects(tree: &Tree) -> Vec<NamedObject> {
    let mut by_inode: HashMap<_, Vec<_>> = HashMap::new();
    for object in tree.objects() {
        by_inode.entry(object.inode).or_default().push((object.digest, object.size));
    }
    let (mut walk, mut objects) = (tree.depth_first(), Vec::new());
    while let Some((path, entry)) = walk.step() {
        let needed = by_inode.get(&entry.inode).into_iter().flatten();
        objects.extend(needed.map(|&(digest, size)| NamedObject { path: path.to_owned(), digest, size }));
    }
    objects
}

/// Chooses the bases of all objects of `new` that are not among those of `old`, in the order of `new`. Each object is
/// listed once, by its first path.
///
/// The base of an object is the old object with the same path, else with the same path except for digits, else with the
/// same name except for digits in any directory: of several the one whose size is closest. `similar_heads` may look
/// into the contents, and says no if a base of the last kind (its second argument) is of another type than the object.
pub fn choose(
    new: &[NamedObject],
    old: &[NamedObject],
    similar_heads: &mut dyn FnMut(&Digest, &Digest) -> bool,
) -> Vec<BaseChoice> {
    let places = OldPlaces::new(old);
    let mut done: HashSet<Digest> = old.iter().map(|object| object.digest).collect();
    let mut choices = Vec::new();
    for object in new {
        if !done.insert(object.digest) {
            continue;
        }
        let base = if object.size == 0 { None } else { places.base_of(object, similar_heads) };
        choices.push(BaseChoice { object: object.clone(), base: base.map(|base| (base.digest, base.size)) });
    }
    choices
}

/// The old objects by what their paths have in common with new ones.
struct OldPlaces<'o> {
    by_path: HashMap<&'o [u8], &'o NamedObject>,
    by_pattern: HashMap<Vec<u8>, Vec<&'o NamedObject>>,
    by_name: HashMap<Vec<u8>, Vec<&'o NamedObject>>,
}

impl<'o> OldPlaces<'o> {
    fn new(old: &'o [NamedObject]) -> Self {
        let mut places = Self { by_path: HashMap::new(), by_pattern: HashMap::new(), by_name: HashMap::new() };
        for object in old.iter().filter(|object| object.size > 0) {
            places.by_path.entry(&object.path).or_insert(object);
            places.by_pattern.entry(without_digits(&object.path)).or_default().push(object);
            let same_name = places.by_name.entry(without_digits(name_of(&object.path))).or_default();
            if same_name.len() < SAME_NAME_MAX {
                same_name.push(object);
            }
        }
        places
    }

    fn base_of(
        &self,
        object: &NamedObject,
        similar_heads: &mut dyn FnMut(&Digest, &Digest) -> bool,
    ) -> Option<&'o NamedObject> {
        if let Some(base) = self.by_path.get(object.path.as_slice()) {
            return Some(base);
        }
        if let Some(bases) = self.by_pattern.get(&without_digits(&object.path)) {
            return closest(bases, object);
        }
        let base = closest(self.by_name.get(&without_digits(name_of(&object.path)))?, object)?;
        similar_heads(&object.digest, &base.digest).then_some(base)
    }
}

/// The candidate with the same name if there is one, else the one whose size is closest, else the first.
fn closest<'o>(candidates: &[&'o NamedObject], object: &NamedObject) -> Option<&'o NamedObject> {
    let rank = |base: &&&NamedObject| (name_of(&base.path) != name_of(&object.path), base.size.abs_diff(object.size));
    candidates.iter().min_by_key(rank).copied()
}

#[cfg(test)]
mod tests {
    use libcomposefs_image::Algorithm;

    use super::*;

    fn object(path: &str, number: u8, size: u64) -> NamedObject {
        NamedObject { path: path.into(), digest: Digest::new(Algorithm::Sha256, &[number; 32]).unwrap(), size }
    }

    #[test]
    fn rules_apply_in_their_order() {
        let old = [
            object("/lib/a.so", 1, 100),
            object("/lib/libz.so.1.2", 2, 50),
            object("/lib/libz.so.1.3", 3, 70),
            object("/opt/tool", 4, 9),
            object("/same", 5, 5),
        ];
        let new = [
            object("/lib/a.so", 11, 100),
            object("/lib/libz.so.1.4", 12, 69),
            object("/usr/bin/tool", 13, 9),
            object("/usr/moved", 5, 5),
            object("/fresh", 14, 5),
            object("/fresh2", 14, 5),
        ];
        let bases = |similar: bool| -> Vec<_> {
            choose(&new, &old, &mut |_, _| similar)
                .into_iter()
                .map(|choice| (choice.object.digest.as_bytes()[0], choice.base.map(|base| base.0.as_bytes()[0])))
                .collect()
        };
        assert_eq!(bases(true), [(11, Some(1)), (12, Some(3)), (13, Some(4)), (14, None)]);
        assert_eq!(bases(false), [(11, Some(1)), (12, Some(3)), (13, None), (14, None)]);
    }
}
