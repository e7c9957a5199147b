//! The policies that are worth trying on a tree.
//!
//! These are all combinations that a tool in the field can be asked for, without those that have the same effect on the
//! given tree: without hard links their treatment does not matter. The most probable ones come first: the defaults of
//! the tools, then policies that differ from a default in one field.

use super::equivalence::{self, Choices};
use super::{FileContents, Inline, Policy, Times, Transform, XattrPolicy};
use crate::digest::Algorithm;
use crate::tree::{Timestamp, Tree};

/// A field of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The extended attributes.
    Xattrs,
    /// The times of modification.
    Times,
    /// The hard links.
    Hardlinks,
    /// Contents in the image.
    Inline,
    /// The device nodes.
    Devices,
    /// The root, `/run`, `/boot` and `/sysroot`.
    Transform,
}

impl Choice {
    /// The field's name in the text of a policy.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Choice::Xattrs => "xattrs",
            Choice::Times => "times",
            Choice::Hardlinks => "hardlinks",
            Choice::Inline => "inline",
            Choice::Devices => "devices",
            Choice::Transform => "transform",
        }
    }
}

/// The possible values of each field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    algorithms: Vec<Algorithm>,
    xattrs: Choices<XattrPolicy>,
    times: Choices<Times>,
    hardlinks: Choices<bool>,
    inline: Choices<Inline>,
    devices: Choices<bool>,
    transforms: Choices<Transform>,
    usual_inline: Inline,
}

/// The policies of tools without options.
const HABITS: [Policy; 7] = [
    Policy::MKCOMPOSEFS,
    // ostree, and builds that must be repeatable on another day.
    Policy { times: Times::Zero, ..Policy::MKCOMPOSEFS },
    CFSCTL,
    Policy { xattrs: XattrPolicy::CapabilityAndUser, ..CFSCTL },
    Policy { transform: Transform::ContainerAndBoot, ..CFSCTL },
    // With --no-propagate-usr-to-root.
    Policy { xattrs: XattrPolicy::All, transform: Transform::Nothing, ..CFSCTL },
    Policy { xattrs: XattrPolicy::All, transform: Transform::Boot, ..CFSCTL },
];

const CFSCTL: Policy =
    Policy { xattrs: XattrPolicy::Capability, hardlinks: true, transform: Transform::Container, ..Policy::MKCOMPOSEFS };

impl Space {
    /// Returns the policies that make a difference for a complete tree.
    ///
    /// `limits` are the limits of inline contents to try, the usual one first; `latest` is a possible value of
    /// `SOURCE_DATE_EPOCH`.
    ///
    /// # Panics
    ///
    /// If `limits` is empty.
    #[must_use]
    pub fn of(tree: &Tree, contents: &FileContents, limits: &[Inline], latest: Option<Timestamp>) -> Self {
        Self {
            algorithms: Algorithm::ALL.into_iter().filter(|&algorithm| contents.has_all(tree, algorithm)).collect(),
            xattrs: equivalence::xattrs(tree),
            times: equivalence::times(tree, latest),
            hardlinks: equivalence::hardlinks(tree),
            inline: equivalence::inline(tree, contents, limits),
            devices: equivalence::devices(tree),
            transforms: equivalence::transforms(tree),
            usual_inline: limits[0],
        }
    }

