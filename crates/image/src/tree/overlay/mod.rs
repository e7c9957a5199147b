//! Overlays trees as the kernel's overlayfs shows the mounts of their images as lower layers of one overlay.
//!
//! [`overlay`] merges sorted directories side by side and looks up no name, so it takes time in proportion to the
//! entries. The rules are those of `fs/overlayfs/namei.c` (`ovl_lookup`) and `readdir.c`, without the options
//! `userxattr` and `redirect_dir`:
//!
//! * A directory on directories has the metadata of the uppermost one, and the entries of all of them.
//! * Anything else hides what lower layers have at its path. So does a directory whose `trusted.overlay.opaque` is `y`.
//!   Of the roots of the layers, that attribute has no meaning.
//! * A whiteout hides a name: a character device with device number 0, and an empty file with the attribute
//!   `trusted.overlay.whiteout` in a directory whose `trusted.overlay.opaque` is `x`.
//! * Attributes that begin with `trusted.overlay.` are overlayfs's own and are not shown;
//!   `trusted.overlay.overlay.X` is shown as `trusted.overlay.X`.
//! * Several names of an inode within one layer are one inode.

mod attributes;
mod directory;

use super::{InodeId, Kind, NewInode, OrderedBuilder, StoredData, StoredInode, StoredPayload};
use super::{Tree, TreeError};
use attributes::LayerSets;
use directory::{MergedName, PlaceInLayer};

/// A tree as a layer of an overlay.
#[derive(Clone, Copy, Debug)]
pub struct OverlayLayer<'t> {
    /// Tree of the layer.
    pub tree: &'t Tree,
    /// Directories of the root that are merged, for a layer that has no part in the rest: a system extension has `usr`
    /// and `opt`. The metadata of these directories, and of the root, is that of other layers. Empty for a layer that
    /// is merged as a whole.
    pub hierarchies: &'t [&'t str],
}

/// Reasons why trees cannot be overlaid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OverlayError {
    /// There are no layers, or only layers that are merged in part.
    #[error("no layer has a root directory to begin with")]
    NoBase,
    /// A layer has a file whose meaning depends on other layers in a way that is not supported.
    #[error(
        "{} of layer {layer} has the attribute {attribute}, which refers to other layers; overlay the directories with \
         the kernel, and make an image of the result",
        crate::display::shown(path)
    )]
    Redirected {
        /// Number of the layer, from 0.
        layer: usize,
        /// Path in the layer.
        path: Vec<u8>,
        /// Name of the attribute.
        attribute: &'static str,
    },
    /// A hierarchy of an extension, or what it is merged with, is not a directory.
    #[error("/{name} of layer {layer} is not a directory, so an extension cannot be merged with it")]
    NotAHierarchy {
        /// Number of the layer, from 0.
        layer: usize,
        /// Name of the hierarchy.
        name: String,
    },
    /// The result breaks a limit of a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Overlays layers, the lowest first. The link count of each file is the number of its names.
