//! The names of several directories that are merged, in order.

use super::OverlayLayer;
use crate::tree::{Entry, InodeId};

/// An inode of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlaceInLayer {
    pub(super) layer: usize,
    pub(super) inode: InodeId,
}

/// A name, and every place that has it: the directory and the entry, those of upper layers first.
#[derive(Debug)]
pub(super) struct MergedName<'t> {
    pub(super) name: &'t [u8],
    pub(super) places: Vec<(PlaceInLayer, PlaceInLayer)>,
}

/// Lists the names of directories, the uppermost of which comes first.
pub(super) fn merged<'t>(
    layers: &[OverlayLayer<'t>],
    directories: &[PlaceInLayer],
    is_root: bool,
    names: &mut Vec<MergedName<'t>>,
) {
    let is_merged = |layer: &OverlayLayer<'_>, entry: &Entry<'_>| {
        let parts = layer.hierarchies;
        !is_root || parts.is_empty() || parts.iter().any(|part| part.as_bytes() == entry.name)
    };
    let entries = |directory: PlaceInLayer| {
        let layer = layers[directory.layer];
        let tree: &'t crate::tree::Tree = layer.tree;
        tree.children(directory.inode).filter(move |entry| is_merged(&layer, entry))
    };
    let mut heads: Vec<_> = directories.iter().map(|&directory| (directory, entries(directory).peekable())).collect();
    loop {
        let least = heads.iter_mut().filter_map(|(_, entries)| entries.peek().map(|entry| entry.name)).min();
        let Some(name) = least else { return };
        let take = |(directory, entries): &mut (PlaceInLayer, std::iter::Peekable<_>)| {
            let entry: Entry<'t> = entries.next_if(|entry: &Entry<'t>| entry.name == name)?;
            Some((*directory, PlaceInLayer { layer: directory.layer, inode: entry.inode }))
        };
        let places = heads.iter_mut().filter_map(take).collect();
        names.push(MergedName { name, places });
    }
}
