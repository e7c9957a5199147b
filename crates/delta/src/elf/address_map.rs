//! Where the addresses of an old file are in a new one.

use super::references::StoredAddress;
use crate::number::{push_number, take_number};

/// Most stretches of a map.
pub(crate) const STRETCHES_MAX: usize = 1 << 17;

/// The distance by which addresses move: each stretch reaches to the next one, the first one to below it too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AddressMap {
    /// First address of each stretch, in rising order, and its distance.
    stretches: Vec<(u64, u64)>,
}

impl AddressMap {
    /// Makes a map of stretches in rising order. Successive ones with the same distance become one.
    pub(crate) fn new(all: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut stretches: Vec<(u64, u64)> = Vec::new();
        for (start, distance) in all {
            let is_new = stretches.last().is_none_or(|last| last.1 != distance && last.0 < start);
            if is_new && stretches.len() < STRETCHES_MAX {
                stretches.push((start, distance));
            }
        }
        Self { stretches }
    }

    pub(crate) fn len(&self) -> usize {
        self.stretches.len()
    }

    /// Returns where an address is. `near` is the number of a stretch that may be the right one.
    pub(crate) fn moved(&self, address: u64, near: &mut usize) -> u64 {
        let holds = |index: usize| {
            let starts = self.stretches.get(index).is_some_and(|stretch| stretch.0 <= address);
            starts && self.stretches.get(index + 1).is_none_or(|next| address < next.0)
        };
        if !holds(*near) {
            *near = self.stretches.partition_point(|stretch| stretch.0 <= address).saturating_sub(1);
        }
        address.wrapping_add(self.stretches.get(*near).map_or(0, |stretch| stretch.1))
    }

    /// Returns the function that replaces addresses.
    pub(crate) fn replacer(&self) -> impl FnMut(StoredAddress) -> u64 {
        let (mut near_anchor, mut near_target) = (0, 0);
        move |reference| match reference {
            StoredAddress::Absolute(address) => self.moved(address, &mut near_target),
            StoredAddress::Relative { anchor, addend, target } => {
                let from = self.moved(anchor, &mut near_anchor).wrapping_add(addend);
                self.moved(target, &mut near_target).wrapping_sub(from)
            }
            StoredAddress::Number { space, number } => {
                self.moved(space.wrapping_add(number), &mut near_target).wrapping_sub(space)
            }
            StoredAddress::Backward { anchor, target } => {
                self.moved(anchor, &mut near_anchor).wrapping_sub(self.moved(target, &mut near_target))
            }
        }
    }

    /// Writes the map: for each stretch how far it begins after the one before, and by how much its distance differs.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let (mut bytes, mut last) = (Vec::new(), (0, 0u64));
        for &(start, distance) in &self.stretches {
            push_number(&mut bytes, start - last.0);
            let change = distance.wrapping_sub(last.1).cast_signed();
            push_number(&mut bytes, ((change << 1) ^ (change >> 63)).cast_unsigned());
            last = (start, distance);
        }
        bytes
    }

    /// Reads a map.
    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let (mut stretches, mut last) = (Vec::new(), (0u64, 0u64));
        while !bytes.is_empty() {
            let gap = take_number(&mut bytes)?;
            let change = take_number(&mut bytes)?;
            let change = (change >> 1) ^ (change & 1).wrapping_neg();
            if (gap == 0 && !stretches.is_empty()) || stretches.len() == STRETCHES_MAX {
                return None;
            }
            last = (last.0.checked_add(gap)?, last.1.wrapping_add(change));
            stretches.push(last);
        }
        Some(Self { stretches })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_come_back_and_move_addresses() {
        let map = AddressMap::new([(0, 0), (100, 16), (150, 16), (200, 0u64.wrapping_sub(8)), (1 << 40, 3)]);
        assert_eq!(map.len(), 4);
        let bytes = map.to_bytes();
        assert_eq!(AddressMap::from_bytes(&bytes), Some(map.clone()));
        assert_eq!(AddressMap::from_bytes(&bytes[..bytes.len() - 1]), None);
        let mut replace = map.replacer();
        assert_eq!(replace(StoredAddress::Absolute(99)), 99);
        assert_eq!(replace(StoredAddress::Absolute(199)), 215);
        assert_eq!(replace(StoredAddress::Relative { anchor: 100, addend: 4, target: 300 }), 292 - 120);
        assert_eq!(replace(StoredAddress::Backward { anchor: 300, target: 120 }), 292 - 136);
    }
}
