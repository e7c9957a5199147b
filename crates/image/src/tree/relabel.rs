//! New SELinux labels for all names of a tree.

use std::collections::HashMap;

use super::xattrs::XattrError;
use super::{InodeId, Kind, SetId, Tree, Xattr, XattrTable};

const SELINUX: &[u8] = b"security.selinux";

/// The reason why a tree cannot get labels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelabelError<E> {
    /// The function that knows the labels failed.
    #[error(transparent)]
    Label(E),
    /// A label and the other attributes of the path exceed a limit.
    #[error("{}", String::from_utf8_lossy(path))]
    Xattr {
        /// The path.
        path: Vec<u8>,
        /// The limit.
        source: XattrError,
    },
}

/// Labels by number.
#[derive(Default)]
struct LabelTexts<'l> {
    numbers: HashMap<&'l [u8], u32>,
    list: Vec<&'l [u8]>,
}

impl<'l> LabelTexts<'l> {
    fn number(&mut self, text: &'l [u8]) -> u32 {
        *self.numbers.entry(text).or_insert_with(|| {
            self.list.push(text);
            self.list.len() as u32 - 1
        })
    }

    fn text(&self, number: u32) -> Option<&'l [u8]> {
        self.list.get(number as usize).copied()
    }
}

impl Tree {
    /// Gives every inode the label that a function returns for its path, or none, in the place of the one it had. The
    /// function is called for the root and then for every name, depth first in name order.
    ///
    /// An inode has one label. A further name with another label than the first name becomes a file of its own, and
    /// link counts become the number of names.
    ///
    /// # Errors
    ///
    /// The first error of the function, or a set of attributes that exceeds a limit.
    pub fn relabel<'l, E>(
        &mut self,
        mut label: impl FnMut(&[u8], Kind) -> Result<Option<&'l [u8]>, E>,
    ) -> Result<(), RelabelError<E>> {
        let mut texts = LabelTexts::default();
        let mut of_entry = vec![None; self.entries.len()];
        let root = label(b"/", Kind::Directory).map_err(RelabelError::Label)?;
        let mut of_inode = vec![None; self.inodes.len()];
        of_inode[InodeId::ROOT.index()] = root.map(|text| texts.number(text));
        let mut is_known = vec![false; self.inodes.len()];
        let mut walk = self.depth_first();
        while let Some((path, entry, number)) = walk.step_numbered() {
            let text = label(path, self.stored(entry.inode).kind()).map_err(RelabelError::Label)?;
            let text = text.map(|text| texts.number(text));
            of_entry[number.0 as usize] = text;
            if !std::mem::replace(&mut is_known[entry.inode.index()], true) {
                of_inode[entry.inode.index()] = text;
            }
        }
        self.separate(&of_entry, &mut of_inode);
        self.set_labels(&of_inode, &texts)?;
        self.count_links();
        Ok(())
    }

    /// Makes files of their own of the names whose label differs from that of the inode.
    fn separate(&mut self, of_entry: &[Option<u32>], of_inode: &mut Vec<Option<u32>>) {
        for (entry, text) in self.entries.iter_mut().zip(of_entry) {
            if of_inode[entry.id().index()] != *text {
                let copied = self.inodes[entry.id().index()];
                entry.inode = self.inodes.len() as u32;
                self.inodes.push(copied);
                of_inode.push(*text);
            }
        }
    }

    fn set_labels<E>(&mut self, of_inode: &[Option<u32>], texts: &LabelTexts<'_>) -> Result<(), RelabelError<E>> {
        let mut known: HashMap<(SetId, Option<u32>), SetId> = HashMap::new();
        let mut new = XattrTable::default();
        for (index, text) in of_inode.iter().enumerate() {
            let old = self.inodes[index].xattrs;
            if let Some(set) = known.get(&(old, *text)) {
                self.inodes[index].xattrs = *set;
                continue;
            }
            let mut set: Vec<Xattr<'_>> = self.xattrs.iter(old).filter(|xattr| xattr.name != SELINUX).collect();
            let value = text.and_then(|text| texts.text(text));
            set.extend(value.map(|value| Xattr { name: SELINUX, value }));
            let interned = new.intern(&set).map_err(|source| {
                let path = self.path_of(InodeId(index as u32));
                RelabelError::Xattr { path, source }
            })?;
            known.insert((old, *text), interned);
            self.inodes[index].xattrs = interned;
        }
        new.sort();
        self.xattrs = new;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::{self, Parser};

    fn relabelled(lines: &[&str], label: impl Fn(&[u8]) -> Option<&'static [u8]>) -> String {
        let mut parser = Parser::new(dump::Options::default());
        parser.push_line(b"/ 0 40755 2 0 0 0 1.0 - - - security.selinux=old").unwrap();
        lines.iter().for_each(|line| parser.push_line(line.as_bytes()).unwrap());
        let mut tree = parser.finish().unwrap().tree;
        tree.relabel(|path, _| Ok::<_, ()>(label(path))).unwrap();
        let mut text = Vec::new();
        dump::emit(&tree, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    const LINES: [&str; 5] = [
        "/a 1 100644 3 0 0 0 9.0 - x - user.x=1",
        "/b 1 @100644 3 0 0 0 9.0 /a x -",
        "/c 0 40755 2 0 0 0 1.0 - - - security.selinux=old",
        "/c/d 1 @100644 3 0 0 0 9.0 /a x -",
        "/e 0 120777 1 0 0 0 1.0 a - - user.x=1",
    ];

    #[test]
    fn labels_replace_old_ones_and_leave_other_attributes() {
        let text = relabelled(&LINES, |path| (path != b"/c").then_some(b"new".as_slice()));
        assert!(!text.contains("old"), "{text}");
        assert_eq!(text.matches("security.selinux=new").count(), 5, "{text}");
        assert_eq!(text.matches("user.x=1").count(), 4, "{text}");
        assert!(text.contains("/c/d 1 @100644 3 0 0 0 9.0 /a "), "{text}");
    }

    #[test]
    fn a_name_with_another_label_becomes_a_file_of_its_own() {
        let text = relabelled(&LINES, |path| Some(if path == b"/b" { b"B" } else { b"A" }));
        assert!(text.contains("/b 1 100644 1 0 0 0 9.0 - x - security.selinux=B user.x=1\n"), "{text}");
        assert!(text.contains("/a 1 100644 2 ") && text.contains("/c/d 1 @100644 2 0 0 0 9.0 /a "), "{text}");
    }

    #[test]
    fn a_failure_is_passed_on() {
        let mut tree = Parser::new(dump::Options::default());
        tree.push_line(b"/ 0 40755 2 0 0 0 1.0 - - -").unwrap();
        let mut tree = tree.finish().unwrap().tree;
        assert_eq!(tree.relabel(|_, _| Err("no")), Err(RelabelError::Label("no")));
        let long = vec![b'x'; 70_000];
        let refused = tree.relabel(|_, _| Ok::<_, ()>(Some(&long)));
        assert!(matches!(refused, Err(RelabelError::Xattr { ref path, .. }) if path == b"/"), "{refused:?}");
    }
}
