//! The image's `/var`, copied to the disk.

use std::collections::HashMap;

use libcomposefs_image::display::shown;
use libcomposefs_image::tree::{Data, InodeId, Kind, MODE_TYPE, Tree};
use libcomposefs_repo::Repository;

use crate::error::DiskError;
use crate::ext4::{BLOCK, Directory, EntryType, Ext4Writer};
use crate::source::{at, attributes, open_object};

/// Returns the inodes below a directory, each once, with the directory itself.
fn below(tree: &Tree, top: InodeId) -> Vec<InodeId> {
    let (mut found, mut seen, mut todo) = (Vec::new(), vec![false; tree.inode_count()], vec![top]);
    while let Some(id) = todo.pop() {
        if !std::mem::replace(&mut seen[id.index()], true) {
            found.push(id);
            todo.extend(tree.children(id).map(|entry| entry.inode));
        }
    }
    found
}

/// Returns the number of inodes, and of blocks, that the copy needs at most.
pub(crate) fn needs(tree: &Tree, var: InodeId) -> (u64, u64) {
    let inodes = below(tree, var);
    let blocks = inodes.iter().map(|id| {
        let inode = tree.inode(*id);
        let content = match inode.data() {
            // An entry takes at most 264 bytes, so that 15 fit in a block.
            Data::Directory => tree.children(*id).len() as u64 / 15 + 1,
            Data::Symlink(_) => 1,
            Data::Regular { .. } => inode.size().div_ceil(BLOCK) + 1,
            Data::Special => 0,
        };
        content + u64::from(inode.xattrs().len() > 0)
    });
    (inodes.len() as u64, blocks.sum())
}

/// A directory whose entries are copied.
struct Level<'t, I> {
    id: InodeId,
    name: &'t [u8],
    directory: Directory,
    rest: I,
}

/// The `/var` of an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateSource<'p> {
    pub(crate) repository: &'p Repository,
    pub(crate) tree: &'p Tree,
    pub(crate) var: InodeId,
}

impl StateSource<'_> {
    /// Copies it to the directory `var`.
    pub(crate) fn copy(self, fs: &mut Ext4Writer<'_>, directory: &mut Directory) -> Result<(), DiskError> {
        let plan = self;
        let tree = plan.tree;
        let mut links: HashMap<InodeId, u16> = HashMap::new();
        for id in below(tree, plan.var) {
            for entry in tree.children(id) {
                let count = links.entry(entry.inode).or_default();
                *count = count.saturating_add(1);
            }
        }
        let mut copied: HashMap<InodeId, u32> = HashMap::new();
        let top = fs.begin_directory(directory, b"var")?;
        let mut levels = vec![Level { id: plan.var, name: b"var", directory: top, rest: tree.children(plan.var) }];
        while let Some(level) = levels.last_mut() {
            let Some(entry) = level.rest.next() else {
                let path = path_of(&levels);
                if let Some(full) = levels.pop() {
                    fs.end_directory(full.directory, &attributes(&tree.inode(full.id))).map_err(at(path))?;
                }
                continue;
            };
            let inode = tree.inode(entry.inode);
            if inode.kind() == Kind::Directory {
                let directory = fs.begin_directory(&mut level.directory, entry.name)?;
                let rest = tree.children(entry.inode);
                levels.push(Level { id: entry.inode, name: entry.name, directory, rest });
                continue;
            }
            let number = match copied.get(&entry.inode) {
                Some(number) => *number,
                None => {
                    let count = links.get(&entry.inode).copied().unwrap_or(1);
                    let path = || format!("{}/{}", path_of(&levels), shown(entry.name));
                    let number = copy_leaf(plan, fs, entry.inode, count).map_err(|error| at(path())(error))?;
                    copied.insert(entry.inode, number);
                    number
                }
            };
            if let Some(level) = levels.last_mut() {
                fs.link(&mut level.directory, entry.name, number, entry_type(inode.kind()));
            }
        }
        Ok(())
    }
}

fn path_of<I>(levels: &[Level<'_, I>]) -> String {
    levels.iter().map(|level| format!("/{}", shown(level.name))).collect()
}

fn entry_type(kind: Kind) -> EntryType {
    match kind {
        Kind::Regular => EntryType::Regular,
        Kind::Directory => EntryType::Directory,
        Kind::Symlink => EntryType::Symlink,
        Kind::CharDevice => EntryType::CharDevice,
        Kind::BlockDevice => EntryType::BlockDevice,
        Kind::Fifo => EntryType::Fifo,
        Kind::Socket => EntryType::Socket,
    }
}

/// Copies anything but a directory, and returns its inode. Nothing of the state has fs-verity: it changes.
fn copy_leaf(plan: StateSource<'_>, fs: &mut Ext4Writer<'_>, id: InodeId, links: u16) -> Result<u32, DiskError> {
    let inode = plan.tree.inode(id);
    let attributes = attributes(&inode);
    match inode.data() {
        Data::Symlink(target) => fs.symlink(target, &attributes, links),
        Data::Special | Data::Directory => {
            fs.special((inode.mode() & u32::from(MODE_TYPE)) as u16, inode.rdev(), &attributes, links)
        }
        Data::Regular { content, payload, digest } => {
            let mut file = fs.begin_file(inode.size(), None)?;
            match (content, digest) {
                (Some(content), _) => fs.write_piece(&mut file, content)?,
                (None, Some(digest)) if payload.is_some() => {
                    let object = open_object(plan.repository, &digest)?;
                    object.expect_size(inode.size())?;
                    object.copy_verified(&digest, |piece| fs.write_piece(&mut file, piece))?;
                }
                _ if inode.size() == 0 => {}
                _ => {
                    let reason = "the image has neither its content nor a digest".into();
                    return Err(DiskError::State { path: String::new(), reason });
                }
            }
            Ok(fs.end_file(file, &attributes, links)?.0)
        }
    }
}