    /// The same with this algorithm only.
    #[must_use]
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithms.retain(|other| *other == algorithm);
        self
    }

    /// The fields in which all choices have the same effect.
    #[must_use]
    pub fn indifferent(&self) -> Vec<Choice> {
        let fields = [
            (Choice::Xattrs, self.xattrs.is_indifferent()),
            (Choice::Times, self.times.is_indifferent()),
            (Choice::Hardlinks, self.hardlinks.is_indifferent()),
            (Choice::Inline, self.inline.is_indifferent()),
            (Choice::Devices, self.devices.is_indifferent()),
            (Choice::Transform, self.transforms.is_indifferent()),
        ];
        fields.into_iter().filter(|(_, is_indifferent)| *is_indifferent).map(|(choice, _)| choice).collect()
    }

    /// Returns `true` if two policies are equal in every field that matters for this tree.
    #[must_use]
    pub fn are_same(&self, a: &Policy, b: &Policy) -> bool {
        (a.version, a.algorithm) == (b.version, b.algorithm) && self.distance(a, b) == 0
    }

    /// The policies that a tool can be brought to, the likeliest first.
    #[must_use]
    pub fn policies(&self) -> Vec<Policy> {
        let mut policies = self.all();
        policies.retain(|policy| self.is_of_mkcomposefs(policy) || self.is_of_cfsctl(policy));
        policies
    }

    /// Every combination, the likeliest first.
    #[must_use]
    pub fn all(&self) -> Vec<Policy> {
        let mut all = vec![Policy::MKCOMPOSEFS];
        spread(&mut all, &[0, 1, 2], |policy, version| policy.version = version);
        spread(&mut all, &self.algorithms, |policy, algorithm| policy.algorithm = algorithm);
        spread(&mut all, &self.xattrs.distinct(), |policy, xattrs| policy.xattrs = xattrs);
        spread(&mut all, &self.times.distinct(), |policy, times| policy.times = times);
        spread(&mut all, &self.hardlinks.distinct(), |policy, hardlinks| policy.hardlinks = hardlinks);
        spread(&mut all, &self.inline.distinct(), |policy, inline| policy.inline = inline);
        spread(&mut all, &self.devices.distinct(), |policy, devices| policy.devices = devices);
        spread(&mut all, &self.transforms.distinct(), |policy, transform| policy.transform = transform);
        let habits = HABITS.map(|habit| Policy { inline: self.usual_inline, ..habit });
        all.sort_by_cached_key(|policy| habits.iter().map(|habit| self.distance(policy, habit)).min());
        all
    }

    /// Returns `true` if `mkcomposefs`, or a program that uses its library, can be asked for the policy. Directories
    /// without times are the result of copies that do not keep them.
    fn is_of_mkcomposefs(&self, policy: &Policy) -> bool {
        let kept = [XattrPolicy::All, XattrPolicy::User, XattrPolicy::None];
        policy.version < 2
            && self.transforms.are_same(policy.transform, Transform::Nothing)
            && kept.iter().any(|&kept| self.xattrs.are_same(policy.xattrs, kept))
    }

    /// Returns `true` if cfsctl can be asked for the policy, or for it without times or with a latest time.
    fn is_of_cfsctl(&self, policy: &Policy) -> bool {
        let filters = [Transform::Root, Transform::Container, Transform::ContainerAndBoot];
        let is_filtered = filters.iter().any(|&filter| self.transforms.are_same(policy.transform, filter));
        let is_kept = self.xattrs.are_same(policy.xattrs, XattrPolicy::All);
        self.hardlinks.are_same(policy.hardlinks, true)
            && self.inline.are_same(policy.inline, self.usual_inline)
            && self.devices.are_same(policy.devices, true)
            && matches!(policy.times, Times::Keep | Times::Zero | Times::ClampTo(_))
            && (is_filtered || is_kept)
    }

    /// In how many fields that matter here two policies differ. Version and algorithm do not count: each tool can have
    /// several.
    fn distance(&self, a: &Policy, b: &Policy) -> usize {
        let same = [
            self.xattrs.are_same(a.xattrs, b.xattrs),
            self.times.are_same(a.times, b.times),
            self.hardlinks.are_same(a.hardlinks, b.hardlinks),
            self.inline.are_same(a.inline, b.inline),
            self.devices.are_same(a.devices, b.devices),
            self.transforms.are_same(a.transform, b.transform),
        ];
        same.into_iter().filter(|same| !same).count()
    }
}

/// Makes of each policy as many as there are choices.
fn spread<T: Copy>(policies: &mut Vec<Policy>, choices: &[T], set: impl Fn(&mut Policy, T)) {
    let choices = || choices.iter().copied();
    let with = |policy: &Policy, choice| {
        let mut policy = *policy;
        set(&mut policy, choice);
        policy
    };
    *policies = policies.iter().flat_map(|policy| choices().map(|choice| with(policy, choice))).collect();
}
