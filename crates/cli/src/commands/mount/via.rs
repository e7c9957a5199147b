//! The ways to mount: by the kernel, or in user space.

use anyhow::{bail, ensure};
use libcomposefs_fuse::may_mount;
use libcomposefs_mount::{Plan, Verity};
use libcomposefs_sys::user_namespace;

use super::MountArgs;

/// A way to mount, as the option `--via` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Via {
    /// The kernel if it lets this user mount an image, else user space
    #[default]
    Auto,
    /// EROFS and overlayfs of the kernel
    Kernel,
    /// A server in user space, for everything
    Fuse,
}

/// A way that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChosenWay {
    Kernel,
    Fuse,
}

/// Who compares the contents of files with their digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MountVerifier {
    Kernel,
    /// The kernel, for files whose digest the image records.
    KernelInPart,
    /// The kernel if it can; else contents are not verified.
    KernelIfSupported,
    Server,
    Unverified,
}

impl ChosenWay {
    /// Chooses the way. What only the kernel can do is left to it.
    pub(super) fn choose(args: &MountArgs, plan: &Plan) -> anyhow::Result<Self> {
        let options = plan.options();
        let needs_kernel = if args.image_only {
            Some("--image-only")
        } else if args.print_spec {
            Some("--print-spec")
        } else if options.idmap.is_some() {
            Some("idmap=")
        } else if options.upper.is_some() {
            Some("upperdir=")
        } else {
            None
        };
        let way = match args.via {
            Via::Kernel => Self::Kernel,
            Via::Fuse => {
                if let Some(option) = needs_kernel {
                    bail!("{option} cannot be used with --via=fuse: it needs the kernel's mount (--via=kernel)");
                }
                Self::Fuse
            }
            Via::Auto if needs_kernel.is_some() => Self::Kernel,
            Via::Auto => Self::of_caller(),
        };
        ensure!(
            way == Self::Fuse || !args.insecure,
            "--insecure is for --via=fuse: the kernel's mount verifies files only if -o verity asks for it"
        );
        Ok(way)
    }

    /// Returns the way that this user takes if nothing else is said. In a user namespace the kernel mounts no EROFS,
    /// not even for its root.
    pub(crate) fn of_caller() -> Self {
        if may_mount() && user_namespace::is_in_one() != Some(true) { Self::Kernel } else { Self::Fuse }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Fuse => "fuse",
        }
    }

    /// Returns who verifies the contents of files on the planned mount.
    pub(super) fn verified_by(self, args: &MountArgs, plan: &Plan) -> MountVerifier {
        match self {
            Self::Fuse if args.insecure => MountVerifier::Unverified,
            Self::Fuse => MountVerifier::Server,
            Self::Kernel if args.image_only => MountVerifier::Unverified,
            Self::Kernel => match plan.options().verity() {
                Verity::Require => MountVerifier::Kernel,
                Verity::RequireIfSupported => MountVerifier::KernelIfSupported,
                Verity::Off => MountVerifier::Unverified,
                // Files without a digest are not.
                _ => MountVerifier::KernelInPart,
            },
        }
    }
}

impl MountVerifier {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::KernelInPart => "kernel-in-part",
            Self::KernelIfSupported => "kernel-if-supported",
            Self::Server => "server",
            Self::Unverified => "none",
        }
    }
}
