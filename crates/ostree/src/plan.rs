//! The directories and files of a commit, and the tree built from them.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use libcomposefs_image::Algorithm;
use libcomposefs_image::tree::{InodeId, NewInode, Tree, TreeBuilder, TreeError, Xattr};

use crate::error::Error;
use crate::gather::Gathered;
use crate::id::Id;
use crate::objects::{DirTree, MAX_HEADER, Metadata};
use crate::repo::{Commit, MAX_METADATA, Repo};
use crate::tree_size::{TreeSize, of_header, of_metadata};

/// Directories that ostree adds to the root of every image, unless an entry has the name.
const TOPLEVEL: [&str; 5] = ["usr", "etc", "boot", "var", "sysroot"];

/// The directories, files and contents of a commit.
#[derive(Debug)]
pub struct CommitPlan {
    /// The directories, the root first, each after its parent.
    directories: Vec<PlanDirectory>,
    files: Vec<PlanFile>,
    /// The contents, each once.
    contents: Vec<Id>,
    /// Size of the tree, without the headers of contents.
    extent: TreeSize,
    /// Number of bytes of the objects that were read.
    read: u64,
}

#[derive(Debug)]
struct PlanDirectory {
    parent: usize,
    name: Rc<str>,
    metadata: Rc<Metadata>,
}

#[derive(Debug)]
struct PlanFile {
    directory: usize,
    name: Rc<str>,
    content: usize,
}

/// Selects the paths by which an image refers to contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Payloads {
    /// Paths in the ostree repository: `xx/….file`, even if it is an archive, as ostree does.
    Ostree,
    /// Paths in an object store, by their fs-verity digests.
    Objects,
}

/// Reads metadata objects, each once even if many directories share it.
struct MetadataCache<'r> {
    repo: &'r Repo,
    trees: HashMap<Id, Rc<DirTree>>,
    metas: HashMap<Id, Rc<Metadata>>,
    /// Total bytes of these objects.
    read: u64,
}

impl MetadataCache<'_> {
    fn tree(&mut self, id: &Id) -> Result<Rc<DirTree>, Error> {
        read((self.repo, &mut self.read), &mut self.trees, id, ("dirtree", MAX_METADATA), DirTree::parse)
    }

    fn meta(&mut self, id: &Id) -> Result<Rc<Metadata>, Error> {
        read((self.repo, &mut self.read), &mut self.metas, id, ("dirmeta", MAX_HEADER), Metadata::parse)
    }

    /// Reads all directories below one, each object once, and counts the size of the tree.
    fn all(&mut self, root: &Id) -> Result<TreeSize, Error> {
        let mut extents = HashMap::new();
        let mut order = Vec::new();
        let mut pending = vec![(*root, false)];
        while let Some((id, is_below_counted)) = pending.pop() {
            if !is_below_counted {
                if self.trees.contains_key(&id) {
                    continue;
                }
                let tree = self.tree(&id)?;
                pending.push((id, true));
                pending.extend(tree.directories.iter().map(|(_, below, _)| (*below, false)));
                continue;
            }
            let tree = self.tree(&id)?;
            for (_, _, meta) in &tree.directories {
                self.meta(meta)?;
            }
            let metas = &self.metas;
            let extent = TreeSize::of(&tree, &extents, |id| metas.get(id).map_or(0, |meta| of_metadata(meta)));
            let extent =
                extent.ok_or_else(|| self.repo.malformed(&id, "dirtree", "the directory contains itself".into()))?;
            extents.insert(id, extent);
            order.push(id);
        }
        for id in &order {
            extents[id].expect_allowed(self.read, || self.repo.path_of(id, "dirtree"))?;
        }
        Ok(extents[root])
    }
}

/// Returns an object that was read before, or reads it now.
fn read<T>(
    (repo, bytes_read): (&Repo, &mut u64),
    known: &mut HashMap<Id, Rc<T>>,
    id: &Id,
    (extension, limit): (&str, u64),
    parse: fn(&[u8]) -> Result<T, String>,
) -> Result<Rc<T>, Error> {
    if let Some(object) = known.get(id) {
        return Ok(object.clone());
    }
    let bytes = repo.metadata(id, extension, limit)?;
    let object = parse(&bytes).map_err(|reason| repo.malformed(id, extension, reason))?;
    *bytes_read += bytes.len() as u64;
    Ok(known.entry(*id).insert_entry(Rc::new(object)).get().clone())
}

