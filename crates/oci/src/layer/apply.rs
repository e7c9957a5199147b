//! Applying the entries of layers to a tree.

use libcomposefs_image::tree::{LayerInode, LayerMark, Layers, NewInode, Timestamp, Tree, Xattr};
use libcomposefs_image::{Algorithm, Digest};

use super::LayerError;
use super::canonical::{XattrFilter, canonical, canonical_so_far};
use super::path::{names, plain_name};
use crate::shown::shown;
use crate::tar::{EntryKind, TarEntry};

/// Mode of directories that no entry describes.
const MISSING_PARENT_MODE: u32 = 0o040_755;

/// The effect of a whiteout on entries of its own layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhiteoutRule {
    /// A whiteout removes what exists at its position in the archive, also entries of its own layer. cfsctl does so.
    #[default]
    InOrder,
    /// A whiteout removes only entries of lower layers (OCI image specification, `layer.md`).
    LowerLayers,
}

/// The content of a regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileData {
    /// Bytes that the image has itself.
    Inline(Vec<u8>),
    /// An object and its size.
    Object(Digest, u64),
}

/// An entry that other programs may read in another way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerWarning {
    /// A whiteout removed an entry of its own layer.
    RemovedOwnEntry {
        /// The number of the layer, from 0.
        layer: u32,
        /// Path of the whiteout in the archive.
        path: String,
    },
}

/// A tree to which layers are applied.
#[derive(Clone, Debug)]
pub struct ImageTree {
    layers: Layers,
    xattrs: XattrFilter,
    whiteouts: WhiteoutRule,
    layer: u32,
    warnings: Vec<LayerWarning>,
    /// The directory of the last entry, by the bytes of the path before its name. What is put into it replaces none of
    /// the directories above it.
    last: Option<(Vec<u8>, LayerInode)>,
}

impl ImageTree {
    /// Returns an empty tree, before its first layer.
    ///
    /// # Errors
    ///
    /// Never for a valid algorithm.
    pub fn new(algorithm: Algorithm, xattrs: XattrFilter, whiteouts: WhiteoutRule) -> Result<Self, LayerError> {
        let layers = Layers::new(algorithm, &missing_parent())?;
        Ok(Self { layers, xattrs, whiteouts, layer: 0, warnings: Vec::new(), last: None })
    }

    /// Ends a layer.
    pub fn next_layer(&mut self) {
        self.layers.next_layer();
        self.layer += 1;
    }

    /// Returns the warnings so far.
    #[must_use]
    pub fn warnings(&self) -> &[LayerWarning] {
        &self.warnings
    }

    /// Applies an entry. `data` is the content of a regular file, expanded if the file is sparse.
    ///
    /// # Errors
    ///
    /// If the entry breaks a rule. The tree must not be used any more.
    pub fn apply(&mut self, entry: &TarEntry, data: FileData) -> Result<(), LayerError> {
        // Most entries are in the directory of the one before.
        let plain = plain_name(&entry.path);
        if let (Some((above, name)), Some((last, directory))) = (plain, &self.last)
            && above == last
            && LayerMark::of_oci_name(name) == LayerMark::None
        {
            let directory = *directory;
            let link = self.link_of(entry)?;
            return self.put(directory, name, link, entry, &data);
        }
        self.last = None;
        let names = names(&entry.path)?;
        let Some((name, above)) = names.split_last() else {
            return self.apply_root(entry);
        };
        match LayerMark::of_oci_name(name) {
            LayerMark::None => {}
            mark => return self.apply_mark(entry, above, mark),
        }
        let link = self.link_of(entry)?;
        let directory = self.make_parents(above)?;
        self.last = plain.map(|(above, _)| (above.to_vec(), directory));
        self.put(directory, name, link, entry, &data)
    }

    fn put(
        &mut self,
        directory: LayerInode,
        name: &[u8],
        link: Option<LayerInode>,
        entry: &TarEntry,
        data: &FileData,
    ) -> Result<(), LayerError> {
        match link {
            Some(target) => self.layers.link(directory, name, target)?,
            None => {
                let xattrs = self.kept(entry);
                self.layers.put(directory, name, &inode(entry, data, &xattrs)?)?;
            }
        }
        Ok(())
    }

    fn apply_root(&mut self, entry: &TarEntry) -> Result<(), LayerError> {
        if entry.kind != EntryKind::Directory {
            return Err(LayerError::Root);
        }
        let xattrs = self.kept(entry);
        Ok(self.layers.set_root(&inode(entry, &FileData::Inline(Vec::new()), &xattrs)?)?)
    }

