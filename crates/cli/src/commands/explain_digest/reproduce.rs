//! Builds the command lines that implement a policy.

use std::path::Path;

use libcomposefs_image::Algorithm;
use libcomposefs_image::policy::{Inline, Policy, Space, Times, Transform, XattrPolicy};
use libcomposefs_image::tree::Tree;
use libcomposefs_oci::layer::WhiteoutRule;

use crate::input::InputKind;
use crate::inspect::names::shell_word;

/// A command line, and the program that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ToolCommand {
    pub(super) tool: &'static str,
    pub(super) line: String,
}

/// Properties of the source that command lines depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reproduce<'a> {
    pub(super) source: &'a Path,
    /// Words by which this program reads the source.
    pub(super) words: &'a str,
    /// The effect of whiteouts, if it makes a difference.
    pub(super) whiteouts: Option<WhiteoutRule>,
    pub(super) form: InputKind,
    pub(super) tree: &'a Tree,
    pub(super) space: &'a Space,
}

/// Combinations of options of cfsctl, other than version and algorithm.
const CFSCTL: [(&str, XattrPolicy, Transform); 6] = [
    ("", XattrPolicy::Capability, Transform::Container),
    (" --xattrs keep-user-xattrs", XattrPolicy::CapabilityAndUser, Transform::Container),
    (" --bootable", XattrPolicy::Capability, Transform::ContainerAndBoot),
    (" --bootable --xattrs keep-user-xattrs", XattrPolicy::CapabilityAndUser, Transform::ContainerAndBoot),
    (" --no-propagate-usr-to-root", XattrPolicy::All, Transform::Nothing),
    (" --bootable --no-propagate-usr-to-root", XattrPolicy::All, Transform::Boot),
];

/// Options of `mkcomposefs` that the C tools lack.
const OURS: [&str; 4] = ["--algorithm", "--source-date-epoch", "--hardlinks", "--inline-max"];

