//! Selecting the part of a tree to extract.

use std::collections::{BTreeMap, HashMap};

use libcomposefs_image::tree::{InodeId, Kind, Tree};

use super::error::ExtractError;

/// A whole tree, or some of its paths with everything below and the directories above them.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// The selected names of each directory, true if everything below is selected; `None` if the whole tree is.
    some: Option<HashMap<InodeId, BTreeMap<Vec<u8>, bool>>>,
}

/// The selected part of one directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    Some,
}

impl Selection {
    /// Selects the whole tree.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Selects these paths, or the whole tree if there are none.
    ///
    /// # Errors
    ///
    /// [`ExtractError::NoSuchPath`] for a path that the tree does not have.
    pub fn of_paths<P: AsRef<[u8]>>(tree: &Tree, paths: &[P]) -> Result<Self, ExtractError> {
        let mut some: HashMap<InodeId, BTreeMap<Vec<u8>, bool>> = HashMap::new();
        let mut is_all = paths.is_empty();
        for path in paths {
            let path = path.as_ref();
            let missing = || ExtractError::NoSuchPath { path: path.to_owned() };
            let mut names = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).peekable();
            is_all |= names.peek().is_none();
            let mut directory = InodeId::ROOT;
            while let Some(name) = names.next() {
                let entry = tree.child(directory, name).ok_or_else(missing)?;
                let is_last = names.peek().is_none();
                *some.entry(directory).or_default().entry(name.to_owned()).or_default() |= is_last;
                if !is_last && tree.inode(entry.inode).kind() != Kind::Directory {
                    return Err(missing());
                }
                directory = entry.inode;
            }
        }
        Ok(Self { some: Some(some).filter(|_| !is_all) })
    }

    pub(super) fn scope_of_root(&self) -> Scope {
        if self.some.is_some() { Scope::Some } else { Scope::All }
    }

    /// Returns the selected part of an entry of a directory; `None` if the entry is not selected.
    pub(super) fn scope(&self, directory: InodeId, scope: Scope, name: &[u8]) -> Option<Scope> {
        match (&self.some, scope) {
            (Some(some), Scope::Some) => {
                let is_whole = some.get(&directory)?.get(name)?;
                Some(if *is_whole { Scope::All } else { Scope::Some })
            }
            _ => Some(Scope::All),
        }
    }
}
