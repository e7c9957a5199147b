//! Which entry gets which number, which entries go, and to which one a rollback leads.

use libcomposefs_image::Digest;

/// Highest number of an entry.
pub const GENERATION_MAX: u64 = 999_999_999;

/// What the choice of entries depends on. Lists of it are in the order of the boot loader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryUse {
    /// Number of an entry of ours; `None` for entries of others.
    pub generation: Option<u64>,
    /// The image that the entry boots.
    pub digest: Option<Digest>,
    /// No attempt is left, or a file of the entry is missing.
    pub is_failed: bool,
    /// The image is that of the running system.
    pub is_booted: bool,
}

/// Returns the number of a new entry, which makes it the first of ours; `None` if there is no higher number.
#[must_use]
pub fn next_generation(entries: &[EntryUse]) -> Option<u64> {
    let last = entries.iter().filter_map(|entry| entry.generation).max().unwrap_or(0);
    last.checked_add(1).filter(|next| *next <= GENERATION_MAX)
}

/// Returns the indexes of our entries that may go once the entry with the number `new` is on disk, so that `keep` of
/// ours are left: failed ones first, then the lowest numbers. The new entry, one of the booted image, and one that
/// boots another image than the new one always stay.
#[must_use]
pub fn removable(entries: &[EntryUse], new: u64, keep: usize) -> Vec<usize> {
    let is_new = |entry: &EntryUse| entry.generation == Some(new);
    let of_new = entries.iter().find(|entry| is_new(entry)).and_then(|entry| entry.digest);
    let booted = entries.iter().position(|entry| entry.is_booted && !entry.is_failed);
    let booted = booted.or_else(|| entries.iter().position(|entry| entry.is_booted));
    let is_other = |entry: &EntryUse| !is_new(entry) && entry.digest.is_some() && entry.digest != of_new;
    let other = entries.iter().position(|entry| is_other(entry) && !entry.is_failed);
    let is_needed = |at: usize| is_new(&entries[at]) || Some(at) == booted || Some(at) == other;
    let mut own: Vec<usize> = (0..entries.len()).filter(|at| entries[*at].generation.is_some()).collect();
    let surplus = own.len().saturating_sub(keep);
    own.retain(|at| !is_needed(*at));
    own.sort_by_key(|at| (!entries[*at].is_failed, entries[*at].generation));
    own.truncate(surplus);
    own
}

/// Returns the index of the entry that a rollback makes the first: the next one in the order that boots another image
/// than the first entry, and has not failed.
#[must_use]
pub fn rollback_target(entries: &[EntryUse]) -> Option<usize> {
    let next = entries.iter().position(|entry| !entry.is_failed)?;
    let is_target =
        |entry: &EntryUse| !entry.is_failed && entry.digest.is_some() && entry.digest != entries[next].digest;
    (next + 1..entries.len()).find(|at| is_target(&entries[*at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::from_hex(format!("{byte:02x}").repeat(32)).unwrap()
    }

    fn entry(generation: u64, image: u8) -> EntryUse {
        let generation = (generation > 0).then_some(generation);
        EntryUse { generation, digest: Some(digest(image)), is_failed: false, is_booted: false }
    }

    fn booted(entry: EntryUse) -> EntryUse {
        EntryUse { is_booted: true, ..entry }
    }

    fn failed(entry: EntryUse) -> EntryUse {
        EntryUse { is_failed: true, ..entry }
    }

    #[test]
    fn numbers_grow_up_to_their_limit() {
        assert_eq!(next_generation(&[]), Some(1));
        assert_eq!(next_generation(&[entry(0, 1), entry(7, 1), entry(3, 1)]), Some(8));
        assert_eq!(next_generation(&[entry(GENERATION_MAX - 1, 1)]), Some(GENERATION_MAX));
        assert_eq!(next_generation(&[entry(GENERATION_MAX, 1)]), None);
        assert_eq!(next_generation(&[entry(u64::MAX, 1)]), None);
    }

    #[test]
    fn old_entries_go_and_needed_ones_stay() {
        let list = [entry(5, 5), booted(entry(4, 4)), entry(3, 3), entry(2, 2), entry(1, 1), entry(0, 9)];
        assert_eq!(removable(&list, 5, 3), [4, 3]);
        assert_eq!(removable(&list, 5, 1), [4, 3, 2]);
        assert_eq!(removable(&list, 5, 9), [0; 0]);
        // The booted entry is old: it stays, and so does one other image.
        let list = [entry(5, 5), entry(4, 4), entry(3, 3), booted(entry(1, 1))];
        assert_eq!(removable(&list, 5, 2), [2]);
        assert_eq!(removable(&list, 5, 1), [2]);
        // Failed entries go first.
        let list = [entry(5, 5), booted(entry(2, 2)), entry(1, 1), failed(entry(4, 4)), failed(entry(3, 3))];
        assert_eq!(removable(&list, 5, 4), [4]);
        assert_eq!(removable(&list, 5, 3), [4, 3]);
        // The same image again: the other image stays.
        let list = [entry(5, 5), booted(entry(4, 5)), entry(3, 5), entry(2, 1)];
        assert_eq!(removable(&list, 5, 1), [2]);
    }

    #[test]
    fn a_rollback_leads_to_the_next_other_image() {
        assert_eq!(rollback_target(&[entry(2, 2), booted(entry(1, 1))]), Some(1));
        assert_eq!(rollback_target(&[booted(entry(3, 2)), entry(2, 2), failed(entry(1, 1)), entry(0, 9)]), Some(3));
        assert_eq!(rollback_target(&[entry(3, 2), entry(2, 2)]), None);
        assert_eq!(rollback_target(&[]), None);
        let unknown = EntryUse { digest: None, ..entry(0, 1) };
        assert_eq!(rollback_target(&[entry(2, 2), unknown.clone(), entry(1, 1)]), Some(2));
        assert_eq!(rollback_target(&[failed(entry(2, 2)), entry(1, 1)]), None);
    }
}
