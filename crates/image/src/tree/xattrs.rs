//! Sets of extended attributes, each distinct set kept once.
//!
//! In a real tree nearly all inodes share a handful of sets, so an inode carries a [`SetId`] of four bytes.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::arena::Interner;

/// Longest name of an attribute, in bytes.
pub const MAX_XATTR_NAME: usize = 255;
/// Longest value of an attribute, in bytes.
pub const MAX_XATTR_VALUE: usize = 65535;
/// The limit for the attributes of one inode together, counted as `12 + sum(7 + name + value)`.
pub const MAX_XATTRS_TOTAL: usize = 32767;
/// The base of that count, for an inode with any attributes.
pub const XATTRS_BASE: usize = 12;

/// ... and what each one is, with a name and a value of these lengths.
#[must_use]
pub const fn xattr_cost(name: usize, value: usize) -> usize {
    7 + name + value
}

/// Names a set of attributes within its [`XattrTable`]. The default is the empty set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct SetId(pub(crate) u32);

/// Names a distinct (name, value) pair within its [`XattrTable`].
pub(crate) type PairId = u32;

/// An extended attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr<'a> {
    /// The full name, `user.mime_type` for one. Holds no NUL.
    pub name: &'a [u8],
    /// The value: any bytes.
    pub value: &'a [u8],
}

/// Reasons why a set of attributes is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum XattrError {
    /// The name is empty, too long or holds a NUL byte.
    #[error("xattr name of {len} bytes: 1 to {MAX_XATTR_NAME} are allowed, none of them NUL")]
    Name {
        /// The length of the name.
        len: usize,
    },
    /// The value is too long.
    #[error("value of xattr {name:?} has {len} bytes: at most {MAX_XATTR_VALUE} are allowed")]
    Value {
        /// The name of the attribute.
        name: String,
        /// The length of its value.
        len: usize,
    },
    /// All together are too long.
    #[error("the xattrs take {total} bytes together: at most {MAX_XATTRS_TOTAL} are allowed")]
    Total {
        /// The size of the set.
        total: usize,
    },
}

/// All attributes of a tree.
#[derive(Clone, Debug, Default)]
pub(crate) struct XattrTable {
    /// `name NUL value`: as names hold no NUL, the byte order of pairs is the order by name, then value.
    pairs: Interner,
    /// Pair ids of all sets, end to end; set 0 is the empty one.
    members: Vec<PairId>,
    /// The end of each set but the empty one in `members`.
    ends: Vec<u32>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The pair being interned.
    pair: Vec<u8>,
}

