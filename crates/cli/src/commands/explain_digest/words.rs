//! Policies and fields of them in words.

use libcomposefs_image::Algorithm;
use libcomposefs_image::policy::{Attributes, Choice, Inline, Policy, Space, Times, Transform};

/// What a policy does, a line for each choice that matters on the tree at hand.
pub(super) fn describe(policy: &Policy, space: &Space) -> Vec<String> {
    let algorithm = match policy.algorithm {
        Algorithm::Sha256 => "SHA-256",
        Algorithm::Sha512 => "SHA-512",
    };
    let mut lines = vec![format!("format version {}, digests of {algorithm}", policy.version)];
    let indifferent = space.indifferent();
    let mut add = |choice, line: String| {
        if !indifferent.contains(&choice) {
            lines.push(line);
        }
    };
    add(Choice::Xattrs, xattrs(policy.xattrs).to_owned());
    add(Choice::Times, times(policy.times));
    add(Choice::Hardlinks, if policy.hardlinks { "hard links kept" } else { "an inode for each name" }.to_owned());
    add(Choice::Inline, inline(policy.inline));
    add(Choice::Devices, if policy.devices { "devices kept" } else { "devices left out" }.to_owned());
    add(Choice::Transform, transform(policy.transform).to_owned());
    lines
}

fn xattrs(choice: Attributes) -> &'static str {
    match choice {
        Attributes::All => "all extended attributes",
        Attributes::User => "extended attributes of user. only",
        Attributes::None => "no extended attributes",
        Attributes::Capability => "of the extended attributes only security.capability",
        Attributes::CapabilityAndUser => "of the extended attributes only security.capability and those of user.",
    }
}

fn times(choice: Times) -> String {
    match choice {
        Times::Keep => "times kept".to_owned(),
        Times::Zero => "all times 0".to_owned(),
        Times::ZeroDirectories => "times of directories 0, others kept".to_owned(),
        Times::KeepDirectories => "times of directories kept, others 0".to_owned(),
        Times::ClampTo(latest) => format!("no time later than {} (SOURCE_DATE_EPOCH)", latest.sec),
    }
}

fn inline(choice: Inline) -> String {
    match choice {
        Inline::AsGiven => "contents in the image as the source has them".to_owned(),
        Inline::UpTo(0) => "no content in the image".to_owned(),
        Inline::UpTo(max) => format!("contents of up to {max} bytes in the image"),
    }
}

fn transform(choice: Transform) -> &'static str {
    match choice {
        Transform::Nothing => "root and /run, /boot, /sysroot as they are",
        Transform::Root => "the root with the metadata of /usr",
        Transform::Container => "the root with the metadata of /usr, /run empty with its time",
        Transform::Boot => "/boot and /sysroot empty with the time of /usr, no security.selinux",
        Transform::ContainerAndBoot => {
            "the root with the metadata of /usr; /run, /boot and /sysroot empty with its time; no security.selinux"
        }
    }
}

/// Why it does not matter what is chosen in a field.
pub(super) fn why_indifferent(choice: Choice) -> &'static str {
    match choice {
        Choice::Xattrs => "extended attributes (there are none)",
        Choice::Times => "times (all are 0)",
        Choice::Hardlinks => "hard links (there are none)",
        Choice::Inline => "contents in the image (no file is so small)",
        Choice::Devices => "devices (there are none)",
        Choice::Transform => "root, /run, /boot, /sysroot (there is nothing to change)",
    }
}
