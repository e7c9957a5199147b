//! Planned frames: small objects in groups, large ones by themselves.

use libcomposefs_image::Digest;

use crate::choose::BaseChoice;
use crate::frame::{FRAME_BASES_MAX, FRAME_OBJECTS_MAX};

/// Objects up to this size are grouped, in bytes.
pub const SMALL_MAX: u64 = 64 << 10;
/// Most bytes of the objects of a group.
pub const GROUP_MAX: u64 = 256 << 10;
/// Most bytes of the bases of a group.
const GROUP_BASES_MAX: u64 = 1 << 20;

/// A frame before it is encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FramePlan {
    /// Digests and sizes of the objects.
    pub objects: Vec<(Digest, u64)>,
    /// Digests and sizes of the bases.
    pub bases: Vec<(Digest, u64)>,
}

impl FramePlan {
    /// Returns the size of all objects.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.objects.iter().map(|(_, size)| size).sum()
    }

    /// Returns the size of all bases.
    #[must_use]
    pub fn bases_size(&self) -> u64 {
        self.bases.iter().map(|(_, size)| size).sum()
    }
}

/// Divides objects into frames, in their order: a large object and its base are a frame, and successive small ones with
/// their bases too.
#[must_use]
pub fn plan_frames(choices: &[BaseChoice]) -> Vec<FramePlan> {
    let (mut plans, mut group) = (Vec::new(), FramePlan::default());
    for choice in choices {
        let object = (choice.object.digest, choice.object.size);
        let base = choice.base.filter(|(_, size)| *size > 0);
        if object.1 > SMALL_MAX || base.is_some_and(|(_, size)| size > GROUP_BASES_MAX / 2) {
            plans.push(FramePlan { objects: vec![object], bases: base.into_iter().collect() });
            continue;
        }
        let base = base.filter(|base| !group.bases.contains(base));
        let is_full = group.size() + object.1 > GROUP_MAX
            || group.bases_size() + base.map_or(0, |(_, size)| size) > GROUP_BASES_MAX
            || group.objects.len() == FRAME_OBJECTS_MAX
            || group.bases.len() == FRAME_BASES_MAX;
        if is_full {
            plans.push(std::mem::take(&mut group));
        }
        group.objects.push(object);
        group.bases.extend(choice.base.filter(|base| base.1 > 0 && !group.bases.contains(base)));
    }
    if !group.objects.is_empty() {
        plans.push(group);
    }
    plans
}