impl XattrTable {
    /// Keeps a set, or says which limit it breaks. Of a repeated name the last value counts.
    pub(crate) fn intern(&mut self, xattrs: &[Xattr<'_>]) -> Result<SetId, XattrError> {
        if xattrs.is_empty() {
            return Ok(SetId(0));
        }
        for x in xattrs {
            check_lengths(x)?;
        }
        let distinct = last_of_each_name(xattrs);
        let total = XATTRS_BASE + distinct.iter().map(|x| xattr_cost(x.name.len(), x.value.len())).sum::<usize>();
        if total > MAX_XATTRS_TOTAL {
            return Err(XattrError::Total { total });
        }
        Ok(self.intern_unchecked(&distinct))
    }

    /// Keeps a set that the image writer made: its names are distinct, its limits the writer's own.
    pub(crate) fn intern_unchecked(&mut self, xattrs: &[Xattr<'_>]) -> SetId {
        let mut set: Vec<PairId> = xattrs.iter().map(|x| self.intern_pair(&[x.name], x.value)).collect();
        self.intern_pairs(&mut set)
    }

    /// Keeps one attribute, whose name may come in parts.
    pub(crate) fn intern_pair(&mut self, name: &[&[u8]], value: &[u8]) -> PairId {
        let pair = &mut self.pair;
        pair.clear();
        name.iter().for_each(|part| pair.extend_from_slice(part));
        pair.push(0);
        pair.extend_from_slice(value);
        self.pairs.intern(pair)
    }

    /// Returns `true` if another set of `attributes` attributes can be numbered. Only an input of many gigabytes
    /// exhausts the numbers.
    pub(crate) fn has_room_for(&self, attributes: usize) -> bool {
        [self.pairs.len(), self.members.len()].into_iter().all(|len| u32::try_from(len + attributes).is_ok())
    }

    /// Keeps a set of attributes with distinct names.
    pub(crate) fn intern_pairs(&mut self, set: &mut [PairId]) -> SetId {
        if set.is_empty() {
            return SetId(0);
        }
        set.sort_unstable();
        let Self { members, ends, table, hasher, .. } = self;
        let text = |id: &u32| members_of(members, ends, *id);
        let hash = hasher.hash_one(&*set);
        if let Some(&id) = table.find(hash, |id| text(id) == set) {
            return SetId(id);
        }
        let id = u32::try_from(ends.len() + 1).expect("fewer sets than inodes");
        table.insert_unique(hash, id, |id| hasher.hash_one(text(id)));
        members.extend_from_slice(set);
        ends.push(u32::try_from(members.len()).expect("fewer than 4 billion attributes"));
        SetId(id)
    }

    /// The pairs of a set; sorted by name once [`sort`](Self::sort) has run.
    pub(crate) fn pairs_of(&self, set: SetId) -> &[PairId] {
        members_of(&self.members, &self.ends, set.0)
    }

    /// Returns the attribute with this number.
    pub(crate) fn pair(&self, id: PairId) -> Xattr<'_> {
        let pair = self.pairs.get(id);
        let nul = pair.iter().position(|b| *b == 0).expect("a pair holds its separator");
        Xattr { name: &pair[..nul], value: &pair[nul + 1..] }
    }

    /// The attributes of a set; in name order once [`sort`](Self::sort) has run.
    pub(crate) fn iter(&self, set: SetId) -> impl ExactSizeIterator<Item = Xattr<'_>> {
        self.pairs_of(set).iter().map(|&id| self.pair(id))
    }

    /// The number of sets, the empty one included.
    pub(crate) fn set_count(&self) -> usize {
        self.ends.len() + 1
    }

    /// The number of distinct pairs.
    pub(crate) fn pair_count(&self) -> usize {
        self.pairs.len()
    }

    /// Puts pairs, and so the members of each set, in order of name and value, and forgets the look-up tables.
    pub(crate) fn sort(&mut self) {
        let ranks = self.pairs.sort();
        let mut start = 0;
        for &end in &self.ends {
            let set = &mut self.members[start..end as usize];
            set.iter_mut().for_each(|id| *id = ranks[*id as usize]);
            set.sort_unstable();
            start = end as usize;
        }
        self.table = HashTable::new();
    }
}

fn check_lengths(x: &Xattr<'_>) -> Result<(), XattrError> {
    if x.name.is_empty() || x.name.len() > MAX_XATTR_NAME || x.name.contains(&0) {
        return Err(XattrError::Name { len: x.name.len() });
    }
    if x.value.len() > MAX_XATTR_VALUE {
        let name = String::from_utf8_lossy(x.name).into_owned();
        return Err(XattrError::Value { name, len: x.value.len() });
    }
    Ok(())
}

/// Sorted by name, each name once, with the value it was given last.
fn last_of_each_name<'a>(xattrs: &[Xattr<'a>]) -> Vec<Xattr<'a>> {
    let mut sorted = xattrs.to_vec();
    sorted.sort_by(|a, b| a.name.cmp(b.name));
    let mut distinct: Vec<Xattr<'a>> = Vec::with_capacity(sorted.len());
    for x in sorted {
        match distinct.last_mut() {
            Some(last) if last.name == x.name => *last = x,
            _ => distinct.push(x),
        }
    }
    distinct
}

fn members_of<'a>(members: &'a [PairId], ends: &[u32], set: u32) -> &'a [PairId] {
    match set {
        0 => &[],
        1 => &members[..ends[0] as usize],
        id => &members[ends[id as usize - 2] as usize..ends[id as usize - 1] as usize],
    }
}
