//! The policies that are worth trying on a tree.
//!
//! Every combination of what tools in the field choose, less those that come to the same on this tree: without hard links
//! it does not matter what becomes of them. The likeliest come first: those of a tool as it is, then those that differ
//! from one in a single field.

use super::apply::SELINUX;
use super::{Attributes, Contents, Inline, Policy, Times, Transform};
use crate::digest::Algorithm;
use crate::tree::{Data, Inode, InodeId, Kind, Timestamp, Tree};

/// A field of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Extended attributes.
    Xattrs,
    /// Times of modification.
    Times,
    /// Hard links.
    Hardlinks,
    /// Contents in the image.
    Inline,
    /// Devices.
    Devices,
    /// The root, `/run`, `/boot` and `/sysroot`.
    Transform,
}

/// What there is to choose from, field by field; the first choice of each is that of `mkcomposefs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    versions: Vec<u32>,
    algorithms: Vec<Algorithm>,
    xattrs: Vec<Attributes>,
    times: Vec<Times>,
    hardlinks: Vec<bool>,
    inline: Vec<Inline>,
    devices: Vec<bool>,
    transforms: Vec<Transform>,
}

/// What tools make of a tree when no option asks for something else.
const HABITS: [Policy; 7] = [
    Policy::MKCOMPOSEFS,
    // ostree, and who wants the same image on another day.
    Policy { times: Times::Zero, ..Policy::MKCOMPOSEFS },
    CFSCTL,
    Policy { xattrs: Attributes::CapabilityAndUser, ..CFSCTL },
    Policy { transform: Transform::ContainerAndBoot, ..CFSCTL },
    // With --no-propagate-usr-to-root.
    Policy { xattrs: Attributes::All, transform: Transform::Nothing, ..CFSCTL },
    Policy { xattrs: Attributes::All, transform: Transform::Boot, ..CFSCTL },
];

const CFSCTL: Policy =
    Policy { xattrs: Attributes::Capability, hardlinks: true, transform: Transform::Container, ..Policy::MKCOMPOSEFS };

impl Space {
    /// What makes a difference on a tree of which nothing was left out.
    ///
    /// `inline` are the limits to try, the usual one first; `latest` is a time that `SOURCE_DATE_EPOCH` may have been.
    #[must_use]
    pub fn of(tree: &Tree, contents: &Contents, inline: &[Inline], latest: Option<Timestamp>) -> Self {
        Self {
            versions: vec![0, 1, 2],
            algorithms: Algorithm::ALL.into_iter().filter(|&algorithm| contents.has_all(tree, algorithm)).collect(),
            xattrs: xattrs_of(tree),
            times: times_of(tree, latest),
            hardlinks: both(false, tree.has_links() || tree.inodes().any(|inode| has_other_nlink(&inode))),
            inline: inline_of(tree, contents, inline),
            devices: both(true, tree.inodes().any(|inode| is_device(&inode))),
            transforms: transforms_of(tree),
        }
    }

    /// The same with this algorithm only.
    #[must_use]
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithms.retain(|other| *other == algorithm);
        self
    }

    /// The fields in which nothing is to be chosen, as every choice comes to the same.
    #[must_use]
    pub fn indifferent(&self) -> Vec<Choice> {
        let fields = [
            (Choice::Xattrs, self.xattrs.len()),
            (Choice::Times, self.times.len()),
            (Choice::Hardlinks, self.hardlinks.len()),
            (Choice::Inline, self.inline.len()),
            (Choice::Devices, self.devices.len()),
            (Choice::Transform, self.transforms.len()),
        ];
        fields.into_iter().filter(|(_, choices)| *choices < 2).map(|(choice, _)| choice).collect()
    }

    /// All policies, the likeliest first.
    #[must_use]
    pub fn policies(&self) -> Vec<Policy> {
        let mut all = vec![Policy { inline: self.inline[0], ..Policy::MKCOMPOSEFS }];
        spread(&mut all, &self.versions, |policy, version| policy.version = version);
        spread(&mut all, &self.algorithms, |policy, algorithm| policy.algorithm = algorithm);
        spread(&mut all, &self.xattrs, |policy, xattrs| policy.xattrs = xattrs);
        spread(&mut all, &self.times, |policy, times| policy.times = times);
        spread(&mut all, &self.hardlinks, |policy, hardlinks| policy.hardlinks = hardlinks);
        spread(&mut all, &self.inline, |policy, inline| policy.inline = inline);
        spread(&mut all, &self.devices, |policy, devices| policy.devices = devices);
        spread(&mut all, &self.transforms, |policy, transform| policy.transform = transform);
        all.sort_by_key(|policy| HABITS.iter().map(|habit| self.distance(policy, habit)).min());
        all
    }

    /// In how many fields that matter here a policy differs from a habit. Version and algorithm do not count: each tool can
    /// have several.
    fn distance(&self, policy: &Policy, habit: &Policy) -> usize {
        let differ = [
            self.xattrs.len() > 1 && policy.xattrs != habit.xattrs,
            self.times.len() > 1 && policy.times != habit.times,
            self.hardlinks.len() > 1 && policy.hardlinks != habit.hardlinks,
            policy.inline != self.inline[0],
            self.devices.len() > 1 && policy.devices != habit.devices,
            self.transforms.len() > 1 && policy.transform != habit.transform,
        ];
        differ.into_iter().filter(|differs| *differs).count()
    }
}

