//! Coder 3: the base is made similar to the object before it becomes the prefix (`docs/format/frame.md`, section 5).

use std::io::{self, BufRead, Read};

use crate::elf::address_map::AddressMap;
use crate::elf::matching::find_map;
use crate::elf::references::replace_references;
use crate::zstd_coder;

/// Most bytes of the object, and of its base.
pub(crate) const REBASE_MAX: u64 = 128 << 20;
/// Most bytes of a map.
const MAP_MAX: u64 = 2 << 20;
/// Level at which maps are compressed.
const MAP_LEVEL: i32 = 19;

/// Returns the base with its addresses moved, and the bytes that tell how; `None` if it has none that move.
pub(crate) fn rebased(content: &[u8], base: &[u8]) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let map = find_map(base.to_vec(), content.to_vec()).filter(|map| map.len() > 0);
    let (Some(map), mut head) = (map, Vec::new()) else { return Ok(None) };
    if !write_map(&map.to_bytes(), &mut head)? {
        return Ok(None);
    }
    let mut moved = base.to_vec();
    replace_references(&mut moved, &mut map.replacer());
    Ok(Some((moved, head)))
}

/// Writes the bytes that tell how addresses move. If the map is too large, they tell that none does; returns `false`.
pub(crate) fn write_map(map: &[u8], out: &mut Vec<u8>) -> io::Result<bool> {
    let fits = map.len() as u64 <= MAP_MAX;
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    zstd_coder::compress(if fits { map } else { &[] }, &[], MAP_LEVEL, out)?;
    let len = u32::try_from(out.len() - start - 4).map_err(|_| io::ErrorKind::InvalidInput)?;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    Ok(fits)
}

/// Reads how the addresses of the base move, and moves them; `Ok(false)` if the map breaks the rules.
pub(crate) fn rebase(input: &mut impl BufRead, base: &mut [u8]) -> io::Result<bool> {
    let Some(map) = read_map(input)? else { return Ok(false) };
    replace_references(base, &mut map.replacer());
    Ok(true)
}

/// Reads a map; `Ok(None)` if it breaks the rules.
pub(crate) fn read_map(input: &mut impl BufRead) -> io::Result<Option<AddressMap>> {
    let mut len = [0; 4];
    input.read_exact(&mut len)?;
    let mut compressed = input.take(u64::from(u32::from_le_bytes(len)));
    let mut bytes = Vec::new();
    zstd_coder::decoder(&mut compressed, &[], MAP_MAX)?.take(MAP_MAX + 1).read_to_end(&mut bytes)?;
    let is_whole = compressed.limit() == 0 && bytes.len() as u64 <= MAP_MAX;
    Ok(AddressMap::from_bytes(&bytes).filter(|_| is_whole))
}
