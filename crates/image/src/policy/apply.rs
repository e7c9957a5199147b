//! From the tree of everything to the tree that a policy makes of it.

use std::borrow::Cow;

use super::{FileContents, Inline, Policy, Times, Transform, XattrPolicy};
use crate::digest::{Algorithm, Digest};
use crate::tree::{
    Entry, EntryId, InodeId, Kind, NewInode, OrderedBuilder, SetId, StoredData, StoredInode, StoredPayload, Timestamp,
    Tree, TreeError,
};
use crate::verity;

/// Reasons why a policy cannot be tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotKnown {
    /// The content of a file was not hashed by this algorithm.
    #[error("the {0} digest of a content is not known")]
    Digest(Algorithm),
    /// A transform needs a directory that is not there.
    #[error("the image has no directory /{0}, which a bootable one needs")]
    NoDirectory(&'static str),
    /// The tree that comes out cannot be.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

impl Policy {
    /// Returns the tree that this policy makes of a complete one, which has all attributes, unchanged times and hard
    /// links.
    ///
    /// # Errors
    ///
    /// If the policy needs contents that are not known.
    pub fn apply(&self, tree: &Tree, contents: &FileContents) -> Result<Tree, NotKnown> {
        let sets = vec![None; tree.xattr_table().set_count()];
        let ids = vec![None; tree.inode_count()];
        let builder = OrderedBuilder::new(self.algorithm);
        let (usr, emptied) = self.transformed(tree)?;
        Applying { policy: self, tree, contents, builder, sets, ids, links: Vec::new(), usr, emptied }.run()
    }

    /// `/usr`, if its metadata goes elsewhere, and the directories that keep nothing.
    fn transformed(&self, tree: &Tree) -> Result<(Option<InodeId>, Vec<InodeId>), NotKnown> {
        if self.transform == Transform::Nothing {
            return Ok((None, Vec::new()));
        }
        let directory = |name: &'static str| {
            let found = tree.child(InodeId::ROOT, name.as_bytes());
            let found = found.filter(|entry| tree.stored(entry.inode).kind() == Kind::Directory);
            found.map(|entry| entry.inode).ok_or(NotKnown::NoDirectory(name))
        };
        let emptied = self.transform.emptied().iter().map(|&(name, must)| match directory(name) {
            Err(error) if must || tree.child(InodeId::ROOT, name.as_bytes()).is_some() => Err(error),
            found => Ok(found.ok()),
        });
        let emptied = emptied.collect::<Result<Vec<_>, _>>()?;
        Ok((Some(directory("usr")?), emptied.into_iter().flatten().collect()))
    }
}

struct Applying<'a> {
    policy: &'a Policy,
    tree: &'a Tree,
    contents: &'a FileContents,
    builder: OrderedBuilder,
    /// The new set for each old one that was met.
    sets: Vec<Option<SetId>>,
    /// The new inode for each old one that has one.
    ids: Vec<Option<InodeId>>,
    /// Hard links, and what they lead to in the old tree.
    links: Vec<(EntryId, InodeId)>,
    /// The directory whose metadata others get.
    usr: Option<InodeId>,
    /// Directories that keep nothing.
    emptied: Vec<InodeId>,
}

const CAPABILITY: &[u8] = b"security.capability";
const SELINUX: &[u8] = b"security.selinux";

impl<'a> Applying<'a> {
    fn run(mut self) -> Result<Tree, NotKnown> {
        let tree = self.tree;
        let mut directories = vec![(InodeId::ROOT, self.push_root()?)];
        let mut next = 0;
        while let Some(&(old, new)) = directories.get(next) {
            next += 1;
            self.builder.open_directory(new);
            for entry in tree.children(old) {
                if self.leaves_out(old, &entry) {
                    continue;
                }
                if entry.is_link && self.policy.hardlinks {
                    self.links.push((self.builder.push_pending(entry.name)?, entry.inode));
                    continue;
                }
                let id = self.push(entry.inode)?;
                self.builder.push_entry(entry.name, id)?;
                if tree.stored(entry.inode).kind() == Kind::Directory {
                    directories.push((entry.inode, id));
                }
            }
        }
        self.settle_links()
    }

    fn leaves_out(&self, directory: InodeId, entry: &Entry<'_>) -> bool {
        let kind = self.tree.stored(entry.inode).kind();
        let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
        is_device && !self.policy.devices || self.emptied.contains(&directory)
    }

    fn settle_links(mut self) -> Result<Tree, NotKnown> {
        let mut lost = false;
        for (entry, old) in std::mem::take(&mut self.links) {
            let (id, is_link) = match self.ids[old.index()] {
                Some(id) => (id, true),
                // Its place was left out.
                None => (self.push(old)?, false),
            };
            lost |= !is_link;
            self.builder.set_target(entry, id, is_link);
        }
        let left_out = self.policy.hardlinks && !self.emptied.is_empty();
        let mut tree = self.builder.finish();
        if lost || left_out {
            tree.count_links();
        }
        Ok(tree)
    }

    fn push_root(&mut self) -> Result<InodeId, NotKnown> {
        let source = self.usr.filter(|_| self.policy.transform.copies_root()).unwrap_or(InodeId::ROOT);
        let stored = self.tree.stored(source);
        let (new, set) = (self.metadata(stored), self.set(stored.xattrs));
        let id = self.builder.push_inode(&new, set)?;
        self.ids[InodeId::ROOT.index()] = Some(id);
        Ok(id)
    }

