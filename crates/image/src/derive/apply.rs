//! From bases to the derived tree: the overlay of the bases, then one step after the other.

use super::ids::{IdMap, map_xattrs};
use super::{DeriveError, IdError, Recipe, RecipeStep};
use crate::erofs::format_version::LEGACY;
use crate::erofs::{Image, Versions};
use crate::policy::XattrPolicy;
use crate::tree::{ChangedXattr, InodeId, InodeSelection, OverlayLayer, Tree, TreeEditor, Xattr, XattrError, overlay};

const SELINUX: &[u8] = b"security.selinux";

impl Recipe {
    /// Returns the derived tree. `bases` are the trees of the recipe's bases, in its order; the caller has compared
    /// their images with the digests. A single base without a step is its own result.
    ///
    /// # Errors
    ///
    /// [`DeriveError`]
    pub fn apply(&self, bases: &[&Tree]) -> Result<Tree, DeriveError> {
        self.edited(self.overlaid(bases)?)
    }

    /// Like [`apply`](Self::apply), and changes a single base in place instead of a copy.
    ///
    /// # Errors
    ///
    /// [`DeriveError`]
    pub fn apply_owned(&self, mut bases: Vec<Tree>) -> Result<Tree, DeriveError> {
        let all: Vec<&Tree> = bases.iter().collect();
        self.expect_bases(&all)?;
        match bases.len() {
            1 => self.edited(bases.remove(0)),
            _ => self.edited(self.overlaid(&all)?),
        }
    }

    fn edited(&self, tree: Tree) -> Result<Tree, DeriveError> {
        let mut editor = TreeEditor::new(tree);
        for (number, step) in (1..).zip(&self.steps) {
            Applied { editor: &mut editor, number }.run(step)?;
        }
        Ok(editor.finish())
    }

    /// Lays out the image of a tree that [`apply`](Self::apply) returned.
    ///
    /// # Errors
    ///
    /// [`DeriveError::Write`]
    pub fn plan<'t>(&self, tree: &'t Tree) -> Result<Image<'t>, DeriveError> {
        let image = match self.format {
            2 => Image::plan_as(tree, &LEGACY),
            version => Image::plan(tree, Versions::exactly(version)),
        };
        image.map_err(|source| DeriveError::Write { format: self.format, source })
    }

    fn expect_bases(&self, bases: &[&Tree]) -> Result<(), DeriveError> {
        if bases.len() != self.bases.len() || bases.is_empty() {
            return Err(DeriveError::BaseCount { expected: self.bases.len(), found: bases.len() });
        }
        let is_other = |tree: &Tree| tree.has_digests() && tree.algorithm() != self.algorithm;
        if let Some(index) = bases.iter().position(|tree| is_other(tree)) {
            let (found, expected) = (bases[index].algorithm(), self.algorithm);
            return Err(DeriveError::Algorithm { base: index + 1, found, expected });
        }
        Ok(())
    }

    fn overlaid(&self, bases: &[&Tree]) -> Result<Tree, DeriveError> {
        self.expect_bases(bases)?;
        if let [only] = bases {
            return Ok((*only).clone());
        }
        let layers = self.bases.iter().zip(bases);
        let layers: Vec<_> =
            layers.map(|(base, tree)| OverlayLayer { tree, hierarchies: base.kind.hierarchies() }).collect();
        Ok(overlay(&layers)?)
    }
}

/// A step that is being made.
struct Applied<'e> {
    editor: &'e mut TreeEditor,
    number: usize,
}

/// Reasons why a set of attributes cannot be changed.
enum ChangeError {
    Xattrs(XattrError),
    Id(IdError),
}

impl From<XattrError> for ChangeError {
    fn from(error: XattrError) -> Self {
        ChangeError::Xattrs(error)
    }
}

