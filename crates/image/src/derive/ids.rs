//! User and group IDs that are mapped: of owners, in POSIX ACLs, and of the user namespace of file capabilities.

use crate::tree::{ChangedXattr, Xattr};

/// The ID that stands for "no ID" in system calls.
const INVALID: u32 = u32::MAX;

/// A range of IDs that is mapped to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// First ID in the base.
    pub from: u32,
    /// First ID in the result.
    pub to: u32,
    /// Number of IDs.
    pub count: u32,
}

/// Reasons why an ID cannot be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// The ID would be outside of what an ID can be.
    #[error("ID {id} shifted by {by} is not an ID: 0 to 4294967294 are")]
    Shifted {
        /// The ID.
        id: u32,
        /// The number that is added.
        by: i64,
    },
    /// No range has the ID.
    #[error("ID {0} is in no range of the map; add a range for it, such as {0}:{0}:1")]
    NotMapped(u32),
    /// A range is empty or too long.
    #[error("the range {0} is empty, or has numbers that are not IDs: 0 to 4294967294 are")]
    Range(IdRange),
    /// Two ranges have a common ID.
    #[error("ID {0} is in two ranges of the map")]
    Overlap(u32),
}

impl std::fmt::Display for IdRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.from, self.to, self.count)
    }
}

impl IdRange {
    fn map(self, id: u32) -> Option<u32> {
        let offset = id.checked_sub(self.from).filter(|offset| *offset < self.count)?;
        Some(self.to + offset)
    }

    fn is_valid(self) -> bool {
        let ends_well = |first: u32| first.checked_add(self.count).is_some();
        self.count > 0 && ends_well(self.from) && ends_well(self.to)
    }
}

/// A way to map IDs.
#[derive(Clone, Copy, Debug)]
pub(super) enum IdMap<'a> {
    /// IDs do not change.
    Same,
    /// A number is added.
    Shift(i64),
    /// The ranges, in any order.
    Ranges(&'a [IdRange]),
}

impl IdMap<'_> {
    pub(super) fn map(self, id: u32) -> Result<u32, IdError> {
        match self {
            IdMap::Same => Ok(id),
            IdMap::Shift(by) => {
                let shifted = i64::from(id).checked_add(by).and_then(|sum| u32::try_from(sum).ok());
                shifted.filter(|id| *id != INVALID).ok_or(IdError::Shifted { id, by })
            }
            IdMap::Ranges(ranges) => ranges.iter().find_map(|range| range.map(id)).ok_or(IdError::NotMapped(id)),
        }
    }
}

/// Checks that ranges are valid and have no common ID.
pub(super) fn check_ranges(ranges: &[IdRange]) -> Result<(), IdError> {
    if let Some(wrong) = ranges.iter().find(|range| !range.is_valid()) {
        return Err(IdError::Range(*wrong));
    }
    let first = |of: fn(&IdRange) -> u32| {
        let mut sorted: Vec<(u32, u32)> = ranges.iter().map(|range| (of(range), range.count)).collect();
        sorted.sort_unstable();
        sorted.windows(2).find(|pair| pair[0].0 + pair[0].1 > pair[1].0).map(|pair| pair[1].0)
    };
    match first(|range| range.from).or_else(|| first(|range| range.to)) {
        Some(id) => Err(IdError::Overlap(id)),
        None => Ok(()),
    }
}

/// Maps the IDs in a set of attributes.
pub(super) fn map_xattrs(xattrs: &[Xattr<'_>], uids: IdMap<'_>, gids: IdMap<'_>) -> Result<Vec<ChangedXattr>, IdError> {
    let value_of = |xattr: &Xattr<'_>| match xattr.name {
        b"system.posix_acl_access" | b"system.posix_acl_default" => map_acl(xattr.value, uids, gids),
        b"security.capability" => map_capability(xattr.value, uids),
        _ => Ok(xattr.value.to_vec()),
    };
    xattrs.iter().map(|xattr| Ok((xattr.name.to_vec(), value_of(xattr)?))).collect()
}

/// Maps the users and groups of an ACL (`struct posix_acl_xattr_entry`, `include/uapi/linux/posix_acl_xattr.h`). Bytes
/// that are no ACL stay as they are.
fn map_acl(value: &[u8], uids: IdMap<'_>, gids: IdMap<'_>) -> Result<Vec<u8>, IdError> {
    const VERSION: [u8; 4] = 2u32.to_le_bytes();
    const ACL_USER: u16 = 0x02;
    const ACL_GROUP: u16 = 0x08;
    let mut new = value.to_vec();
    let Some((_, entries)) = new.split_at_mut_checked(4).filter(|(head, rest)| *head == VERSION && rest.len() % 8 == 0)
    else {
        return Ok(value.to_vec());
    };
    for entry in entries.chunks_exact_mut(8) {
        let (head, id) = entry.split_at_mut(4);
        let map = match u16::from_le_bytes([head[0], head[1]]) {
            ACL_USER => uids,
            ACL_GROUP => gids,
            _ => continue,
        };
        let old = u32::from_le_bytes([id[0], id[1], id[2], id[3]]);
        id.copy_from_slice(&map.map(old)?.to_le_bytes());
    }
    Ok(new)
}

