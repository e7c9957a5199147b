//! Finding where the parts of an old ELF file are in a new one.

use super::address_map::AddressMap;
use super::parts::{MatchedPart, matched_parts};
use super::references::replace_references;
use super::sections::{ElfSections, sections};
use crate::btf::TypeVotes;

/// Returns the map from the addresses of an old ELF file to those of a new one; `None` if one of them is no such file.
/// The addresses in both are erased, so that the rest can be compared.
pub(crate) fn find_map(mut old: Vec<u8>, mut new: Vec<u8>) -> Option<AddressMap> {
    let (old_sections, new_sections) = (sections(&old)?, sections(&new)?);
    let mut votes = TypeVotes::default();
    if let (Some(from), Some(to)) = (old_sections.types(), new_sections.types()) {
        votes.count((&old, from), (&new, to));
    }
    replace_references(&mut old, &mut |_| 0);
    replace_references(&mut new, &mut |_| 0);
    let parts = matched_parts(&old, &new);
    let types = votes.distances();
    Some(AddressMap::new(types.into_iter().chain(stretches(&parts, &old_sections, &new_sections))))
}

/// Turns matched parts of files into stretches of addresses, with the beginnings of sections of the same name.
fn stretches(parts: &[MatchedPart], old: &ElfSections, new: &ElfSections) -> Vec<(u64, u64)> {
    // The address of a byte of a file, if it is loaded, and the number of bytes of which that is true too.
    let address = |all: &ElfSections, at: usize| match all
        .list
        .iter()
        .find(|one| at >= one.offset && at - one.offset < one.file_size)
    {
        Some(one) => (Some(one.address + (at - one.offset) as u64), one.offset + one.file_size - at),
        None => {
            let next = all.list.iter().map(|one| one.offset).filter(|offset| *offset > at).min();
            (None, next.map_or(usize::MAX, |next| next - at))
        }
    };
    let mut pieces: Vec<(u64, u64, u64)> = Vec::new();
    for part in parts {
        let mut done = 0;
        while done < part.len {
            let places = (address(old, part.old + done), address(new, part.new + done));
            let len = (part.len - done).min(places.0.1).min(places.1.1);
            if let (Some(from), Some(to)) = (places.0.0, places.1.0) {
                pieces.push((from, len as u64, to.wrapping_sub(from)));
            }
            done += len;
        }
    }
    for section in &old.list {
        let same = new.list.iter().find(|one| one.name == section.name && one.kind == section.kind);
        pieces.extend(same.map(|same| (section.address, 1, same.address.wrapping_sub(section.address))));
    }
    in_order(pieces)
}

/// Turns pieces, which may overlap, into stretches: of those that begin at the same address the longest counts, and
/// others from the end of the one before on. A piece is its first address, its length and its distance.
pub(crate) fn in_order(mut pieces: Vec<(u64, u64, u64)>) -> Vec<(u64, u64)> {
    pieces.sort_by_key(|piece| (piece.0, std::cmp::Reverse(piece.1)));
    let (mut all, mut end): (Vec<(u64, u64)>, u64) = (Vec::new(), 0);
    for (start, len, distance) in pieces {
        let from = start.max(end);
        if start + len > from {
            all.push((from, distance));
            end = start + len;
        }
    }
    all
}