/// Makes of each policy as many as there are choices.
fn spread<T: Copy>(policies: &mut Vec<Policy>, choices: &[T], set: impl Fn(&mut Policy, T)) {
    let each = |policy: &Policy| {
        let mut policy = *policy;
        let set = &set;
        choices.iter().map(move |&choice| {
            set(&mut policy, choice);
            policy
        })
    };
    *policies = policies.iter().flat_map(each).collect();
}

fn both(first: bool, is_there: bool) -> Vec<bool> {
    if is_there { vec![first, !first] } else { vec![first] }
}

/// The choices that differ in what they keep of the names there are.
fn xattrs_of(tree: &Tree) -> Vec<Attributes> {
    const CHOICES: [Attributes; 5] =
        [Attributes::All, Attributes::User, Attributes::None, Attributes::Capability, Attributes::CapabilityAndUser];
    distinct(&CHOICES, |choice| xattr_names(tree).map(|name| choice.keeps(name)).collect::<Vec<_>>())
}

fn xattr_names(tree: &Tree) -> impl Iterator<Item = &[u8]> {
    let table = tree.xattr_table();
    (0..table.pair_count() as u32).map(|pair| table.pair(pair).name)
}

/// Of some choices the first of each effect.
fn distinct<T: Copy, E: PartialEq>(choices: &[T], effect: impl Fn(T) -> E) -> Vec<T> {
    let mut kept: Vec<(T, E)> = Vec::new();
    for &choice in choices {
        let effect = effect(choice);
        if kept.iter().all(|(_, other)| *other != effect) {
            kept.push((choice, effect));
        }
    }
    kept.into_iter().map(|(choice, _)| choice).collect()
}

fn times_of(tree: &Tree, latest: Option<Timestamp>) -> Vec<Times> {
    let is_dated = |inode: &Inode<'_>| inode.mtime() != Timestamp::default();
    let directories = tree.inodes().any(|inode| inode.kind() == Kind::Directory && is_dated(&inode));
    let others = tree.inodes().any(|inode| inode.kind() != Kind::Directory && is_dated(&inode));
    let mut choices = vec![Times::Keep];
    if directories || others {
        choices.push(Times::Zero);
    }
    if directories && others {
        choices.extend([Times::ZeroDirectories, Times::KeepDirectories]);
    }
    let clamps = latest.filter(|&latest| tree.inodes().any(|inode| inode.mtime() > latest));
    choices.extend(clamps.map(Times::ClampTo));
    choices
}

fn has_other_nlink(inode: &Inode<'_>) -> bool {
    inode.kind() != Kind::Directory && inode.nlink() != 1
}

/// The limits that differ in what they put into the image.
fn inline_of(tree: &Tree, contents: &Contents, limits: &[Inline]) -> Vec<Inline> {
    let inside = |limit| tree.inodes().map(|inode| is_inside(&inode, contents, limit)).collect::<Vec<_>>();
    distinct(limits, inside)
}

fn is_inside(inode: &Inode<'_>, contents: &Contents, limit: Inline) -> bool {
    let Data::Regular { content, digest, .. } = inode.data() else { return false };
    match limit {
        Inline::AsGiven => content.is_some(),
        Inline::UpTo(max) => {
            let known = || content.is_some() || digest.is_some_and(|digest| contents.content(&digest).is_some());
            inode.size() <= max && known()
        }
    }
}

/// The transforms that can be done and that differ in what they do.
fn transforms_of(tree: &Tree) -> Vec<Transform> {
    let usr = directory(tree, "usr");
    let can = |transform: Transform| {
        usr.is_some()
            && transform.emptied().iter().all(|(name, must)| match tree.child(InodeId::ROOT, name.as_bytes()) {
                Some(_) => directory(tree, name).is_some(),
                None => !must,
            })
    };
    let is_other_root = usr.is_some_and(|usr| metadata_differs(tree, usr));
    let has_labels = xattr_names(tree).any(|name| name == SELINUX);
    let effect = |transform: Transform| {
        let emptied: Vec<_> = transform.emptied().iter().filter(|(name, _)| directory(tree, name).is_some()).collect();
        (transform.copies_root() && is_other_root, transform.drops_labels() && has_labels, emptied)
    };
    const CHOICES: [Transform; 5] =
        [Transform::Nothing, Transform::Container, Transform::Root, Transform::ContainerAndBoot, Transform::Boot];
    let possible: Vec<_> = CHOICES.into_iter().filter(|&choice| choice == Transform::Nothing || can(choice)).collect();
    distinct(&possible, effect)
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

fn is_device(inode: &Inode<'_>) -> bool {
    matches!(inode.kind(), Kind::CharDevice | Kind::BlockDevice)
}
