//! The earlier places of four bytes, the nearest first: a match is told by its rank among them.

use super::sequences::MATCH_MIN;

/// Largest distance of a match.
const DISTANCE_MAX: usize = 65_535;
/// Most places that are looked at for one match.
const PLACES_MAX: usize = 64;
/// The rank that stands for a distance that follows.
pub(super) const NO_RANK: u8 = 255;

/// The places of a block that have the same hash.
pub(super) struct Chains {
    /// For each hash the last place, plus 1.
    last: Vec<u32>,
    /// For each of the last 65,536 places the distance of the one before with the same hash; 0 for the first.
    before: Vec<u16>,
    /// Number of places that were added.
    added: usize,
}

impl Chains {
    pub(super) fn new() -> Self {
        Self { last: vec![0; 1 << 16], before: vec![0; 1 << 16], added: 0 }
    }

    /// Begins another block.
    pub(super) fn clear(&mut self) {
        self.last.fill(0);
        self.added = 0;
    }

    /// The distances at which the `len` bytes at `at` are repeated, the nearest first.
    fn matches<'c>(&'c mut self, block: &'c [u8], at: usize, len: usize) -> impl Iterator<Item = usize> + 'c {
        while let Some(bytes) = block.get(self.added..).filter(|_| self.added < at).and_then(|b| b.first_chunk()) {
            let last = &mut self.last[hash(bytes)];
            // 0 for the first, and for one that is too far away.
            let distance = if *last == 0 { 0 } else { self.added + 1 - *last as usize };
            self.before[self.added & 0xffff] = u16::try_from(distance).unwrap_or(0);
            *last = (self.added + 1) as u32;
            self.added += 1;
        }
        let here = block.get(at..).and_then(|rest| rest.get(..len)).unwrap_or_default();
        let mut next = here.first_chunk().and_then(|bytes| (self.last[hash(bytes)] as usize).checked_sub(1));
        let places = std::iter::from_fn(move || {
            let place = next.filter(|place| *place < at && at - place <= DISTANCE_MAX)?;
            let distance = usize::from(self.before[place & 0xffff]);
            next = if distance == 0 { None } else { place.checked_sub(distance) };
            Some(place)
        });
        places.take(PLACES_MAX).filter(move |place| &block[*place..place + len] == here).map(move |place| at - place)
    }

    /// Returns the rank of a distance, if it has one.
    pub(super) fn rank(&mut self, block: &[u8], at: usize, len: usize, distance: u16) -> Option<u8> {
        let rank = self.matches(block, at, len).position(|found| found == usize::from(distance))?;
        u8::try_from(rank).ok()
    }

    /// Returns the distance of a rank.
    pub(super) fn distance(&mut self, block: &[u8], at: usize, len: usize, rank: u8) -> Option<u16> {
        u16::try_from(self.matches(block, at, len).nth(usize::from(rank))?).ok()
    }
}

fn hash(bytes: &[u8; MATCH_MIN]) -> usize {
    (u32::from_le_bytes(*bytes).wrapping_mul(2_654_435_761) >> 16) as usize
}
