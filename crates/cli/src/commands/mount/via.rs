//! The ways to mount: by the kernel, or in user space.

use std::fs::File;
use std::path::Path;

use anyhow::{bail, ensure};
use libcomposefs_fuse::may_mount;
use libcomposefs_mount::{Plan, Verity};
use libcomposefs_sys::{user_namespace, verity};

use super::MountArgs;
use super::self_test::SelfTest;
use crate::commands::fuse::LayerVerifier;

/// A way to mount, as the option `--via` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Via {
    /// The first of kernel, overlay and fuse that the kernel lets this user have
    #[default]
    Auto,
    /// EROFS and overlayfs of the kernel
    Kernel,
    /// Overlayfs of the kernel on layers that are served in user space; in a user namespace from Linux 6.16
    Overlay,
    /// A server in user space, for everything
    Fuse,
}

/// A way that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChosenWay {
    Kernel,
    Overlay,
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
            Via::Overlay => Self::in_user_space(Self::Overlay, needs_kernel.filter(|&option| option != "upperdir="))?,
            Via::Fuse => Self::in_user_space(Self::Fuse, needs_kernel)?,
            Via::Auto if options.upper.is_some() && needs_kernel == Some("upperdir=") => match Self::of_caller() {
                Self::Overlay => Self::Overlay,
                _ => Self::Kernel,
            },
            Via::Auto if needs_kernel.is_some() => Self::Kernel,
            Via::Auto => match Self::of_caller() {
                Self::Overlay if args.insecure => Self::Fuse,
                way => way,
            },
        };
        ensure!(
            way == Self::Fuse || !args.insecure,
            "--insecure is for --via=fuse: the kernel's mount verifies files only if -o verity asks for it, and the \
             overlay's server verifies them always"
        );
        Ok(way)
    }

    /// Returns the way if it does without the option, which only the kernel's mount has.
    fn in_user_space(way: Self, needs_kernel: Option<&str>) -> anyhow::Result<Self> {
        if let Some(option) = needs_kernel {
            let name = way.name();
            bail!("{option} cannot be used with --via={name}: it needs the kernel's mount (--via=kernel)");
        }
        Ok(way)
    }

    /// Returns the way that this user takes if nothing else is said. In a user namespace the kernel mounts no EROFS,
    /// not even for its root; whether it joins layers there is tested, as distributions add that to older versions.
    pub(crate) fn of_caller() -> Self {
        if !may_mount() {
            Self::Fuse
        } else if user_namespace::is_in_one() != Some(true) {
            Self::Kernel
        } else if SelfTest::UserLayers.result().is_ok() {
            Self::Overlay
        } else {
            Self::Fuse
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Overlay => "overlay",
            Self::Fuse => "fuse",
        }
    }

    /// Returns who verifies the contents of files on the planned mount.
    pub(super) fn verified_by(self, args: &MountArgs, plan: &Plan) -> MountVerifier {
        match self {
            Self::Fuse if args.insecure => MountVerifier::Unverified,
            Self::Fuse => MountVerifier::Server,
            Self::Overlay => match layer_verifier(plan) {
                LayerVerifier::Kernel => MountVerifier::Kernel,
                LayerVerifier::Server => MountVerifier::Server,
            },
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

/// Returns who verifies the objects of an overlay: the kernel if it must, and objects have fs-verity; else the server.
pub(super) fn layer_verifier(plan: &Plan) -> LayerVerifier {
    let options = plan.options();
    let is_wanted = matches!(options.verity(), Verity::Require | Verity::RequireIfSupported);
    if is_wanted && !options.basedirs.is_empty() && options.basedirs.iter().all(|dir| has_verity(&dir.name())) {
        LayerVerifier::Kernel
    } else {
        LayerVerifier::Server
    }
}

/// Returns true if the first object that is found in a directory has fs-verity.
fn has_verity(objects: &Path) -> bool {
    let files = |directory: &Path| std::fs::read_dir(directory).into_iter().flatten().flatten();
    let first = files(objects).find_map(|directory| files(&directory.path()).next());
    first
        .and_then(|object| File::open(object.path()).ok())
        .is_some_and(|file| verity::is_enabled(file).unwrap_or(false))
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
