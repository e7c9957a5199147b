//! BTF, the types of a kernel or a module (`docs/format/frame.md`, section 8.3): where its numbers are.

mod votes;

pub(crate) use votes::TypeVotes;

use crate::elf::sections::{u16_at, u32_at};

const MAGIC: u16 = 0xeb9f;
/// The number of a type is mapped as an address from here on.
const TYPES: u64 = 1 << 40;
/// The same for offsets of names.
const NAMES: u64 = 1 << 41;

/// A word of four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BtfWord {
    /// A size, an offset or a value.
    Plain,
    /// The number of a type.
    Type,
    /// Offset of a name in the strings.
    Name,
}

use BtfWord::{Name, Plain, Type};

impl BtfWord {
    /// The address from which on numbers of this kind are mapped.
    fn space(self) -> Option<u64> {
        match self {
            Plain => None,
            Type => Some(TYPES),
            Name => Some(NAMES),
        }
    }
}

/// A type: the place of its first word, and its words after the second one, which says what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct BtfRecord {
    at: usize,
    third: BtfWord,
    /// Words of each element, and the number of elements.
    each: &'static [BtfWord],
    count: usize,
}

impl BtfRecord {
    /// All words with their places.
    fn words(&self) -> impl Iterator<Item = (usize, BtfWord)> + use<> {
        let elements = self.each.iter().copied().cycle().take(self.each.len() * self.count);
        let words = [Name, Plain, self.third].into_iter().chain(elements);
        let at = self.at;
        words.enumerate().map(move |(number, word)| (at + number * 4, word))
    }

    /// Offset of the byte after the type.
    fn end(&self) -> usize {
        self.at + 12 + self.each.len() * self.count * 4
    }
}

/// Changes the numbers of types and names in a section that lies at `start` to `end`. `moved` returns the
/// new number of an old one, which counts from the address that is given first.
pub(crate) fn replace_types(bytes: &mut [u8], start: usize, end: usize, moved: &mut dyn FnMut(u64, u64) -> u64) {
    let Some((mut at, end)) = types(bytes, start, end) else { return };
    while let Some(record) = record(bytes, at, end) {
        at = record.end();
        for (at, word) in record.words() {
            let number = u32_at(bytes, at).filter(|number| *number != 0);
            if let (Some(space), Some(number)) = (word.space(), number) {
                let number = moved(space, number.into()) as u32;
                bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
            }
        }
    }
}

/// Returns the offsets of the first type of a section that lies at `start` to `end`, and of the end of all.
fn types(bytes: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
    let header = bytes.get(start..end)?;
    let word = |at| u32_at(header, at).map(|word| word as usize);
    let first = word(4)?.checked_add(word(8)?)?;
    let end = first.checked_add(word(12)?)?;
    (u16_at(header, 0)? == MAGIC && end <= header.len()).then_some((start + first, start + end))
}

/// Returns the type at an offset; `None` if it is unknown or does not end at `end` or before.
fn record(bytes: &[u8], at: usize, end: usize) -> Option<BtfRecord> {
    let info = u32_at(bytes.get(..end)?, at + 4)?;
    let (third, each, is_many): (BtfWord, &'static [BtfWord], bool) = match info >> 24 & 0x1f {
        1 => (Plain, &[Plain], false),
        2 | 8..=12 | 18 => (Type, &[], false),
        3 => (Plain, &[Type, Type, Plain], false),
        4 | 5 => (Plain, &[Name, Type, Plain], true),
        6 => (Plain, &[Name, Plain], true),
        7 | 16 => (Plain, &[], false),
        13 => (Type, &[Name, Type], true),
        14 | 17 => (Type, &[Plain], false),
        15 => (Plain, &[Type, Plain, Plain], true),
        19 => (Plain, &[Name, Plain, Plain], true),
        _ => return None,
    };
    let count = if is_many { (info & 0xffff) as usize } else { 1 };
    let record = BtfRecord { at, third, each, count };
    (record.end() <= end).then_some(record)
}

/// Returns the types of a section that lies at `start` to `end`, up to the first that is unknown or cut off.
fn records(bytes: &[u8], start: usize, end: usize) -> impl Iterator<Item = BtfRecord> + '_ {
    let (mut at, end) = types(bytes, start, end).unwrap_or_default();
    std::iter::from_fn(move || {
        let record = record(bytes, at, end)?;
        at = record.end();
        Some(record)
    })
}
