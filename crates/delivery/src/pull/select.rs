//! The frames that a pull fetches: those of missing objects, whole or as differences from objects of the repository.

use std::collections::{HashMap, HashSet};

use libcomposefs_delta::Coder;
use libcomposefs_image::Digest;
use libcomposefs_repo::{Repository, RepositoryError};

use crate::{ImageIndex, IndexFrame};

/// A way to get an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PullWay {
    /// All objects, as if the repository had none.
    Whole,
    /// Missing objects, without bases.
    Packs,
    /// Missing objects, as differences where the repository has the bases.
    Deltas,
}

impl PullWay {
    /// All ways.
    pub const ALL: [PullWay; 3] = [PullWay::Whole, PullWay::Packs, PullWay::Deltas];

    /// Returns the name of the way.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            PullWay::Whole => "whole",
            PullWay::Packs => "packs",
            PullWay::Deltas => "deltas",
        }
    }
}

/// The objects of an index that a repository has, by their numbers.
#[derive(Clone, Debug)]
pub(crate) struct Inventory {
    here: Vec<bool>,
    /// Number of the objects of the image, without the image.
    objects: usize,
}

impl Inventory {
    /// Looks for all objects of an index.
    pub(crate) fn of(repository: &Repository, index: &ImageIndex) -> Result<Self, RepositoryError> {
        let is_here = |(digest, size): (Digest, u64)| repository.has_object(&digest, size);
        let mut here = index.entries().map(is_here).collect::<Result<Vec<_>, _>>()?;
        // An image without a link may go at any time.
        if let Some(image) = here.first_mut() {
            *image = *image && repository.has_image(&index.image.digest)?;
        }
        Ok(Self { here, objects: index.objects.len() })
    }

    /// Returns the same without any object.
    fn empty(&self) -> Self {
        Self { here: vec![false; self.here.len()], objects: self.objects }
    }

    /// Takes objects for missing ones, and all others for present ones.
    pub(crate) fn forget(&mut self, index: &ImageIndex, digests: &[Digest]) {
        let digests: HashSet<_> = digests.iter().collect();
        for (here, (digest, _)) in self.here.iter_mut().zip(index.entries()) {
            *here = !digests.contains(&digest);
        }
    }

    pub(crate) fn has(&self, number: u32) -> bool {
        self.here.get(number as usize).copied().unwrap_or(false)
    }

    /// Returns the numbers of the objects of the image that are missing.
    pub(crate) fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        (1..).take(self.objects).filter(|number| !self.has(*number))
    }
}

/// Frames by their numbers in the index.
#[derive(Clone, Debug, Default)]
pub(crate) struct FrameSelection {
    pub(crate) frames: Vec<usize>,
    /// Frame that gives the image; `None` for the file of the metadata image.
    pub(crate) image: Option<usize>,
}

/// Selects the frames for a way. The error is an object that no frame gives.
pub(crate) fn select(
    index: &ImageIndex,
    inventory: &Inventory,
    way: PullWay,
    metadata_size: u64,
) -> Result<FrameSelection, (Digest, u64)> {
    let empty = (way == PullWay::Whole).then(|| inventory.empty());
    let inventory = empty.as_ref().unwrap_or(inventory);
    let mut selector = Selector::new(index, inventory);
    let mut selection = FrameSelection::default();
    if way == PullWay::Deltas {
        selector.add_deltas();
        let deltas = selector.usable_deltas().filter(|(_, frame)| frame.objects[..] == [0]);
        let shorter = deltas.filter(|(_, frame)| frame.length < metadata_size);
        selection.image = shorter.min_by_key(|(_, frame)| frame.length).map(|(number, _)| number);
    }
    selector.add_whole().map_err(|number| index.entry(number).unwrap_or((index.image.digest, 0)))?;
    selection.frames = selector.selected.into_iter().collect();
    Ok(selection)
}

struct Selector<'a> {
    index: &'a ImageIndex,
    inventory: &'a Inventory,
    /// Numbers of objects that are neither here nor given by a selected frame.
    missing: HashSet<u32>,
    selected: HashSet<usize>,
    /// The shortest frame without bases for each object, weighed by its part of the content.
    whole: HashMap<u32, (u64, usize)>,
}

impl<'a> Selector<'a> {
    fn new(index: &'a ImageIndex, inventory: &'a Inventory) -> Self {
        let missing: HashSet<u32> = inventory.missing().collect();
        let mut whole = HashMap::new();
        for (number, frame) in index.frames.iter().enumerate() {
            if !frame.bases.is_empty() || matches!(frame.coder, Coder::Unknown(_)) {
                continue;
            }
            let size = content_size(index, frame).max(1);
            for object in frame.objects.iter().filter(|object| missing.contains(object)) {
                let part = index.entry(*object).map_or(0, |entry| entry.1);
                let weight = u128::from(frame.length) * u128::from(part) / u128::from(size);
                let weight = u64::try_from(weight).unwrap_or(u64::MAX);
                let shortest = whole.entry(*object).or_insert((weight, number));
                *shortest = (*shortest).min((weight, number));
            }
        }
        Self { index, inventory, missing, selected: HashSet::new(), whole }
    }

    /// Returns the frames whose bases are here.
    fn usable_deltas(&self) -> impl Iterator<Item = (usize, &'a IndexFrame)> {
        let (inventory, index) = (self.inventory, self.index);
        index.frames.iter().enumerate().filter(move |(_, frame)| {
            !frame.bases.is_empty()
                && !matches!(frame.coder, Coder::Unknown(_))
                && frame.bases.iter().all(|base| inventory.has(*base))
        })
    }

    /// Selects frames with bases that are shorter than the frames without.
    fn add_deltas(&mut self) {
        let mut deltas: Vec<_> = self.usable_deltas().collect();
        deltas.sort_by_key(|(number, frame)| (frame.length, *number));
        for (number, frame) in deltas {
            let given = || frame.objects.iter().filter(|object| self.missing.contains(object));
            let whole = given().map(|object| self.whole.get(object).map_or(u64::MAX, |whole| whole.0));
            let whole = whole.fold(0, u64::saturating_add);
            if frame.length < whole {
                let given: Vec<u32> = given().copied().collect();
                self.missing.retain(|object| !given.contains(object));
                self.selected.insert(number);
            }
        }
    }

    /// Selects frames without bases for all that is missing. The error is an object without a frame.
    fn add_whole(&mut self) -> Result<(), u32> {
        for object in &self.missing {
            let (_, number) = self.whole.get(object).ok_or(*object)?;
            self.selected.insert(*number);
        }
        Ok(())
    }
}

fn content_size(index: &ImageIndex, frame: &IndexFrame) -> u64 {
    let sizes = frame.objects.iter().filter_map(|object| Some(index.entry(*object)?.1));
    sizes.fold(0, u64::saturating_add)
}
