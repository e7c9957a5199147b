//! Groups choices by their effect on a tree: of two with the same effect only one is tried.

use std::fmt::Debug;

use super::{FileContents, Inline, Times, Transform, XattrPolicy};
use crate::tree::{Data, Inode, InodeId, Kind, Timestamp, Tree};

/// The choices for one field, each with the number of what it does to the tree at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choices<T> {
    all: Vec<(T, usize)>,
}

impl<T: Copy + PartialEq> Choices<T> {
    /// Numbers the choices by their effect.
    pub(super) fn by<E: PartialEq>(choices: &[T], effect: impl Fn(T) -> E) -> Self {
        let mut effects: Vec<E> = Vec::new();
        let number = |&choice: &T| {
            let effect = effect(choice);
            let known = effects.iter().position(|other| *other == effect);
            let number = known.unwrap_or_else(|| {
                effects.push(effect);
                effects.len() - 1
            });
            (choice, number)
        };
        Self { all: choices.iter().map(number).collect() }
    }

    /// The first choice of each effect.
    pub(super) fn distinct(&self) -> Vec<T> {
        let mut next = 0;
        let first = |(choice, number): &(T, usize)| {
            let is_first = *number == next;
            next += usize::from(is_first);
            is_first.then_some(*choice)
        };
        self.all.iter().filter_map(first).collect()
    }

    /// Returns `true` if all choices have the same effect.
    pub(super) fn is_indifferent(&self) -> bool {
        self.all.iter().all(|(_, number)| *number == 0)
    }

    /// Returns `true` if two choices have the same effect. A choice that cannot be made only equals itself.
    pub(super) fn are_same(&self, a: T, b: T) -> bool {
        let number = |choice| self.all.iter().find(|(other, _)| *other == choice).map(|(_, number)| *number);
        a == b || number(a).is_some() && number(a) == number(b)
    }
}

pub(super) fn xattrs(tree: &Tree) -> Choices<XattrPolicy> {
    const CHOICES: [XattrPolicy; 5] = [
        XattrPolicy::All,
        XattrPolicy::User,
        XattrPolicy::None,
        XattrPolicy::Capability,
        XattrPolicy::CapabilityAndUser,
    ];
    Choices::by(&CHOICES, |choice| xattr_names(tree).map(|name| choice.keeps(name)).collect::<Vec<_>>())
}

fn xattr_names(tree: &Tree) -> impl Iterator<Item = &[u8]> {
    let table = tree.xattr_table();
    (0..table.pair_count() as u32).map(|pair| table.pair(pair).name)
}

/// `latest` is a time that `SOURCE_DATE_EPOCH` may have been.
pub(super) fn times(tree: &Tree, latest: Option<Timestamp>) -> Choices<Times> {
    let choices: Vec<_> = [Times::Keep, Times::Zero, Times::ZeroDirectories, Times::KeepDirectories]
        .into_iter()
        .chain(latest.map(Times::ClampTo))
        .collect();
    let has =
        |is: fn(&Inode<'_>) -> bool| tree.inodes().any(|inode| inode.mtime() != Timestamp::default() && is(&inode));
    let directories = has(|inode| inode.kind() == Kind::Directory);
    let others = has(|inode| inode.kind() != Kind::Directory);
    let clamps = latest.is_some_and(|latest| tree.inodes().any(|inode| inode.mtime() > latest));
    // Groups the limits by which of the times that are not 0 become 0, and by whether other times change.
    Choices::by(&choices, |choice| match choice {
        Times::Keep => (false, false, false),
        Times::Zero => (directories, others, false),
        Times::ZeroDirectories => (directories, false, false),
        Times::KeepDirectories => (false, others, false),
        Times::ClampTo(_) => (false, false, clamps),
    })
}

pub(super) fn hardlinks(tree: &Tree) -> Choices<bool> {
    let is_linked = |inode: &Inode<'_>| inode.kind() != Kind::Directory && inode.nlink() != 1;
    let differs = tree.has_links() || tree.inodes().any(|inode| is_linked(&inode));
    Choices::by(&[false, true], |keeps| keeps && differs)
}

pub(super) fn devices(tree: &Tree) -> Choices<bool> {
    let is_device = |inode: Inode<'_>| matches!(inode.kind(), Kind::CharDevice | Kind::BlockDevice);
    let differs = tree.inodes().any(is_device);
    Choices::by(&[true, false], |keeps| !keeps && differs)
}

/// The limits differ if they put other files into the image.
pub(super) fn inline(tree: &Tree, contents: &FileContents, limits: &[Inline]) -> Choices<Inline> {
    let are_inside = |limit| tree.inodes().map(|inode| is_inside(&inode, contents, limit)).collect::<Vec<_>>();
    Choices::by(limits, are_inside)
}

fn is_inside(inode: &Inode<'_>, contents: &FileContents, limit: Inline) -> bool {
    let Data::Regular { content, digest, .. } = inode.data() else { return false };
    match limit {
        Inline::AsGiven => content.is_some(),
        Inline::UpTo(max) => {
            let known = || content.is_some() || digest.is_some_and(|digest| contents.content(&digest).is_some());
            inode.size() <= max && known()
        }
    }
}

/// The transforms that can be done. Those that drop labels empty directories, so they are unlike all others anyway.
pub(super) fn transforms(tree: &Tree) -> Choices<Transform> {
    let usr = directory(tree, "usr");
    let can = |transform: Transform| {
        usr.is_some()
            && transform.emptied().iter().all(|(name, must)| match tree.child(InodeId::ROOT, name.as_bytes()) {
                Some(_) => directory(tree, name).is_some(),
                None => !must,
            })
    };
    let is_other_root = usr.is_some_and(|usr| metadata_differs(tree, usr));
    let effect = |transform: Transform| {
        let emptied: Vec<_> = transform.emptied().iter().filter(|(name, _)| directory(tree, name).is_some()).collect();
        (transform.copies_root() && is_other_root, emptied)
    };
    const CHOICES: [Transform; 5] =
        [Transform::Nothing, Transform::Container, Transform::Root, Transform::ContainerAndBoot, Transform::Boot];
    let possible: Vec<_> = CHOICES.into_iter().filter(|&choice| choice == Transform::Nothing || can(choice)).collect();
    Choices::by(&possible, effect)
}

/// The directory of this name in the root.
fn directory(tree: &Tree, name: &str) -> Option<InodeId> {
    let entry = tree.child(InodeId::ROOT, name.as_bytes())?;
    (tree.inode(entry.inode).kind() == Kind::Directory).then_some(entry.inode)
}

fn metadata_differs(tree: &Tree, usr: InodeId) -> bool {
    let of = |inode: &Inode<'_>| (inode.mode(), inode.uid(), inode.gid(), inode.mtime());
    let (usr, root) = (tree.inode(usr), tree.inode(InodeId::ROOT));
    of(&usr) != of(&root) || !usr.xattrs().eq(root.xattrs())
}
