//! The directories and files of a commit, and the tree that they make.

use std::collections::HashMap;
use std::rc::Rc;

use composefs_image::Algorithm;
use composefs_image::tree::{InodeId, NewInode, Tree, TreeBuilder, TreeError, Xattr};

use crate::error::Error;
use crate::gather::Gathered;
use crate::id::Id;
use crate::objects::{DirTree, Metadata};
use crate::repo::{Commit, Repo};

/// More entries than this no file system of today has; a few small objects could say that there are 2^60.
const MAX_ENTRIES: usize = 1 << 24;
/// What ostree adds to the root of every image, if nothing there has the name.
const TOPLEVEL: [&str; 5] = ["usr", "etc", "boot", "var", "sysroot"];

/// What a commit holds.
#[derive(Debug)]
pub struct Plan {
    /// The root first, and each behind the one it lies in.
    directories: Vec<Directory>,
    files: Vec<File>,
    /// Each content once.
    contents: Vec<Id>,
}

#[derive(Debug)]
struct Directory {
    parent: usize,
    name: String,
    metadata: Rc<Metadata>,
}

#[derive(Debug)]
struct File {
    directory: usize,
    name: String,
    content: usize,
}

/// Where an image says that contents are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payloads {
    /// In the repository of ostree: `xx/….file`, also if it is an archive, as ostree has it.
    Ostree,
    /// In an object store, by their fs-verity digests.
    Objects,
}

/// Objects that many directories share are read once.
struct Reading<'r> {
    repo: &'r Repo,
    trees: HashMap<Id, Rc<DirTree>>,
    metas: HashMap<Id, Rc<Metadata>>,
}

impl Reading<'_> {
    fn tree(&mut self, id: &Id) -> Result<Rc<DirTree>, Error> {
        read(self.repo, &mut self.trees, id, "dirtree", DirTree::parse)
    }

    fn meta(&mut self, id: &Id) -> Result<Rc<Metadata>, Error> {
        read(self.repo, &mut self.metas, id, "dirmeta", Metadata::parse)
    }
}

/// An object as it was read before, or now.
fn read<T>(
    repo: &Repo,
    known: &mut HashMap<Id, Rc<T>>,
    id: &Id,
    extension: &str,
    parse: fn(&[u8]) -> Result<T, String>,
) -> Result<Rc<T>, Error> {
    if let Some(object) = known.get(id) {
        return Ok(object.clone());
    }
    let object = parse(&repo.metadata(id, extension)?).map_err(|reason| repo.malformed(id, extension, reason))?;
    Ok(known.entry(*id).insert_entry(Rc::new(object)).get().clone())
}

impl Plan {
    /// Reads all directories of a commit.
    ///
    /// # Errors
    ///
    /// If one is not there, damaged or malformed, or if there are too many.
    pub fn of(repo: &Repo, commit: &Commit) -> Result<Self, Error> {
        let mut reading = Reading { repo, trees: HashMap::new(), metas: HashMap::new() };
        let metadata = reading.meta(&commit.object.meta)?;
        let root = Directory { parent: 0, name: String::new(), metadata };
        let mut plan = Self { directories: vec![root], files: Vec::new(), contents: Vec::new() };
        let mut known = HashMap::new();
        let mut pending = vec![(0, commit.object.tree)];
        while let Some((directory, id)) = pending.pop() {
            let tree = reading.tree(&id)?;
            let entries = plan.directories.len() + plan.files.len() + tree.files.len() + tree.directories.len();
            if entries > MAX_ENTRIES {
                return Err(Error::TooMuch { commit: commit.id, what: "entries", limit: MAX_ENTRIES });
            }
            for (name, content) in &tree.files {
                let content = *known.entry(*content).or_insert_with(|| {
                    plan.contents.push(*content);
                    plan.contents.len() - 1
                });
                plan.files.push(File { directory, name: name.clone(), content });
            }
            for (name, below, meta) in &tree.directories {
                let metadata = reading.meta(meta)?;
                plan.directories.push(Directory { parent: directory, name: name.clone(), metadata });
                pending.push((plan.directories.len() - 1, *below));
            }
        }
        Ok(plan)
    }

    /// The contents of its files and symlinks, each once.
    #[must_use]
    pub fn contents(&self) -> &[Id] {
        &self.contents
    }

    /// The tree, with what was gathered of the contents, in their order.
    ///
    /// # Errors
    ///
    /// [`Error::Tree`] if no file system can have it.
    ///
    /// # Panics
    ///
    /// If something else was gathered.
    pub fn tree(&self, gathered: &[Gathered], payloads: Payloads, algorithm: Algorithm) -> Result<Tree, Error> {
        assert_eq!(gathered.len(), self.contents.len(), "what was gathered is of this plan");
        let at = |directory: usize, name: &str| {
            let path = self.path_of(directory, name);
            move |source| Error::Tree { path, source }
        };
        let root = &self.directories[0].metadata;
        let mut builder = inode(root, |new| TreeBuilder::new(algorithm, new)).map_err(at(0, ""))?;
        let mut ids = vec![InodeId::ROOT];
        for directory in &self.directories[1..] {
            let Directory { parent, name, metadata } = directory;
            let add = |new: &NewInode<'_>| builder.add(ids[*parent], name.as_bytes(), new);
            let id = inode(metadata, add).map_err(at(*parent, name))?;
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
            inode(&header.metadata, add).map_err(at(file.directory, &file.name))?;
        }
        for name in TOPLEVEL {
            let new = NewInode { mode: 0o040_755, nlink: 1, ..NewInode::default() };
            match builder.add(InodeId::ROOT, name.as_bytes(), &new) {
                Ok(_) | Err(TreeError::Duplicate(_)) => {}
                Err(source) => return Err(at(0, name)(source)),
            }
        }
        Ok(builder.finish())
    }

    fn path_of(&self, mut directory: usize, name: &str) -> String {
        let mut path = name.to_owned();
        while directory != 0 {
            path = format!("{}/{path}", self.directories[directory].name);
            directory = self.directories[directory].parent;
        }
        format!("/{path}")
    }
}

/// The inode of some metadata.
fn inode<T>(metadata: &Metadata, add: impl FnOnce(&NewInode<'_>) -> T) -> T {
    let Metadata { uid, gid, mode, xattrs } = metadata;
    let xattrs: Vec<Xattr<'_>> = xattrs.iter().map(|(name, value)| Xattr { name, value }).collect();
    add(&NewInode { mode: *mode, uid: *uid, gid: *gid, nlink: 1, xattrs: &xattrs, ..NewInode::default() })
}
