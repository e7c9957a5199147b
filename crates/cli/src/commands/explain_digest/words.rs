//! Describes policies and their fields.

use libcomposefs_image::Algorithm;
use libcomposefs_image::policy::{Choice, Inline, Policy, Space, Times, Transform, XattrPolicy};
use libcomposefs_oci::layer::WhiteoutRule;

/// Describes a policy, one line for each choice that matters for the tree.
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
    add(Choice::Hardlinks, if policy.hardlinks { "hard links kept" } else { "one inode per name" }.to_owned());
    add(Choice::Inline, inline(policy.inline));
    add(Choice::Devices, if policy.devices { "devices kept" } else { "devices left out" }.to_owned());
    add(Choice::Transform, transform(policy.transform).to_owned());
    lines
}

fn xattrs(choice: XattrPolicy) -> &'static str {
    match choice {
        XattrPolicy::All => "all xattrs",
        XattrPolicy::User => "user.* xattrs only",
        XattrPolicy::None => "no xattrs",
        XattrPolicy::Capability => "security.capability xattrs only",
        XattrPolicy::CapabilityAndUser => "security.capability and user.* xattrs only",
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
        Inline::AsGiven => "contents stored in the image as in the source".to_owned(),
        Inline::UpTo(0) => "no contents stored in the image".to_owned(),
        Inline::UpTo(max) => format!("contents of up to {max} bytes stored in the image"),
    }
}

fn transform(choice: Transform) -> &'static str {
    match choice {
        Transform::Nothing => "root, /run, /boot and /sysroot unchanged",
        Transform::Root => "root with the metadata of /usr",
        Transform::Container => "root with the metadata of /usr, /run empty with the mtime of /usr",
        Transform::Boot => "/boot and /sysroot empty with the mtime of /usr, no security.selinux xattrs",
        Transform::ContainerAndBoot => {
            "root with the metadata of /usr; /run, /boot and /sysroot empty with its mtime; no security.selinux xattrs"
        }
    }
}

/// Describes the effect of whiteouts.
pub(super) fn whiteouts(rule: WhiteoutRule) -> &'static str {
    match rule {
        WhiteoutRule::LowerLayers => "whiteouts hide lower layers only, as the OCI specification says",
        _ => "whiteouts remove earlier entries of their own layer too, as in cfsctl",
    }
}

/// Returns a field with the reason why its choice does not matter.
pub(super) fn why_indifferent(choice: Choice) -> &'static str {
    match choice {
        Choice::Xattrs => "xattrs (the tree has no xattrs)",
        Choice::Times => "times (all are 0)",
        Choice::Hardlinks => "hard links (the tree has no hard links)",
        Choice::Inline => "contents in the image (no file is small enough)",
        Choice::Devices => "devices (the tree has no devices)",
        Choice::Transform => "root, /run, /boot, /sysroot (there is nothing to change)",
    }
}
