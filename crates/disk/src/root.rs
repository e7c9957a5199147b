//! The root file system: the repository with one image, and the state that `composefs-setup-root` expects.

use std::collections::BTreeMap;

use libcomposefs_image::tree::{InodeId, Kind, Tree};
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_repo::{RefName, Repository, StoredSignature, image_link, ref_link};

use crate::error::DiskError;
use crate::ext4::{BLOCK, Directory, EntryType, Ext4Writer, InodeAttributes, InodeTime, verity_blocks};
use crate::source::{at, attributes, open_object};
use crate::state::{self, StateSource};

/// Target of the symlink `state/deploy/HEX/var`.
const SHARED_VAR: &[u8] = b"../../os/default/var";
/// The mode of a repository: it is for its owner.
const PRIVATE: u16 = 0o700;
const PUBLIC: u16 = 0o755;

/// What the root file system gets, known before anything is written.
#[derive(Debug)]
pub(crate) struct RootPlan<'r> {
    pub(crate) repository: &'r Repository,
    pub(crate) digest: Digest,
    pub(crate) name: Option<RefName>,
    pub(crate) tree: Tree,
    /// The image and its objects, by their paths.
    pub(crate) objects: BTreeMap<String, PlannedObject>,
    /// The signatures of the image, by which it can be booted by name.
    pub(crate) signatures: Vec<StoredSignature>,
    pub(crate) etc: InodeId,
    pub(crate) var: InodeId,
    /// Time of everything that the image has no time for.
    pub(crate) time: InodeTime,
}