    fn push(&mut self, id: InodeId) -> Result<InodeId, NotKnown> {
        let stored = self.tree.stored(id);
        let mut new = self.metadata(stored);
        if let Some(usr) = self.usr.filter(|_| self.emptied.contains(&id)) {
            new.mtime = self.time(Kind::Directory, self.tree.stored(usr).mtime());
        }
        let path;
        match stored.data {
            StoredData::Directory { .. } | StoredData::Special => {}
            StoredData::Symlink(target) => new.payload = Some(self.tree.span(target)),
            StoredData::Regular { content, payload, digest } => {
                let content = (content.len() > 0).then(|| self.tree.span(content));
                let digest = StoredInode::digest_index(digest).map(|index| self.tree.digest(index));
                self.fill(&mut new, content, digest)?;
                path = self.path(payload, digest);
                // What was in the image until now has no object yet, but one by the usual name.
                new.payload = path.as_deref();
                new.is_object = path.is_none() && (payload != StoredPayload::None || content.is_some());
            }
        }
        let set = self.set(stored.xattrs);
        let pushed = self.builder.push_inode(&new, set)?;
        self.ids[id.index()] = Some(pushed);
        Ok(pushed)
    }

    /// The time of an inode that had this one, as far as the format version can tell it.
    fn time(&self, kind: Kind, own: Timestamp) -> Timestamp {
        let time = self.policy.times.apply(kind, own);
        let keeps_nanoseconds = self.policy.profile().is_ok_and(|profile| profile.keeps_nanoseconds);
        if keeps_nanoseconds { time } else { Timestamp { nsec: 0, ..time } }
    }

    fn metadata(&self, stored: &StoredInode) -> NewInode<'a> {
        NewInode {
            mode: u32::from(stored.mode),
            size: stored.size,
            nlink: if self.policy.hardlinks { stored.nlink } else { 1 },
            uid: stored.uid,
            gid: stored.gid,
            rdev: stored.rdev,
            mtime: self.time(stored.kind(), stored.mtime()),
            ..NewInode::default()
        }
    }

    /// Gives a regular file, which has this in its tree, its content or its digest.
    fn fill(&self, new: &mut NewInode<'a>, content: Option<&'a [u8]>, digest: Option<Digest>) -> Result<(), NotKnown> {
        let algorithm = self.policy.algorithm;
        if new.size == 0 {
            return Ok(());
        }
        new.content = match self.policy.inline {
            Inline::AsGiven => content,
            Inline::UpTo(max) if new.size <= max => {
                content.or_else(|| self.contents.content(&digest?).filter(|known| known.len() as u64 == new.size))
            }
            Inline::UpTo(_) => None,
        };
        new.digest = match (new.content, digest, content) {
            (Some(_), ..) | (None, None, None) => None,
            (None, Some(digest), _) => {
                Some(self.contents.digest(&digest, algorithm).ok_or(NotKnown::Digest(algorithm))?)
            }
            (None, None, Some(content)) => Some(verity::digest(algorithm, content)),
        };
        Ok(())
    }

    /// A payload that must be spelled: one that is not the path of the file's own object.
    fn path(&self, payload: StoredPayload, digest: Option<Digest>) -> Option<Cow<'a, [u8]>> {
        match payload {
            StoredPayload::None => None,
            StoredPayload::Path(path) => Some(Cow::Borrowed(self.tree.payload_path(path))),
            StoredPayload::Object(index) => {
                let named = self.tree.digest(index);
                (digest != Some(named)).then(|| Cow::Owned(named.object_path().into_bytes()))
            }
        }
    }

    /// The new set of attributes for an old one.
    fn set(&mut self, old: SetId) -> SetId {
        if let Some(known) = self.sets[old.0 as usize] {
            return known;
        }
        let table = self.tree.xattr_table();
        let is_kept =
            |name: &[u8]| self.policy.xattrs.keeps(name) && !(self.policy.transform.drops_labels() && name == SELINUX);
        let kept: Vec<_> = table.iter(old).filter(|xattr| is_kept(xattr.name)).collect();
        let set = self.builder.xattrs().intern_unchecked(&kept);
        self.sets[old.0 as usize] = Some(set);
        set
    }
}

impl XattrPolicy {
    /// Returns whether an attribute of this name is kept.
    pub(crate) fn keeps(self, name: &[u8]) -> bool {
        match self {
            XattrPolicy::All => true,
            XattrPolicy::User => name.starts_with(b"user."),
            XattrPolicy::None => false,
            XattrPolicy::Capability => name == CAPABILITY,
            XattrPolicy::CapabilityAndUser => name == CAPABILITY || name.starts_with(b"user."),
        }
    }
}

impl Times {
    pub(super) fn apply(self, kind: Kind, own: Timestamp) -> Timestamp {
        let zero = Timestamp::default();
        match self {
            Times::Keep => own,
            Times::Zero => zero,
            Times::ZeroDirectories if kind == Kind::Directory => zero,
            Times::KeepDirectories if kind != Kind::Directory => zero,
            Times::ZeroDirectories | Times::KeepDirectories => own,
            Times::ClampTo(latest) => own.min(latest),
        }
    }
}