impl Reproduce<'_> {
    /// Returns every command line that gives the digest of a policy; the last one is for this program.
    pub(super) fn commands(&self, policy: &Policy) -> Vec<ToolCommand> {
        let source = shell_word(self.source);
        let mkcomposefs = self.mkcomposefs(policy).map(|options| {
            let is_ours = OURS.iter().any(|ours| options.iter().any(|option| option.starts_with(ours)));
            let tool =
                if is_ours { "mkcomposefs of this project only" } else { "mkcomposefs, also that of the C tools" };
            let words = ["mkcomposefs".to_owned(), "--print-digest-only".to_owned()].into_iter().chain(options);
            ToolCommand { tool, line: self.piped(&words.collect::<Vec<_>>().join(" "), &source) }
        });
        let cfsctl = self.cfsctl(policy).map(|options| {
            let Policy { version, algorithm, .. } = policy;
            let line =
                format!("cfsctl --no-repo --hash {algorithm} --erofs-version {version} compute-id{options} {source}");
            ToolCommand { tool: "cfsctl", line }
        });
        let line = format!("composefs explain-digest --policy={policy} {}", self.words);
        let oci = self.oci_digest(policy).map(|line| ToolCommand { tool: "this program, from the layers", line });
        mkcomposefs.into_iter().chain(cfsctl).chain(oci).chain([ToolCommand { tool: "this program", line }]).collect()
    }

    /// Adapts a command that reads a dump to a source that is an image.
    fn piped(&self, command: &str, source: &str) -> String {
        match self.form {
            InputKind::Image => format!("composefs-info dump {source} | {command} -"),
            InputKind::Directory | InputKind::Dump | InputKind::Source => format!("{command} {source}"),
        }
    }

    /// Returns true if a change of the policy has no effect on this tree.
    fn is(&self, policy: &Policy, change: impl Fn(&mut Policy)) -> bool {
        let mut changed = *policy;
        change(&mut changed);
        self.space.are_same(policy, &changed)
    }

    /// Returns the line that computes the digest from the layers of an OCI image outside a repository.
    fn oci_digest(&self, policy: &Policy) -> Option<String> {
        if self.form != InputKind::Source || policy.version == 0 {
            return None;
        }
        let choices = [
            ("", XattrPolicy::Capability, Transform::Container),
            (" --xattrs=keep-user-xattrs", XattrPolicy::CapabilityAndUser, Transform::Container),
            (" --bootable", XattrPolicy::Capability, Transform::ContainerAndBoot),
            (" --bootable --xattrs=keep-user-xattrs", XattrPolicy::CapabilityAndUser, Transform::ContainerAndBoot),
        ];
        let (xattrs, ..) = choices.into_iter().find(|(_, xattrs, transform)| {
            self.is(policy, |policy| {
                let Policy { version, algorithm, .. } = *policy;
                let (xattrs, transform) = (*xattrs, *transform);
                let inline = Inline::UpTo(64);
                *policy =
                    Policy { version, algorithm, xattrs, transform, hardlinks: true, inline, ..Policy::MKCOMPOSEFS };
            })
        })?;
        let version = if policy.version == 2 { " --version=2" } else { "" };
        let whiteouts = if self.whiteouts == Some(WhiteoutRule::LowerLayers) { " --whiteouts=spec" } else { "" };
        let Policy { algorithm, .. } = policy;
        Some(format!("composefs oci digest --algorithm={algorithm}{version}{xattrs}{whiteouts} {}", self.words))
    }

    fn mkcomposefs(&self, policy: &Policy) -> Option<Vec<String>> {
        if self.form == InputKind::Source {
            return None;
        }
        let mut options = Vec::new();
        // Whiteouts are devices: without devices, the version is that of a tree without whiteouts.
        match (policy.version, self.tree.has_whiteout() && policy.devices) {
            (0, true) => options.push("--min-version=0".to_owned()),
            (1, false) => options.push("--min-version=1".to_owned()),
            (0 | 1, _) => {}
            _ => return None,
        }
        if policy.algorithm == Algorithm::Sha512 {
            options.push("--algorithm=sha512".to_owned());
        }
        if !self.is(policy, |policy| policy.transform = Transform::Nothing) {
            return None;
        }
        if self.form == InputKind::Directory {
            options.extend(self.of_directory(policy)?);
            return Some(options);
        }
        options.push("--from-file".to_owned());
        let as_given = Policy { inline: Inline::AsGiven, hardlinks: true, ..Policy::MKCOMPOSEFS };
        let Policy { version, algorithm, .. } = *policy;
        self.space.are_same(policy, &Policy { version, algorithm, ..as_given }).then_some(options)
    }

    /// Returns the options that implement a policy for a directory; `None` if no options do.
    fn of_directory(&self, policy: &Policy) -> Option<Vec<String>> {
        let mut options = Vec::new();
        let mut add = |option: &str| options.push(option.to_owned());
        let kept = [(XattrPolicy::All, ""), (XattrPolicy::User, "--user-xattrs"), (XattrPolicy::None, "--skip-xattrs")];
        let kept = kept.into_iter().find(|(xattrs, _)| self.is(policy, |policy| policy.xattrs = *xattrs));
        add(kept?.1);
        let times = [(Times::Keep, ""), (Times::Zero, "--use-epoch")];
        match (times.into_iter().find(|(times, _)| self.is(policy, |policy| policy.times = *times)), policy.times) {
            (Some((_, option)), _) => add(option),
            (None, Times::ClampTo(latest)) => add(&format!("--source-date-epoch={}", latest.sec)),
            (None, _) => return None,
        }
        if !self.is(policy, |policy| policy.hardlinks = false) {
            add("--hardlinks");
        }
        match policy.inline {
            _ if self.is(policy, |policy| policy.inline = Inline::UpTo(64)) => {}
            Inline::UpTo(max) => add(&format!("--inline-max={max}")),
            Inline::AsGiven => return None,
        }
        if !self.is(policy, |policy| policy.devices = true) {
            add("--skip-devices");
        }
        options.retain(|option| !option.is_empty());
        Some(options)
    }

    fn cfsctl(&self, policy: &Policy) -> Option<&'static str> {
        let is_usual = self.form == InputKind::Directory
            && self.is(policy, |policy| {
                (policy.times, policy.hardlinks, policy.inline, policy.devices) =
                    (Times::Keep, true, Inline::UpTo(64), true);
            });
        let does = |&(_, xattrs, transform): &(&str, XattrPolicy, Transform)| {
            self.is(policy, |policy| (policy.xattrs, policy.transform) = (xattrs, transform))
        };
        CFSCTL.iter().filter(|_| is_usual).find(|choice| does(choice)).map(|(options, ..)| *options)
    }
}
