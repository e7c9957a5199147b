//! The attributes of a layer that overlayfs obeys, and those that it shows.

use crate::tree::{SetId, Tree, TreeError, Xattr, XattrTable};

/// The prefix of the attributes that overlayfs keeps to itself (`OVL_XATTR_TRUSTED_PREFIX`).
const PRIVATE: &[u8] = b"trusted.overlay.";
/// What it shows with one `overlay.` less (`OVL_XATTR_ESCAPE_TRUSTED_PREFIX`).
const ESCAPED: &[u8] = b"trusted.overlay.overlay.";
const OPAQUE: &[u8] = b"trusted.overlay.opaque";
const WHITEOUT: &[u8] = b"trusted.overlay.whiteout";
/// The mark of format version 1 for overlays with `userxattr`; it goes with its twin.
const USER_OPAQUE: &[u8] = b"user.overlay.opaque";
/// Attributes that lead to other layers.
const REDIRECTS: [&str; 2] = ["trusted.overlay.redirect", "trusted.overlay.metacopy"];

/// The sets of attributes of one layer.
#[derive(Debug)]
pub(super) struct LayerSets {
    /// The set of the result for each set of the layer that was met.
    shown: Vec<Option<SetId>>,
    /// True if the layer has no attribute that overlayfs obeys.
    is_plain: bool,
}

impl LayerSets {
    pub(super) fn of(tree: &Tree) -> Self {
        let table = tree.xattr_table();
        let count = table.set_count();
        let is_plain = (0..count).all(|set| table.iter(SetId(set as u32)).all(|x| !x.name.starts_with(PRIVATE)));
        Self { shown: vec![None; count], is_plain }
    }

    /// Returns whether a directory hides the entries of lower layers.
    pub(super) fn is_opaque(&self, tree: &Tree, set: SetId) -> bool {
        self.value(tree, set, OPAQUE) == Some(b"y")
    }

    /// Returns whether a directory may hold whiteouts that are files.
    pub(super) fn has_whiteouts(&self, tree: &Tree, set: SetId) -> bool {
        self.value(tree, set, OPAQUE) == Some(b"x")
    }

    /// Returns whether an empty file is a whiteout, where such files may be.
    pub(super) fn is_whiteout(&self, tree: &Tree, set: SetId) -> bool {
        self.value(tree, set, WHITEOUT).is_some()
    }

    fn value<'t>(&self, tree: &'t Tree, set: SetId, name: &[u8]) -> Option<&'t [u8]> {
        if self.is_plain {
            return None;
        }
        tree.xattr_table().iter(set).find(|xattr| xattr.name == name).map(|xattr| xattr.value)
    }

    /// Returns the set that overlayfs shows for one of the layer, or the attribute that is not supported.
    pub(super) fn shown(
        &mut self,
        tree: &Tree,
        set: SetId,
        into: &mut XattrTable,
    ) -> Result<Result<SetId, &'static str>, TreeError> {
        if let Some(known) = self.shown[set.0 as usize] {
            return Ok(Ok(known));
        }
        let all = || tree.xattr_table().iter(set);
        let redirect = REDIRECTS.into_iter().find(|name| all().any(|xattr| xattr.name == name.as_bytes()));
        if let Some(name) = redirect {
            return Ok(Err(name));
        }
        let is_mark = |x: &Xattr<'_>| x.name == USER_OPAQUE && x.value == b"x" && self.has_whiteouts(tree, set);
        let is_shown = |x: &Xattr<'_>| (!x.name.starts_with(PRIVATE) || x.name.starts_with(ESCAPED)) && !is_mark(x);
        let unescaped: Vec<Vec<u8>> = all().filter(is_shown).map(|xattr| unescape(xattr.name)).collect();
        let values = all().filter(is_shown).map(|xattr| xattr.value);
        let xattrs: Vec<_> = unescaped.iter().zip(values).map(|(name, value)| Xattr { name, value }).collect();
        let new = into.intern(&xattrs).map_err(TreeError::from)?;
        self.shown[set.0 as usize] = Some(new);
        Ok(Ok(new))
    }
}

fn unescape(name: &[u8]) -> Vec<u8> {
    match name.strip_prefix(ESCAPED) {
        Some(rest) => [PRIVATE, rest].concat(),
        None => name.to_vec(),
    }
}