/// An object and its size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlannedObject {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl<'r> RootPlan<'r> {
    /// Reads the image and the sizes of its objects.
    pub(crate) fn new(repository: &'r Repository, digest: Digest, name: Option<RefName>) -> Result<Self, DiskError> {
        let tree = repository.tree_of_image(&digest)?;
        let directory = |path: &'static str| {
            let found = tree.child(InodeId::ROOT, &path.as_bytes()[1..]).map(|entry| entry.inode);
            found.filter(|id| tree.inode(*id).kind() == Kind::Directory).ok_or(DiskError::NoDirectory { path })
        };
        let (etc, var) = (directory("/etc")?, directory("/var")?);
        let time = InodeTime { sec: tree.inode(InodeId::ROOT).mtime().sec.clamp(0, i64::from(u32::MAX)), nsec: 0 };
        let mut objects = BTreeMap::new();
        for one in tree.objects().map(|object| object.digest).chain([digest]) {
            if let std::collections::btree_map::Entry::Vacant(entry) = objects.entry(one.object_path()) {
                let size = open_object(repository, &one)?.size();
                entry.insert(PlannedObject { digest: one, size });
            }
        }
        let signatures = repository.signatures(&digest)?;
        Ok(Self { repository, digest, name, tree, objects, signatures, etc, var, time })
    }

    /// Returns the number of inodes, and of blocks of files and directories, at most.
    pub(crate) fn needs(&self) -> (u64, u64) {
        let algorithm = self.repository.algorithm();
        // Directories and symlinks of the repository and the state, and a directory of 256 for the objects.
        let (mut inodes, mut blocks) = (300, 600);
        for object in self.objects.values() {
            inodes += 1;
            // One more for a map that is not in the inode, and one for each 64 entries of a directory.
            blocks += verity_blocks(algorithm, object.size) + object.size / (340 * BLOCK * 1024);
        }
        blocks += self.objects.len() as u64 / 16;
        let bytes = |stored: &StoredSignature| [stored.statement.len() as u64, stored.signature.len() as u64];
        let files = self.signatures.iter().flat_map(bytes);
        inodes += 2 * self.signatures.len() as u64;
        blocks += files.map(|len| len / BLOCK + 2).sum::<u64>();
        let (state_inodes, state_blocks) = state::needs(&self.tree, self.var);
        (inodes + state_inodes, blocks + state_blocks)
    }

    /// Returns the total size of the objects.
    pub(crate) fn object_bytes(&self) -> u64 {
        self.objects.values().map(|object| object.size).sum()
    }

    /// Writes everything.
    pub(crate) fn write(&self, fs: &mut Ext4Writer<'_>, done: &dyn Fn(u64)) -> Result<(), DiskError> {
        let mut root = fs.root()?;
        let mut repository = fs.begin_directory(&mut root, b"composefs")?;
        self.write_repository(fs, &mut repository, done)?;
        fs.end_directory(repository, &self.plain(PRIVATE))?;
        self.write_state(fs, &mut root)?;
        fs.end_directory(root, &self.plain(PUBLIC))
    }

    fn plain(&self, mode: u16) -> InodeAttributes<'static> {
        InodeAttributes { mode, time: self.time, ..InodeAttributes::default() }
    }

    fn write_repository(
        &self,
        fs: &mut Ext4Writer<'_>,
        directory: &mut Directory,
        done: &dyn Fn(u64),
    ) -> Result<(), DiskError> {
        // fs-verity of the settings makes the repository demand it of all objects.
        let settings = self.repository.meta().emit();
        let algorithm = self.repository.algorithm();
        self.write_small(fs, directory, b"meta.json", &settings, 0o644, Some(algorithm))?;

        let mut images = fs.begin_directory(directory, b"images")?;
        let hex = self.digest.to_hex();
        self.write_link(fs, &mut images, hex.as_bytes(), image_link(&self.digest).as_bytes())?;
        let mut refs = fs.begin_directory(&mut images, b"refs")?;
        if let Some(name) = &self.name {
            self.write_name(fs, &mut refs, name)?;
        }
        fs.end_directory(refs, &self.plain(PRIVATE))?;
        fs.end_directory(images, &self.plain(PRIVATE))?;

        self.write_signatures(fs, directory)?;

        // A gc locks this file, also on a disk that is full by then.
        let mut leases = fs.begin_directory(directory, b"leases")?;
        self.write_small(fs, &mut leases, b"gc.lock", b"", 0o600, None)?;
        fs.end_directory(leases, &self.plain(PRIVATE))?;

        let mut objects = fs.begin_directory(directory, b"objects")?;
        let mut part: Option<(&str, Directory)> = None;
        for (path, object) in &self.objects {
            let (first, rest) = path.split_at(2);
            if part.as_ref().is_none_or(|(name, _)| *name != first) {
                if let Some((_, full)) = part.take() {
                    fs.end_directory(full, &self.plain(PRIVATE))?;
                }
                part = Some((first, fs.begin_directory(&mut objects, first.as_bytes())?));
            }
            if let Some((_, directory)) = &mut part {
                self.write_object(fs, directory, &rest.as_bytes()[1..], object)?;
            }
            done(object.size);
        }
        if let Some((_, full)) = part {
            fs.end_directory(full, &self.plain(PRIVATE))?;
        }
        fs.end_directory(objects, &self.plain(PRIVATE))
    }

    /// Writes the signatures of the image, if it has any.
    fn write_signatures(&self, fs: &mut Ext4Writer<'_>, directory: &mut Directory) -> Result<(), DiskError> {
        if self.signatures.is_empty() {
            return Ok(());
        }
        let mut all = fs.begin_directory(directory, b"signatures")?;
        let mut of_image = fs.begin_directory(&mut all, self.digest.to_hex().as_bytes())?;
        for stored in &self.signatures {
            for (name, content) in stored.file_names().iter().zip([&stored.statement, &stored.signature]) {
                self.write_small(fs, &mut of_image, name.as_bytes(), content, 0o644, None)?;
            }
        }
        fs.end_directory(of_image, &self.plain(PRIVATE))?;
        fs.end_directory(all, &self.plain(PRIVATE))
    }

    /// Writes a symlink for a name, in as many directories as it has.
    fn write_name(&self, fs: &mut Ext4Writer<'_>, refs: &mut Directory, name: &RefName) -> Result<(), DiskError> {
        let parts: Vec<_> = name.parts().collect();
        let Some((last, folders)) = parts.split_last() else { return Ok(()) };
        let mut opened: Vec<Directory> = Vec::new();
        for folder in folders {
            let above = opened.last_mut().unwrap_or(&mut *refs);
            let below = fs.begin_directory(above, folder.as_bytes())?;
            opened.push(below);
        }
        let link = ref_link(name, &self.digest);
        self.write_link(fs, opened.last_mut().unwrap_or(refs), last.as_bytes(), link.as_bytes())?;
        while let Some(directory) = opened.pop() {
            fs.end_directory(directory, &self.plain(PRIVATE))?;
        }
        Ok(())
    }

    fn write_link(
        &self,
        fs: &mut Ext4Writer<'_>,
        directory: &mut Directory,
        name: &[u8],
        target: &[u8],
    ) -> Result<(), DiskError> {
        let inode = fs.symlink(target, &self.plain(0o777), 1)?;
        fs.link(directory, name, inode, EntryType::Symlink);
        Ok(())
    }

    fn write_small(
        &self,
        fs: &mut Ext4Writer<'_>,
        directory: &mut Directory,
        name: &[u8],
        content: &[u8],
        mode: u16,
        verity: Option<Algorithm>,
    ) -> Result<(), DiskError> {
        let mut file = fs.begin_file(content.len() as u64, verity)?;
        fs.write_piece(&mut file, content)?;
        let (inode, _) = fs.end_file(file, &self.plain(mode), 1)?;
        fs.link(directory, name, inode, EntryType::Regular);
        Ok(())
    }

    /// Writes an object and compares its content with its name. It is read once.
    fn write_object(
        &self,
        fs: &mut Ext4Writer<'_>,
        directory: &mut Directory,
        name: &[u8],
        planned: &PlannedObject,
    ) -> Result<(), DiskError> {
        let object = open_object(self.repository, &planned.digest)?;
        object.expect_size(planned.size)?;
        let mut file = fs.begin_file(planned.size, Some(self.repository.algorithm()))?;
        object.copy_unverified(|piece| fs.write_piece(&mut file, piece))?;
        let (inode, found) = fs.end_file(file, &self.plain(0o644), 1)?;
        match found {
            Some(found) if found != planned.digest => {
                Err(DiskError::Damaged { path: object.path().to_owned(), found: Box::new(found) })
            }
            _ => {
                fs.link(directory, name, inode, EntryType::Regular);
                Ok(())
            }
        }
    }

    /// Writes `state`: the overlay's directories of `/etc`, and the `/var` that images share, with that of the image.
    fn write_state(&self, fs: &mut Ext4Writer<'_>, root: &mut Directory) -> Result<(), DiskError> {
        let mut state = fs.begin_directory(root, b"state")?;
        let mut deploy = fs.begin_directory(&mut state, b"deploy")?;
        let mut image = fs.begin_directory(&mut deploy, self.digest.to_hex().as_bytes())?;
        let mut etc = fs.begin_directory(&mut image, b"etc")?;
        // The mounted /etc shows the metadata of the upper directory.
        let upper = fs.begin_directory(&mut etc, b"upper")?;
        fs.end_directory(upper, &attributes(&self.tree.inode(self.etc))).map_err(at("/etc"))?;
        let work = fs.begin_directory(&mut etc, b"work")?;
        fs.end_directory(work, &self.plain(PRIVATE))?;
        fs.end_directory(etc, &self.plain(PUBLIC))?;
        self.write_link(fs, &mut image, b"var", SHARED_VAR)?;
        fs.end_directory(image, &self.plain(PUBLIC))?;
        fs.end_directory(deploy, &self.plain(PUBLIC))?;

        let mut os = fs.begin_directory(&mut state, b"os")?;
        let mut default = fs.begin_directory(&mut os, b"default")?;
        let source = StateSource { repository: self.repository, tree: &self.tree, var: self.var };
        source.copy(fs, &mut default)?;
        fs.end_directory(default, &self.plain(PUBLIC))?;
        fs.end_directory(os, &self.plain(PUBLIC))?;
        fs.end_directory(state, &self.plain(PUBLIC))
    }
}