    fn kept<'e>(&self, entry: &'e TarEntry) -> Vec<Xattr<'e>> {
        let all = entry.xattrs.iter().map(|(name, value)| Xattr { name, value });
        all.filter(|xattr| self.xattrs.keeps(xattr.name)).collect()
    }

    fn apply_mark(&mut self, entry: &TarEntry, above: &[&[u8]], mark: LayerMark<'_>) -> Result<(), LayerError> {
        let Some(directory) = self.find(above)? else { return Ok(()) };
        if !self.layers.is_directory(directory) {
            return Err(LayerError::Parent(shown(&above.join(&b'/'))));
        }
        let is_own = match (mark, self.whiteouts) {
            (LayerMark::Whiteout(name), WhiteoutRule::LowerLayers) => {
                self.layers.whiteout_lower(directory, name);
                false
            }
            (LayerMark::Whiteout(name), WhiteoutRule::InOrder) => {
                self.layers.whiteout(directory, name) == Some(self.layer)
            }
            (LayerMark::Opaque, WhiteoutRule::LowerLayers) => {
                self.layers.opaque(directory);
                false
            }
            (LayerMark::Opaque, WhiteoutRule::InOrder) => self.layers.clear(directory) == Some(self.layer),
            _ => false,
        };
        if is_own {
            self.warnings.push(LayerWarning::RemovedOwnEntry { layer: self.layer, path: shown(&entry.path) });
        }
        Ok(())
    }

    /// Finds an inode by its path. `None` if the inode, or a directory above it, does not exist.
    fn find(&self, names: &[&[u8]]) -> Result<Option<LayerInode>, LayerError> {
        let mut at = LayerInode::ROOT;
        for (depth, name) in names.iter().enumerate() {
            if !self.layers.is_directory(at) {
                return Err(LayerError::Parent(shown(&names[..depth].join(&b'/'))));
            }
            let Some(next) = self.layers.find(at, name) else { return Ok(None) };
            at = next;
        }
        Ok(Some(at))
    }

    /// Returns the inode that a hard link names; `None` for other entries.
    fn link_of(&self, entry: &TarEntry) -> Result<Option<LayerInode>, LayerError> {
        (entry.kind == EntryKind::HardLink).then(|| self.link_target(&entry.link)).transpose()
    }

    fn link_target(&self, path: &[u8]) -> Result<LayerInode, LayerError> {
        let names = names(path)?;
        let missing = || LayerError::LinkTarget(shown(path));
        let target = match self.find(&names) {
            Err(LayerError::Parent(_)) => return Err(missing()),
            found => found?.ok_or_else(missing)?,
        };
        if self.layers.is_directory(target) {
            return Err(LayerError::LinkToDirectory(shown(path)));
        }
        Ok(target)
    }

    /// Finds the directory of an entry. Missing directories are made.
    fn make_parents(&mut self, names: &[&[u8]]) -> Result<LayerInode, LayerError> {
        let mut at = LayerInode::ROOT;
        for (depth, name) in names.iter().enumerate() {
            at = match self.layers.find(at, name) {
                Some(found) if self.layers.is_directory(found) => found,
                Some(_) => return Err(LayerError::Parent(shown(&names[..=depth].join(&b'/')))),
                None => self.layers.put(at, name, &missing_parent())?,
            };
        }
        Ok(at)
    }

    /// Returns the tree of the image: with the metadata and directories that all programs agree on.
    ///
    /// # Errors
    ///
    /// If the tree cannot become an image: `/usr` is missing, or `/run` is no directory.
    pub fn finish(mut self) -> Result<Tree, LayerError> {
        canonical(&mut self.layers)?;
        self.finish_unchanged()
    }

    /// Returns the tree of the layers so far, as [`finish`](Self::finish) would return it. If `/usr` is missing still,
    /// the root is as the layers describe it.
    ///
    /// # Errors
    ///
    /// If a limit of a tree is exceeded.
    pub fn so_far(&self) -> Result<Tree, LayerError> {
        let mut layers = self.layers.clone();
        canonical_so_far(&mut layers)?;
        Ok(layers.finish()?)
    }

    /// Returns the tree as the layers describe it.
    ///
    /// # Errors
    ///
    /// If a limit of a tree is exceeded.
    pub fn finish_unchanged(self) -> Result<Tree, LayerError> {
        Ok(self.layers.finish()?)
    }
}

fn missing_parent() -> NewInode<'static> {
    NewInode { mode: MISSING_PARENT_MODE, mtime: Timestamp { sec: 0, nsec: 0 }, ..NewInode::default() }
}

fn inode<'e>(entry: &'e TarEntry, data: &'e FileData, xattrs: &'e [Xattr<'e>]) -> Result<NewInode<'e>, LayerError> {
    let kind = match entry.kind {
        EntryKind::Directory => 0o040_000,
        EntryKind::Symlink => 0o120_000,
        EntryKind::CharDevice => 0o020_000,
        EntryKind::BlockDevice => 0o060_000,
        EntryKind::Fifo => 0o010_000,
        EntryKind::File | EntryKind::HardLink => 0o100_000,
    };
    let mut inode = NewInode {
        mode: kind | entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        xattrs,
        ..NewInode::default()
    };
    match entry.kind {
        EntryKind::Symlink => inode.payload = Some(&entry.link),
        EntryKind::CharDevice | EntryKind::BlockDevice => inode.rdev = device_number(entry.device)?,
        EntryKind::File => match data {
            FileData::Inline(content) => {
                inode.size = content.len() as u64;
                inode.content = (!content.is_empty()).then_some(content);
            }
            FileData::Object(digest, size) => {
                (inode.size, inode.digest, inode.is_object) = (*size, Some(*digest), true);
            }
        },
        _ => {}
    }
    Ok(inode)
}

/// Returns the number of a device as `st_rdev` has it (`new_encode_dev` in the kernel's `include/linux/kdev_t.h`).
fn device_number((major, minor): (u32, u32)) -> Result<u32, LayerError> {
    if major >= 1 << 12 || minor >= 1 << 20 {
        return Err(LayerError::Device(major, minor));
    }
    Ok(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}
