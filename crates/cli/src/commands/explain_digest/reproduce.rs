//! The command lines that do what a policy says.

use std::path::Path;

use composefs_image::Algorithm;
use composefs_image::policy::{Attributes, Choice, Inline, Policy, Times, Transform};

use super::known::{Known, SourceKind};

/// A command line, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) tool: &'static str,
    pub(super) line: String,
}

/// The inline limit that is not a choice in any of the tools but ours.
const USUAL_INLINE: Inline = Inline::UpTo(64);

/// The fields that matter here, and those that do not.
pub(super) struct Reproduce<'a> {
    pub(super) source: &'a Path,
    pub(super) known: &'a Known,
    pub(super) indifferent: &'a [Choice],
}

impl Reproduce<'_> {
    /// Every command line that gives the digest of a policy; the last one is always ours.
    pub(super) fn commands(&self, policy: &Policy) -> Vec<Command> {
        let mut commands = Vec::new();
        if let Some(options) = self.mkcomposefs(policy) {
            let is_ours = options.iter().any(|option| {
                ["--hardlinks", "--algorithm", "--inline-max", "--source-date-epoch"]
                    .iter()
                    .any(|o| option.starts_with(o))
            });
            let tool = if is_ours { "mkcomposefs of this project" } else { "mkcomposefs, also that of the C tools" };
            commands.push(Command { tool, line: self.line("mkcomposefs --print-digest-only", &options) });
        }
        if let Some(options) = self.cfsctl(policy) {
            commands.push(Command { tool: "cfsctl", line: self.line("cfsctl --no-repo", &options) });
        }
        let line = format!("composefs explain-digest --policy={policy} {}", quoted(self.source));
        commands.push(Command { tool: "this program", line });
        commands
    }

    fn line(&self, program: &str, options: &[String]) -> String {
        let words = [program.to_owned()].into_iter().chain(options.iter().cloned()).chain([quoted(self.source)]);
        words.collect::<Vec<_>>().join(" ")
    }

    /// Whether a field is as wished, or it does not matter.
    fn is(&self, choice: Choice, is: bool) -> bool {
        is || self.indifferent.contains(&choice)
    }

    fn mkcomposefs(&self, policy: &Policy) -> Option<Vec<String>> {
        if self.known.kind == SourceKind::Image {
            return None;
        }
        let mut options = Vec::new();
        let mut add = |option: &str| options.push(option.to_owned());
        match policy.version {
            0 if self.known.tree.has_whiteout() => add("--min-version=0"),
            1 if !self.known.tree.has_whiteout() => add("--min-version=1"),
            0 | 1 => {}
            _ => return None,
        }
        if policy.algorithm == Algorithm::Sha512 {
            add("--algorithm=sha512");
        }
        if self.known.kind == SourceKind::Dump {
            add("--from-file");
            return self.is_as_given(policy).then_some(options);
        }
        match policy.xattrs {
            _ if self.is(Choice::Xattrs, policy.xattrs == Attributes::All) => {}
            Attributes::User => add("--user-xattrs"),
            Attributes::None => add("--skip-xattrs"),
            _ => return None,
        }
        match policy.times {
            _ if self.is(Choice::Times, policy.times == Times::Keep) => {}
            Times::Zero => add("--use-epoch"),
            Times::ClampTo(latest) => add(&format!("--source-date-epoch={}", latest.sec)),
            _ => return None,
        }
        if !self.is(Choice::Hardlinks, !policy.hardlinks) {
            add("--hardlinks");
        }
        match policy.inline {
            _ if self.is(Choice::Inline, policy.inline == USUAL_INLINE) => {}
            Inline::UpTo(max) => add(&format!("--inline-max={max}")),
            Inline::AsGiven => return None,
        }
        if !self.is(Choice::Devices, policy.devices) {
            add("--skip-devices");
        }
        self.is(Choice::Transform, policy.transform == Transform::Nothing).then_some(options)
    }

    /// Whether a policy leaves a tree that was read from text as it is.
    fn is_as_given(&self, policy: &Policy) -> bool {
        self.is(Choice::Xattrs, policy.xattrs == Attributes::All)
            && self.is(Choice::Times, policy.times == Times::Keep)
            && self.is(Choice::Hardlinks, policy.hardlinks)
            && self.is(Choice::Inline, policy.inline == Inline::AsGiven)
            && self.is(Choice::Devices, policy.devices)
            && self.is(Choice::Transform, policy.transform == Transform::Nothing)
    }

    fn cfsctl(&self, policy: &Policy) -> Option<Vec<String>> {
        let fits = self.known.kind == SourceKind::Directory
            && self.is(Choice::Times, policy.times == Times::Keep)
            && self.is(Choice::Hardlinks, policy.hardlinks)
            && self.is(Choice::Inline, policy.inline == USUAL_INLINE)
            && self.is(Choice::Devices, policy.devices);
        if !fits {
            return None;
        }
        let mut options = vec![
            format!("--hash {}", policy.algorithm),
            format!("--erofs-version {}", policy.version),
            "compute-id".to_owned(),
        ];
        let is_xattrs = |wanted| self.is(Choice::Xattrs, policy.xattrs == wanted);
        let (whole, boot) = match policy.transform {
            Transform::Nothing => (true, false),
            Transform::Boot => (true, true),
            Transform::Container => (false, false),
            Transform::ContainerAndBoot => (false, true),
            Transform::Root => return None,
        };
        if boot {
            options.push("--bootable".to_owned());
        }
        if whole && is_xattrs(Attributes::All) {
            options.push("--no-propagate-usr-to-root".to_owned());
        } else if whole && !self.indifferent.contains(&Choice::Transform) {
            return None;
        } else if is_xattrs(Attributes::CapabilityAndUser) && !is_xattrs(Attributes::Capability) {
            options.push("--xattrs keep-user-xattrs".to_owned());
        } else if !is_xattrs(Attributes::Capability) {
            return None;
        }
        Some(options)
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
