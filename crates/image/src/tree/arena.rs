//! Byte strings packed end to end, and tables that keep equal ones once.
//!
//! A tree of five million entries has as many names and digests; a `Vec` for each would cost more than what it
//! holds. Here a string costs its bytes and an eight-byte [`ByteSpan`].

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// The position of a string in its [`ByteArena`]: 44 bits of offset, 20 bits of length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ByteSpan(u64);

const LEN_BITS: u32 = 20;

impl ByteSpan {
    fn new(start: usize, len: usize) -> Self {
        assert!(len < 1 << LEN_BITS && (start as u64) < 1 << (64 - LEN_BITS), "longer than any field of the format");
        Self((start as u64) << LEN_BITS | len as u64)
    }

    fn start(self) -> usize {
        (self.0 >> LEN_BITS) as usize
    }

    pub(crate) fn len(self) -> usize {
        (self.0 & ((1 << LEN_BITS) - 1)) as usize
    }
}

/// An arena of byte strings.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByteArena(Vec<u8>);

impl ByteArena {
    pub(crate) fn push(&mut self, string: &[u8]) -> ByteSpan {
        let span = ByteSpan::new(self.0.len(), string.len());
        self.0.extend_from_slice(string);
        span
    }

    pub(crate) fn get(&self, span: ByteSpan) -> &[u8] {
        &self.0[span.start()..span.start() + span.len()]
    }
}

/// Distinct byte strings, numbered in the order they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interner {
    bytes: ByteArena,
    spans: Vec<ByteSpan>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Interner {
    pub(crate) fn intern(&mut self, string: &[u8]) -> u32 {
        let Self { bytes, spans, table, hasher } = self;
        let text = |id: &u32| bytes.get(spans[*id as usize]);
        let hash = hasher.hash_one(string);
        if let Some(&id) = table.find(hash, |id| text(id) == string) {
            return id;
        }
        let id = u32::try_from(spans.len()).expect("fewer strings than inodes");
        table.insert_unique(hash, id, |id| hasher.hash_one(text(id)));
        spans.push(bytes.push(string));
        id
    }

    pub(crate) fn get(&self, id: u32) -> &[u8] {
        self.bytes.get(self.spans[id as usize])
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Forgets the look-up table; what was interned can still be read.
    pub(crate) fn freeze(&mut self) {
        self.table = HashTable::new();
    }

    /// Renumbers the strings in byte order. Returns the new number of each old one.
    pub(crate) fn sort(&mut self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.spans.len() as u32).collect();
        order.sort_unstable_by(|a, b| self.get(*a).cmp(self.get(*b)));
        let mut ranks = vec![0; order.len()];
        for (rank, &old) in order.iter().enumerate() {
            ranks[old as usize] = rank as u32;
        }
        self.spans = order.iter().map(|&old| self.spans[old as usize]).collect();
        self.table = HashTable::new();
        ranks
    }
}

/// Distinct strings of one fixed length (digests), numbered in the order they came.
#[derive(Clone, Debug)]
pub(crate) struct FixedInterner {
    stride: usize,
    data: Vec<u8>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl FixedInterner {
    pub(crate) fn new(stride: usize) -> Self {
        Self { stride, data: Vec::new(), table: HashTable::new(), hasher: DefaultHashBuilder::default() }
    }

    pub(crate) fn intern(&mut self, string: &[u8]) -> u32 {
        assert_eq!(string.len(), self.stride);
        let Self { stride, data, table, hasher } = self;
        let text = |id: &u32| &data[*id as usize * *stride..][..*stride];
        let hash = hasher.hash_one(string);
        if let Some(&id) = table.find(hash, |id| text(id) == string) {
            return id;
        }
        let id = u32::try_from(data.len() / *stride).expect("fewer digests than inodes");
        table.insert_unique(hash, id, |id| hasher.hash_one(text(id)));
        data.extend_from_slice(string);
        id
    }

    pub(crate) fn get(&self, id: u32) -> &[u8] {
        &self.data[id as usize * self.stride..][..self.stride]
    }

    pub(crate) fn len(&self) -> usize {
        self.data.len() / self.stride
    }

    /// Forgets the look-up table.
    pub(crate) fn freeze(&mut self) {
        self.table = HashTable::new();
    }
}