impl Applied<'_> {
    fn run(&mut self, step: &RecipeStep) -> Result<(), DeriveError> {
        match step {
            RecipeStep::Remove { paths } => {
                let entries = paths.iter().map(|path| self.entry(path)).collect::<Result<Vec<_>, _>>()?;
                self.editor.remove(&entries);
                Ok(())
            }
            RecipeStep::ShiftIds { by } => self.map_ids(IdMap::Shift(*by), IdMap::Shift(*by)),
            RecipeStep::MapUids { ranges } => self.map_ids(IdMap::Ranges(ranges), IdMap::Same),
            RecipeStep::MapGids { ranges } => self.map_ids(IdMap::Same, IdMap::Ranges(ranges)),
            RecipeStep::SetOwner { path, uid, gid } => {
                let selection = self.below(path)?;
                let set = |_, _| Ok::<_, IdError>((*uid, *gid));
                self.editor.change_owners(&selection, set).map_err(|(inode, error)| self.id_error(inode, error))
            }
            RecipeStep::KeepXattrs { which: XattrPolicy::All } => Ok(()),
            RecipeStep::KeepXattrs { which } => {
                let keep =
                    |xattrs: &[Xattr<'_>]| Ok(owned(xattrs.iter().filter(|xattr| which.keeps(xattr.name)).copied()));
                self.change_xattrs(&InodeSelection::ALL, keep)
            }
            RecipeStep::ClampMtime { latest } => {
                self.editor.change_times(|time| time.min(*latest));
                Ok(())
            }
            RecipeStep::SetLabel { path, label } => {
                let selection = self.below(path)?;
                // The value as the tools of SELinux write it.
                let value = [label, &b"\0"[..]].concat();
                self.change_xattrs(&selection, |xattrs| {
                    let others = xattrs.iter().filter(|xattr| xattr.name != SELINUX).copied();
                    Ok(owned(others.chain([Xattr { name: SELINUX, value: &value }])))
                })
            }
        }
    }

    fn map_ids(&mut self, uids: IdMap<'_>, gids: IdMap<'_>) -> Result<(), DeriveError> {
        let owners = |uid, gid| Ok((uids.map(uid)?, gids.map(gid)?));
        let done = self.editor.change_owners(&InodeSelection::ALL, owners);
        done.map_err(|(inode, error)| self.id_error(inode, error))?;
        let change = |xattrs: &[Xattr<'_>]| map_xattrs(xattrs, uids, gids).map_err(ChangeError::Id);
        self.change_xattrs(&InodeSelection::ALL, change)
    }

    fn change_xattrs(
        &mut self,
        selection: &InodeSelection,
        change: impl FnMut(&[Xattr<'_>]) -> Result<Vec<ChangedXattr>, ChangeError>,
    ) -> Result<(), DeriveError> {
        let step = self.number;
        self.editor.change_xattrs(selection, change).map_err(|(inode, error)| match error {
            ChangeError::Id(source) => self.id_error(inode, source),
            ChangeError::Xattrs(source) => DeriveError::Xattrs { step, path: self.path_of(inode), source },
        })
    }

    fn path_of(&self, inode: InodeId) -> Vec<u8> {
        self.editor.tree().path_of(inode)
    }

    fn id_error(&self, inode: InodeId, source: IdError) -> DeriveError {
        DeriveError::Id { step: self.number, path: self.path_of(inode), source }
    }

    fn below(&self, path: &[u8]) -> Result<InodeSelection, DeriveError> {
        if path == b"/" {
            return Ok(InodeSelection::ALL);
        }
        let found = self.editor.find(path).map(|inode| self.editor.select_below(inode));
        found.ok_or_else(|| self.no_path(path))
    }

    /// Returns the directory and the name of a path.
    fn entry(&self, path: &[u8]) -> Result<(InodeId, Vec<u8>), DeriveError> {
        let slash = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let (directory, name) = path.split_at_checked(slash).unwrap_or((path, b""));
        let name = name.strip_prefix(b"/").unwrap_or(name);
        let directory = self.editor.find(directory);
        let found = directory.filter(|directory| self.editor.tree().child(*directory, name).is_some());
        found.map(|directory| (directory, name.to_vec())).ok_or_else(|| self.no_path(path))
    }

    fn no_path(&self, path: &[u8]) -> DeriveError {
        DeriveError::NoSuchPath { step: self.number, path: path.to_vec() }
    }
}

fn owned<'a>(xattrs: impl Iterator<Item = Xattr<'a>>) -> Vec<ChangedXattr> {
    xattrs.map(|xattr| (xattr.name.to_vec(), xattr.value.to_vec())).collect()
}

#[cfg(test)]
mod tests;
