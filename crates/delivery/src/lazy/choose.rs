//! The frame that is fetched for an object.

use std::collections::{HashMap, HashSet};

use libcomposefs_delta::Coder;
use libcomposefs_image::Digest;
use libcomposefs_repo::Repository;

use crate::{ImageIndex, IndexFrame};

/// The objects of an image by their digests, and the frames that give each of them.
pub(super) struct FrameTable {
    numbers: HashMap<Digest, u32>,
    frames: HashMap<u32, Vec<usize>>,
}

impl FrameTable {
    /// Returns the table of an index. `sizes` are those of all objects of the image: a frame that gives an object of
    /// another size, or says that a foreign one is of the image, is passed over, so that no more is read than the image
    /// has.
    pub(super) fn of(index: &ImageIndex, sizes: &HashMap<Digest, u64>) -> Self {
        let is_right = |number: &u32| {
            let is_of_image = (1..=index.objects.len()).contains(&(*number as usize));
            index.entry(*number).is_some_and(|(digest, size)| !is_of_image || sizes.get(&digest) == Some(&size))
        };
        let numbers = index.objects.iter().zip(1..).map(|((digest, _), number)| (*digest, number)).collect();
        let mut frames: HashMap<u32, Vec<usize>> = HashMap::new();
        for (position, frame) in index.frames.iter().enumerate() {
            if !matches!(frame.coder, Coder::Unknown(_)) && frame.objects.iter().all(is_right) {
                frame.objects.iter().for_each(|number| frames.entry(*number).or_default().push(position));
            }
        }
        Self { numbers, frames }
    }

    pub(super) fn number(&self, digest: &Digest) -> Option<u32> {
        self.numbers.get(digest).copied()
    }

    /// Returns the position of the shortest frame that gives an object and whose bases the repository has.
    pub(super) fn choose(&self, index: &ImageIndex, repository: &Repository, number: u32) -> Option<usize> {
        let has = |base: &u32| {
            index.entry(*base).is_some_and(|(digest, size)| repository.has_object(&digest, size).unwrap_or(false))
        };
        self.shortest(index, number, |frame| frame.bases.iter().all(has))
    }

    /// Returns the shortest frame without bases that gives an object.
    pub(super) fn choose_whole(&self, index: &ImageIndex, number: u32) -> Option<usize> {
        self.shortest(index, number, |frame| frame.bases.is_empty())
    }

    /// Returns the position of the frame that gives an object and the fewest others that are not traced.
    pub(super) fn choose_traced(
        &self,
        index: &ImageIndex,
        repository: &Repository,
        number: u32,
        traced: &HashSet<u32>,
    ) -> Option<usize> {
        let has = |base: &u32| {
            index.entry(*base).is_some_and(|(digest, size)| repository.has_object(&digest, size).unwrap_or(false))
        };
        let frames =
            self.frames.get(&number)?.iter().filter_map(|position| Some((*position, index.frames.get(*position)?)));
        let usable = frames.filter(|(_, frame)| frame.bases.iter().all(has));
        let others = |frame: &IndexFrame| frame.objects.iter().filter(|number| !traced.contains(number)).count();
        usable.min_by_key(|(position, frame)| (others(frame), frame.length, *position)).map(|(position, _)| position)
    }

    fn shortest(&self, index: &ImageIndex, number: u32, may_be: impl Fn(&IndexFrame) -> bool) -> Option<usize> {
        let frames =
            self.frames.get(&number)?.iter().filter_map(|position| Some((position, index.frames.get(*position)?)));
        let usable = frames.filter(|(_, frame)| may_be(frame));
        usable.min_by_key(|(position, frame)| (frame.length, !frame.bases.is_empty(), **position)).map(|(p, _)| *p)
    }
}
