//! Attributes that several inodes have in common: written once, referred to by offset.

use super::node::NodeIndex;
use super::overlay::Overlay;
use super::xattr::Attr;

/// An attribute is first counted, from here up to [`OFTEN`] ...
const UNSEEN: u32 = 0;
const OFTEN: u32 = 2;
/// ... then those met often get an offset, kept above the counts.
const FIRST_OFFSET: u32 = 4;

/// A state or offset for every attribute there can be.
#[derive(Debug)]
pub(super) struct SharedXattrs {
    pairs: Vec<u32>,
    /// For no digest, then for each digest.
    metacopies: Vec<u32>,
    objects: Vec<u32>,
    paths: Vec<u32>,
    /// The shared attributes in the order of their area.
    pub(super) area: Vec<Attr>,
    /// The area's length in bytes.
    pub(super) area_len: u64,
}

impl SharedXattrs {
    /// Counts the attributes of all inodes; those met more than once are shared.
    pub(super) fn find(overlay: &Overlay<'_>, nodes: impl Iterator<Item = NodeIndex>) -> Self {
        let tree = overlay.tree;
        let mut shared = Self {
            pairs: vec![UNSEEN; overlay.xattrs.pair_count()],
            metacopies: vec![UNSEEN; tree.digest_count() + 1],
            objects: vec![UNSEEN; tree.digest_count()],
            paths: vec![UNSEEN; tree.payload_count()],
            area: Vec::new(),
            area_len: 0,
        };
        let mut attrs = Vec::new();
        for node in nodes {
            Attr::list(overlay, node, &mut attrs);
            for attr in &attrs {
                let state = shared.state(attr);
                *state = (*state + 1).min(OFTEN);
            }
        }
        shared.lay_out(overlay);
        shared
    }

    fn lay_out(&mut self, overlay: &Overlay<'_>) {
        let often = |states: &[u32], attr: fn(u32) -> Attr| {
            states.iter().enumerate().filter(|(_, s)| **s == OFTEN).map(|(i, _)| attr(i as u32)).collect::<Vec<_>>()
        };
        self.area = [
            often(&self.pairs, Attr::Pair),
            often(&self.metacopies, |i| Attr::Metacopy(i.checked_sub(1))),
            often(&self.objects, Attr::RedirectObject),
            often(&self.paths, Attr::RedirectPath),
        ]
        .concat();
        self.area.sort_unstable_by(|a, b| a.cmp_shared(b, overlay));
        let area = std::mem::take(&mut self.area);
        for attr in &area {
            *self.state(attr) = FIRST_OFFSET + self.area_len as u32;
            self.area_len += attr.entry_len(overlay);
        }
        self.area = area;
    }

    fn state(&mut self, attr: &Attr) -> &mut u32 {
        match *attr {
            Attr::Pair(pair) => &mut self.pairs[pair as usize],
            Attr::Metacopy(digest) => &mut self.metacopies[digest.map_or(0, |d| d as usize + 1)],
            Attr::RedirectObject(digest) => &mut self.objects[digest as usize],
            Attr::RedirectPath(path) => &mut self.paths[path as usize],
        }
    }

    /// The offset of an attribute in the shared area, if it is there.
    pub(super) fn offset(&self, attr: &Attr) -> Option<u32> {
        let state = match *attr {
            Attr::Pair(pair) => self.pairs[pair as usize],
            Attr::Metacopy(digest) => self.metacopies[digest.map_or(0, |d| d as usize + 1)],
            Attr::RedirectObject(digest) => self.objects[digest as usize],
            Attr::RedirectPath(path) => self.paths[path as usize],
        };
        state.checked_sub(FIRST_OFFSET)
    }
}