///
/// ```
/// use libcomposefs_image::Algorithm;
/// use libcomposefs_image::tree::{InodeId, NewInode, OverlayLayer, Tree, TreeBuilder, TreeError, overlay};
///
/// fn tree(names: &[(&str, u32)]) -> Result<Tree, TreeError> {
///     let root = NewInode { mode: 0o40755, ..NewInode::default() };
///     let mut builder = TreeBuilder::new(Algorithm::Sha256, &root)?;
///     for (name, mode) in names {
///         builder.add(InodeId::ROOT, name.as_bytes(), &NewInode { mode: *mode, ..NewInode::default() })?;
///     }
///     Ok(builder.finish())
/// }
///
/// let lower = tree(&[("kept", 0o100644), ("gone", 0o100644)])?;
/// let upper = tree(&[("gone", 0o020000), ("new", 0o100644)])?;
/// let layers = [&lower, &upper].map(|tree| OverlayLayer { tree, hierarchies: &[] });
/// let overlaid = overlay(&layers).unwrap();
/// let names: Vec<_> = overlaid.children(InodeId::ROOT).map(|entry| entry.name).collect();
/// assert_eq!(names, [&b"kept"[..], b"new"]);
/// # Ok::<(), TreeError>(())
/// ```
///
/// # Errors
///
/// [`OverlayError`]
pub fn overlay(layers: &[OverlayLayer<'_>]) -> Result<Tree, OverlayError> {
    let whole = || layers.iter().enumerate().filter(|(_, layer)| layer.hierarchies.is_empty());
    let (top, _) = whole().next_back().ok_or(OverlayError::NoBase)?;
    // Digests decide which algorithm a tree has; without any, it has that of the others.
    let algorithm = layers.iter().find(|layer| layer.tree.has_digests()).or(layers.first());
    let algorithm = algorithm.map(|layer| layer.tree.algorithm()).unwrap_or_default();
    let mut overlaying = Overlaying {
        layers,
        builder: OrderedBuilder::new(algorithm),
        sets: layers.iter().map(|layer| LayerSets::of(layer.tree)).collect(),
        ids: layers.iter().map(|layer| vec![None; layer.tree.inode_count()]).collect(),
        sources: Vec::new(),
        directories: Vec::new(),
    };
    let root = overlaying.push(PlaceInLayer { layer: top, inode: InodeId::ROOT })?;
    overlaying.sources.extend((0..layers.len()).rev().map(|layer| PlaceInLayer { layer, inode: InodeId::ROOT }));
    overlaying.directories.push(MergedDirectory { inode: root, sources: 0..layers.len() });
    overlaying.run()
}

/// A directory of the result, whose entries follow.
#[derive(Debug)]
struct MergedDirectory {
    inode: InodeId,
    /// The range in [`Overlaying::sources`] of the directories that are merged, the uppermost first.
    sources: std::ops::Range<usize>,
}

struct Overlaying<'a> {
    layers: &'a [OverlayLayer<'a>],
    builder: OrderedBuilder,
    sets: Vec<LayerSets>,
    /// The inode of the result for each inode of each layer that has one.
    ids: Vec<Vec<Option<InodeId>>>,
    sources: Vec<PlaceInLayer>,
    directories: Vec<MergedDirectory>,
}

impl<'a> Overlaying<'a> {
    fn run(mut self) -> Result<Tree, OverlayError> {
        let (mut next, mut names) = (0, Vec::new());
        while let Some(MergedDirectory { inode, sources }) = self.directories.get(next) {
            let (is_root, sources) = (next == 0, sources.clone());
            self.builder.open_directory(*inode);
            next += 1;
            if let [only] = self.sources[sources.clone()] {
                // Most directories are those of one layer.
                for entry in self.layers[only.layer].tree.children(only.inode) {
                    let source = PlaceInLayer { layer: only.layer, inode: entry.inode };
                    if is_root || !self.is_hidden(only, &source) {
                        self.put(entry.name, &[source], is_root)?;
                    }
                }
                continue;
            }
            directory::merged(self.layers, &self.sources[sources], is_root, &mut names);
            for MergedName { name, places } in names.drain(..) {
                self.put_visible(name, &places, is_root)?;
            }
        }
        let mut tree = self.builder.finish();
        tree.count_links();
        Ok(tree)
    }

    /// Returns whether overlayfs does not show an entry of a directory: it is a whiteout.
    fn is_hidden(&self, directory: PlaceInLayer, entry: &PlaceInLayer) -> bool {
        let tree = self.layers[entry.layer].tree;
        let stored = tree.stored(entry.inode);
        match stored.kind() {
            Kind::CharDevice => stored.is_whiteout(),
            // `ovl_path_check_xwhiteout_xattr`: the attribute counts on empty files only, and only where the
            // directory says that it has such files.
            Kind::Regular if stored.size == 0 => {
                let sets = &self.sets[entry.layer];
                let above = self.layers[directory.layer].tree.stored(directory.inode);
                sets.is_whiteout(tree, stored.xattrs) && sets.has_whiteouts(tree, above.xattrs)
            }
            _ => false,
        }
    }

