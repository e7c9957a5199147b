//! The index of a pushed image grows frame by frame.

use std::collections::{HashMap, HashSet};

use libcomposefs_delta::{FrameInfo, NamedObject};
use libcomposefs_image::{Algorithm, Digest};

use crate::pack_writer::PackedFrame;
use crate::{FileEntry, ImageIndex, IndexFrame, RefImage, Sha256Digest};

/// An index in the making.
pub(super) struct IndexBuilder {
    index: ImageIndex,
    numbers: HashMap<Digest, u32>,
    packs: HashMap<Sha256Digest, u32>,
    /// Objects of the image that a frame without bases gives.
    whole: HashSet<Digest>,
    /// Number of objects of the image.
    objects: usize,
}

impl IndexBuilder {
    pub(super) fn new(image: RefImage, needed: &[NamedObject]) -> Self {
        let objects: Vec<_> = needed.iter().map(|object| (object.digest, object.size)).collect();
        let count = objects.len();
        let (packs, others, frames, records) = Default::default();
        let index = ImageIndex { image, packs, objects, others, frames, records };
        let numbers = (0..).zip(index.entries()).map(|(number, (digest, _))| (digest, number)).collect();
        Self { index, numbers, packs: HashMap::new(), whole: HashSet::new(), objects: count }
    }

    /// Returns the algorithm of all digests.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.index.image.digest.algorithm()
    }

    /// Returns whether a frame without bases gives an object.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.whole.contains(digest)
    }

    /// Returns whether an object is of the image, or the image itself.
    pub(super) fn needs(&self, digest: &Digest) -> bool {
        self.numbers.get(digest).is_some_and(|number| *number as usize <= self.objects)
    }

    /// Adds a frame, unless a number of its objects does not fit.
    pub(super) fn add(&mut self, pack: &FileEntry, offset: u64, info: &FrameInfo) {
        let next = u32::try_from(self.index.packs.len()).unwrap_or(u32::MAX);
        let number = *self.packs.entry(pack.sha256).or_insert_with(|| {
            self.index.packs.push(*pack);
            next
        });
        let objects = info.objects.iter().map(|entry| self.number(entry)).collect();
        let bases = info.bases.iter().map(|entry| self.number(entry)).collect();
        if info.bases.is_empty() {
            self.whole.extend(info.objects.iter().map(|(digest, _)| *digest));
        }
        let (length, coder) = (info.length, info.coder);
        self.index.frames.push(IndexFrame { pack: number, offset, length, coder, objects, bases });
    }

    /// Adds all frames of a pack.
    pub(super) fn add_pack(&mut self, pack: &FileEntry, frames: &[PackedFrame]) {
        for frame in frames {
            self.add(pack, frame.offset, &frame.info);
        }
    }

    fn number(&mut self, entry: &(Digest, u64)) -> u32 {
        let next = 1 + self.index.objects.len() + self.index.others.len();
        *self.numbers.entry(entry.0).or_insert_with(|| {
            self.index.others.push(*entry);
            u32::try_from(next).unwrap_or(u32::MAX)
        })
    }

    pub(super) fn finish(self) -> ImageIndex {
        self.index
    }
}
