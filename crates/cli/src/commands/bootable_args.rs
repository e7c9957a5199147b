//! Options of the commands that make bootable images.

use libcomposefs_image::Algorithm;
use libcomposefs_image::policy::{Inline, Policy, Transform, XattrPolicy};

/// Options of a bootable image.
#[derive(clap::Args)]
pub(in crate::commands) struct BootableArgs {
    /// Make the image that bootc and `cfsctl --bootable` make: the root is like /usr; /run, /boot and /sysroot are
    /// empty; the SELinux labels are those of the policy in the tree
    #[arg(long)]
    pub(in crate::commands) bootable: bool,
    /// Extended attributes that a bootable image keeps: security.capability alone, or user.* too
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = KeptXattrs::AllowlistOnly, requires = "bootable")]
    xattrs: KeptXattrs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum KeptXattrs {
    /// Only security.capability
    AllowlistOnly,
    /// security.capability and user.*
    KeepUserXattrs,
}

impl BootableArgs {
    /// Returns the choices by which the image is made.
    pub(in crate::commands) fn policy(&self, version: u32, algorithm: Algorithm, inline: Inline) -> Policy {
        let xattrs = match self.xattrs {
            KeptXattrs::AllowlistOnly => XattrPolicy::Capability,
            KeptXattrs::KeepUserXattrs => XattrPolicy::CapabilityAndUser,
        };
        bootable_policy(xattrs, version, algorithm, inline)
    }
}

/// Returns the choices by which cfsctl and bootc make a bootable image.
pub(in crate::commands) fn bootable_policy(
    xattrs: XattrPolicy,
    version: u32,
    algorithm: Algorithm,
    inline: Inline,
) -> Policy {
    let transform = Transform::ContainerAndBoot;
    Policy { version, algorithm, xattrs, hardlinks: true, inline, transform, ..Policy::MKCOMPOSEFS }
}