    /// Puts the entry that overlayfs shows for a name which several layers may have, each with its directory there.
    fn put_visible(
        &mut self,
        name: &[u8],
        places: &[(PlaceInLayer, PlaceInLayer)],
        is_root: bool,
    ) -> Result<(), OverlayError> {
        let mut shown: Vec<PlaceInLayer> = Vec::new();
        for &(directory, entry) in places {
            let layer = &self.layers[entry.layer];
            let is_directory = layer.tree.stored(entry.inode).kind() == Kind::Directory;
            let is_hierarchy = is_root && !layer.hierarchies.is_empty();
            if is_root && (is_hierarchy || self.is_extended(&shown)) && !is_directory {
                let name = String::from_utf8_lossy(name).into_owned();
                return Err(OverlayError::NotAHierarchy { layer: entry.layer, name });
            }
            if self.is_hidden(directory, &entry) || !is_directory && !shown.is_empty() {
                break;
            }
            shown.push(entry);
            if !is_directory || !is_hierarchy && self.is_opaque(entry) {
                break;
            }
        }
        if shown.is_empty() { Ok(()) } else { self.put(name, &shown, is_root) }
    }

    /// Returns whether one of the layers is merged in part.
    fn is_extended(&self, shown: &[PlaceInLayer]) -> bool {
        shown.iter().any(|source| !self.layers[source.layer].hierarchies.is_empty())
    }

    fn is_opaque(&self, directory: PlaceInLayer) -> bool {
        let tree = self.layers[directory.layer].tree;
        self.sets[directory.layer].is_opaque(tree, tree.stored(directory.inode).xattrs)
    }

    /// Adds an entry that has these directories, the uppermost first, or this file, to the open directory.
    fn put(&mut self, name: &[u8], shown: &[PlaceInLayer], is_root: bool) -> Result<(), OverlayError> {
        let is_part = |source: &&PlaceInLayer| is_root && !self.layers[source.layer].hierarchies.is_empty();
        let Some(metadata) = shown.iter().find(|source| !is_part(source)).or(shown.first()) else { return Ok(()) };
        let metadata = *metadata;
        if self.layers[metadata.layer].tree.stored(metadata.inode).kind() != Kind::Directory {
            if let Some(known) = self.ids[metadata.layer][metadata.inode.index()] {
                let entry = self.builder.push_pending(name)?;
                self.builder.set_target(entry, known, true);
                return Ok(());
            }
            let inode = self.push(metadata)?;
            self.ids[metadata.layer][metadata.inode.index()] = Some(inode);
            self.builder.push_entry(name, inode)?;
            return Ok(());
        }
        let inode = self.push(metadata)?;
        self.builder.push_entry(name, inode)?;
        let start = self.sources.len();
        self.sources.extend_from_slice(shown);
        self.directories.push(MergedDirectory { inode, sources: start..self.sources.len() });
        Ok(())
    }

    /// Copies an inode of a layer.
    fn push(&mut self, source: PlaceInLayer) -> Result<InodeId, OverlayError> {
        let tree = self.layers[source.layer].tree;
        let stored = tree.stored(source.inode);
        let sets = &mut self.sets[source.layer];
        let set = sets.shown(tree, stored.xattrs, self.builder.xattrs())?.map_err(|attribute| {
            OverlayError::Redirected { layer: source.layer, path: tree.path_of(source.inode), attribute }
        })?;
        let mut new = metadata_of(stored);
        let path;
        match stored.data {
            StoredData::Directory { .. } | StoredData::Special => {}
            StoredData::Symlink(target) => new.payload = Some(tree.span(target)),
            StoredData::Regular { content, payload, digest } => {
                new.content = (content.len() > 0).then(|| tree.span(content));
                let digest = StoredInode::digest_index(digest);
                new.digest = digest.map(|index| tree.digest(index));
                match payload {
                    StoredPayload::Object(index) if Some(index) == digest => new.is_object = true,
                    other => {
                        path = tree.spelled_payload(other);
                        new.payload = path.as_deref();
                    }
                }
            }
        }
        Ok(self.builder.push_inode(&new, set)?)
    }
}

fn metadata_of(stored: &StoredInode) -> NewInode<'static> {
    NewInode {
        mode: u32::from(stored.mode),
        size: stored.size,
        nlink: stored.nlink,
        uid: stored.uid,
        gid: stored.gid,
        rdev: stored.rdev,
        mtime: stored.mtime(),
        ..NewInode::default()
    }
}

#[cfg(test)]
mod tests;