impl CommitPlan {
    /// Reads all directories of a commit.
    ///
    /// # Errors
    ///
    /// An object is missing, damaged or malformed; [`Error::TooLarge`] or [`Error::TooManyEntries`] if a few small
    /// objects refer to each other so often that no memory would hold the tree. That is detected before the tree is
    /// built.
    pub fn of(repo: &Repo, commit: &Commit) -> Result<Self, Error> {
        let mut reading = MetadataCache { repo, trees: HashMap::new(), metas: HashMap::new(), read: 0 };
        let metadata = reading.meta(&commit.object.meta)?;
        let extent = reading.all(&commit.object.tree)?;
        let root = PlanDirectory { parent: 0, name: "".into(), metadata };
        let read = reading.read;
        let mut plan = Self { directories: vec![root], files: Vec::new(), contents: Vec::new(), extent, read };
        let mut known = HashMap::new();
        let mut pending = vec![(0, commit.object.tree)];
        while let Some((directory, id)) = pending.pop() {
            let tree = reading.tree(&id)?;
            for (name, content) in &tree.files {
                let content = *known.entry(*content).or_insert_with(|| {
                    plan.contents.push(*content);
                    plan.contents.len() - 1
                });
                plan.files.push(PlanFile { directory, name: name.clone(), content });
            }
            for (name, below, meta) in &tree.directories {
                let metadata = reading.meta(meta)?;
                plan.directories.push(PlanDirectory { parent: directory, name: name.clone(), metadata });
                pending.push((plan.directories.len() - 1, *below));
            }
        }
        Ok(plan)
    }

    /// Returns the contents of the files and symlinks, each once.
    #[must_use]
    pub fn contents(&self) -> &[Id] {
        &self.contents
    }

    /// Builds the tree, with the facts gathered about the contents, in the same order.
    ///
    /// # Errors
    ///
    /// [`Error::Tree`] if no file system can hold it, [`Error::TooLarge`] if contents are in too many places, so that
    /// their xattrs or targets take far more bytes than were read.
    ///
    /// # Panics
    ///
    /// If the facts do not belong to this plan.
    pub fn tree(&self, gathered: &[Gathered], payloads: Payloads, algorithm: Algorithm) -> Result<Tree, Error> {
        assert_eq!(gathered.len(), self.contents.len(), "the facts belong to this plan");
        self.expect_allowed(gathered)?;
        let at = |directory: usize, name: &str, source| Error::Tree { path: self.path_of(directory, name), source };
        let root = &self.directories[0].metadata;
        let mut builder = inode(root, |new| TreeBuilder::new(algorithm, new)).map_err(|source| at(0, "", source))?;
        let mut ids = vec![InodeId::ROOT];
        for directory in &self.directories[1..] {
            let PlanDirectory { parent, name, metadata } = directory;
            let add = |new: &NewInode<'_>| builder.add(ids[*parent], name.as_bytes(), new);
            let id = inode(metadata, add).map_err(|source| at(*parent, name, source))?;
            ids.push(id);
        }
        for file in &self.files {
            let Gathered { header, size, digest } = &gathered[file.content];
            let payload = match payloads {
                Payloads::Ostree => Some(self.contents[file.content].path("file")),
                Payloads::Objects => None,
            };
            let payload =
                if header.target.is_empty() { payload.filter(|_| *size > 0) } else { Some(header.target.clone()) };
            let add = |new: &NewInode<'_>| {
                let new = NewInode {
                    size: *size,
                    payload: payload.as_deref().map(str::as_bytes),
                    digest: *digest,
                    is_object: payloads == Payloads::Objects,
                    ..*new
                };
                builder.add(ids[file.directory], file.name.as_bytes(), &new)
            };
            inode(&header.metadata, add).map_err(|source| at(file.directory, &file.name, source))?;
        }
        for name in TOPLEVEL {
            let new = NewInode { mode: 0o040_755, nlink: 1, ..NewInode::default() };
            match builder.add(InodeId::ROOT, name.as_bytes(), &new) {
                Ok(_) | Err(TreeError::Duplicate(_)) => {}
                Err(source) => return Err(at(0, name, source)),
            }
        }
        Ok(builder.finish())
    }

    /// Fails if the xattrs or targets of contents would be in the tree too often. They are added up, and the error
    /// names the content that exceeds the limit.
    fn expect_allowed(&self, gathered: &[Gathered]) -> Result<(), Error> {
        let mut places = vec![0u64; gathered.len()];
        self.files.iter().for_each(|file| places[file.content] += 1);
        let sizes = || gathered.iter().map(|content| of_header(&content.header));
        let read = self.read + sizes().sum::<u64>();
        let mut all = self.extent;
        for ((size, places), content) in sizes().zip(places).zip(&self.contents) {
            all.bytes = all.bytes.saturating_add(size.saturating_mul(places));
            all.expect_allowed(read, || Path::new("objects").join(content.path("file")))?;
        }
        Ok(())
    }

    fn path_of(&self, mut directory: usize, name: &str) -> String {
        let mut names = vec![name];
        while directory != 0 {
            names.push(&self.directories[directory].name);
            directory = self.directories[directory].parent;
        }
        names.push("");
        names.reverse();
        names.join("/")
    }
}

/// Calls `add` with the inode for this metadata.
fn inode<T>(metadata: &Metadata, add: impl FnOnce(&NewInode<'_>) -> T) -> T {
    let Metadata { uid, gid, mode, xattrs } = metadata;
    let xattrs: Vec<Xattr<'_>> = xattrs.iter().map(|(name, value)| Xattr { name, value }).collect();
    add(&NewInode { mode: *mode, uid: *uid, gid: *gid, nlink: 1, xattrs: &xattrs, ..NewInode::default() })
}