/// Maps the root user of the user namespace in which the capabilities of a file count (`struct vfs_ns_cap_data`,
/// `include/uapi/linux/capability.h`). Revision 2 has none and counts for user 0; a file of a user namespace needs
/// revision 3. Bytes that are neither stay as they are.
fn map_capability(value: &[u8], uids: IdMap<'_>) -> Result<Vec<u8>, IdError> {
    const LEN: usize = 20;
    let root = match (value.first_chunk::<4>(), value.get(LEN..)) {
        (Some([.., 2]), Some([])) => 0,
        (Some([.., 3]), Some(&[a, b, c, d])) => u32::from_le_bytes([a, b, c, d]),
        _ => return Ok(value.to_vec()),
    };
    let mapped = uids.map(root)?;
    let mut new = value[..LEN].to_vec();
    new[3] = if mapped == 0 { 2 } else { 3 };
    if mapped != 0 {
        new.extend_from_slice(&mapped.to_le_bytes());
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGES: [IdRange; 2] =
        [IdRange { from: 0, to: 100_000, count: 1000 }, IdRange { from: 5000, to: 5000, count: 1 }];

    #[test]
    fn ids_are_mapped_by_ranges_and_others_are_refused() {
        let map = IdMap::Ranges(&RANGES);
        assert_eq!([map.map(0), map.map(999), map.map(5000)], [Ok(100_000), Ok(100_999), Ok(5000)]);
        assert_eq!(map.map(1000), Err(IdError::NotMapped(1000)));
        assert_eq!(IdMap::Shift(-5).map(5), Ok(0));
        assert_eq!(IdMap::Shift(-5).map(4), Err(IdError::Shifted { id: 4, by: -5 }));
        assert_eq!(IdMap::Shift(1).map(u32::MAX - 2), Ok(u32::MAX - 1));
        assert!(IdMap::Shift(1).map(u32::MAX - 1).is_err() && IdMap::Shift(i64::MAX).map(1).is_err());
    }

    #[test]
    fn ranges_are_checked() {
        assert_eq!(check_ranges(&RANGES), Ok(()));
        let overlapping = [IdRange { from: 0, to: 0, count: 10 }, IdRange { from: 9, to: 20, count: 1 }];
        assert_eq!(check_ranges(&overlapping), Err(IdError::Overlap(9)));
        let same_target = [IdRange { from: 0, to: 7, count: 1 }, IdRange { from: 1, to: 7, count: 1 }];
        assert_eq!(check_ranges(&same_target), Err(IdError::Overlap(7)));
        for wrong in [IdRange { from: 0, to: 0, count: 0 }, IdRange { from: 1, to: 0, count: u32::MAX }] {
            assert_eq!(check_ranges(&[wrong]), Err(IdError::Range(wrong)));
        }
        assert_eq!(check_ranges(&[IdRange { from: 0, to: 0, count: u32::MAX }]), Ok(()));
    }

    #[test]
    fn acls_have_their_users_and_groups_mapped() {
        let entry = |tag: u16, id: u32| [&tag.to_le_bytes()[..], &[6, 0], &id.to_le_bytes()].concat();
        let acl = |user: u32, group: u32| {
            let entries = [entry(1, INVALID), entry(2, user), entry(4, INVALID), entry(8, group), entry(0x10, INVALID)];
            [&2u32.to_le_bytes()[..], &entries.concat()].concat()
        };
        let (old, shift) = (acl(7, 8), IdMap::Shift(1000));
        let xattrs = [Xattr { name: b"system.posix_acl_access", value: &old }];
        assert_eq!(map_xattrs(&xattrs, shift, shift).unwrap()[0].1, acl(1007, 1008));
        assert_eq!(map_xattrs(&xattrs, shift, IdMap::Same).unwrap()[0].1, acl(1007, 8));
        assert_eq!(map_acl(b"odd", shift, shift).unwrap(), b"odd");
    }

    #[test]
    fn capabilities_count_in_the_namespace_of_the_mapped_root() {
        let two = [&[1, 0, 0, 2][..], &[9; 16]].concat();
        let three = map_capability(&two, IdMap::Shift(1000)).unwrap();
        assert_eq!(three, [&[1, 0, 0, 3][..], &[9; 16], &1000u32.to_le_bytes()].concat());
        assert_eq!(map_capability(&three, IdMap::Shift(-1000)).unwrap(), two);
        assert_eq!(map_capability(&two, IdMap::Same).unwrap(), two);
        assert_eq!(map_capability(&two[..19], IdMap::Shift(1)).unwrap(), two[..19]);
    }
}
