//! Coder 6: kernel modules, in which places, symbols and types have other numbers (`docs/format/frame.md`, section 8).

mod matching;
mod numbers;
mod pair;
mod sections;

use std::io::{self, BufRead};

use crate::rebase::{read_map, write_map};

/// Returns the bases with their numbers changed, and the bytes that tell how; `None` if there are no modules.
pub(crate) fn changed(
    content: &[u8],
    sizes: &[usize],
    bases: &[u8],
    base_sizes: &[usize],
) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let map = matching::find_map(bases, base_sizes, content, sizes).filter(|map| map.len() > 0);
    let (Some(map), mut head) = (map, Vec::new()) else { return Ok(None) };
    if !write_map(&map.to_bytes(), &mut head)? {
        return Ok(None);
    }
    let mut changed = bases.to_vec();
    numbers::replace_numbers(&mut changed, base_sizes.iter().copied(), &map);
    Ok(Some((changed, head)))
}

/// Reads how the numbers in the bases change, and changes them; `Ok(false)` if the map breaks the rules.
pub(crate) fn change(
    input: &mut impl BufRead,
    bases: &mut [u8],
    sizes: impl Iterator<Item = usize>,
) -> io::Result<bool> {
    let Some(map) = read_map(input)? else { return Ok(false) };
    numbers::replace_numbers(bases, sizes, &map);
    Ok(true)
}
