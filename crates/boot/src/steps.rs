//! The steps of a boot as plain data, decided from the plan and what the disk has.

use std::path::PathBuf;

use libcomposefs_image::Digest;

use crate::config::MountChoice;
use crate::face::Face;
use crate::plan::BootPlan;

/// One step. Paths of the state are below the disk, paths of the root below the new root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootStep {
    /// Make a directory of the state, if it is missing.
    MakeDirectory {
        /// Its path below the disk.
        path: String,
        /// Mode of a new directory.
        mode: u32,
    },
    /// Make a symlink of the state.
    MakeLink {
        /// Its path below the disk.
        path: String,
        /// Target of the symlink.
        target: &'static str,
    },
    /// Mount the image with its objects, attached nowhere.
    MountRoot {
        /// The source in the list of mounts.
        source: String,
        /// fs-verity is required of the image and all objects.
        needs_verity: bool,
        /// Changes are in memory.
        is_transient: bool,
        /// The mount has the read-only flag.
        is_read_only: bool,
    },
    /// Use a directory as the root in place of an image.
    CloneRoot {
        /// Path of the directory.
        path: PathBuf,
    },
    /// Open the first program and its loader, whose loss would end in a panic of the kernel.
    CheckInit,
    /// Attach the root at the target.
    AttachRoot,
    /// Show the disk at `/sysroot` of the new root, if the image has that directory.
    AttachDisk {
        /// The mount has the read-only flag.
        is_read_only: bool,
    },
    /// Mount a directory of the state.
    Bind {
        /// Its path below the disk.
        state: String,
        /// The place in the new root.
        at: &'static str,
    },
    /// Mount an overlay over a directory of the new root.
    Overlay {
        /// The directory with `upper` and `work`, below the disk.
        state: String,
        /// The place in the new root.
        at: &'static str,
    },
    /// Mount an overlay over a directory of the new root, whose changes are in memory.
    Transient {
        /// The place in the new root.
        at: &'static str,
    },
}

/// The kind of a directory of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateKind {
    /// The directory does not exist.
    Missing,
    /// It has no entries.
    Empty,
    /// It has `upper`, `work` or both, and nothing else: of an overlay.
    OverlayDirs,
    /// It has other entries: a copy.
    Copy,
}

/// State that the disk has for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateFacts {
    /// The kind of `state/deploy/HEX/etc`.
    pub etc: StateKind,
    /// The kind of `state/deploy/HEX/var`, which may be a symlink.
    pub var: StateKind,
    /// True if there is a directory `state/os/default/var`, which all images share.
    pub has_shared_var: bool,
    /// True if the disk is mounted read-only.
    pub is_read_only: bool,
}

/// Reasons why the state of an image cannot be used as the plan says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Something must be written to a disk that is mounted read-only.
    #[error("{path} must be written, and the disk is mounted read-only")]
    ReadOnly {
        /// Path below the disk.
        path: String,
    },
    /// An overlay is planned, and the directory is a full copy.
    #[error("{path} is a full copy, which an overlay would hide")]
    IsCopy {
        /// Path below the disk.
        path: String,
    },
    /// A bind mount is planned, and the directory is that of an overlay.
    #[error("{path} has the changes of an overlay, not a full copy")]
    IsOverlay {
        /// Path below the disk.
        path: String,
    },
    /// A bind mount of `/etc` is planned, and there is no copy.
    #[error("{path} is not a full copy of the image's /etc: it is missing or empty")]
    NoCopy {
        /// Path below the disk.
        path: String,
    },
}

/// Returns the directory of the state of an image, below the disk.
#[must_use]
pub fn state_directory(digest: &Digest) -> String {
    format!("state/deploy/{}", digest.to_hex())
}

/// Returns the path of the `/var` that all images share, below the disk.
pub(crate) const SHARED_VAR: &str = "state/os/default/var";
const LINK_TO_SHARED_VAR: &str = "../../os/default/var";

/// Decides the steps.
///
/// # Errors
///
/// If the state has another kind than the plan needs, or must be written on a read-only disk.
pub fn steps(
    plan: &BootPlan,
    root: BootStep,
    digest: &Digest,
    state: &StateFacts,
    face: Face,
) -> Result<Vec<BootStep>, StateError> {
    let directory = state_directory(digest);
    let (etc_path, var_path) = (format!("{directory}/etc"), format!("{directory}/var"));
    let etc = mount_of(plan.etc, &etc_path, "etc", state.etc, state.is_read_only)?;
    let var = mount_of(plan.var, &var_path, "var", state.var, state.is_read_only)?;
    if plan.etc == MountChoice::Bind && matches!(state.etc, StateKind::Missing | StateKind::Empty) {
        return Err(StateError::NoCopy { path: etc_path });
    }
    // A boot that is refused because of its image writes nothing.
    let mut steps = vec![root, BootStep::CheckInit];
    if plan.etc == MountChoice::Overlay {
        make_overlay(&mut steps, &etc_path);
    }
    match (plan.var, state.var) {
        (MountChoice::Overlay, _) => make_overlay(&mut steps, &var_path),
        (MountChoice::Bind, StateKind::Missing) => {
            let path = var_path.clone();
            if state.is_read_only {
                return Err(StateError::ReadOnly { path });
            }
            steps.push(BootStep::MakeDirectory { path: directory, mode: 0o755 });
            if state.has_shared_var || face == Face::Bootc {
                steps.push(BootStep::MakeDirectory { path: SHARED_VAR.into(), mode: 0o755 });
                steps.push(BootStep::MakeLink { path, target: LINK_TO_SHARED_VAR });
            } else {
                steps.push(BootStep::MakeDirectory { path, mode: 0o755 });
            }
        }
        _ => {}
    }
    steps.extend([BootStep::AttachRoot, BootStep::AttachDisk { is_read_only: plan.is_read_only }]);
    steps.extend(etc.into_iter().chain(var));
    Ok(steps)
}

fn mount_of(
    choice: MountChoice,
    path: &str,
    at: &'static str,
    kind: StateKind,
    is_read_only: bool,
) -> Result<Option<BootStep>, StateError> {
    let state = path.to_owned();
    Ok(match (choice, kind) {
        (MountChoice::None, _) => None,
        (MountChoice::Transient, _) => Some(BootStep::Transient { at }),
        (MountChoice::Bind, StateKind::OverlayDirs) => return Err(StateError::IsOverlay { path: state }),
        (MountChoice::Bind, _) => Some(BootStep::Bind { state, at }),
        (MountChoice::Overlay, StateKind::Copy) => return Err(StateError::IsCopy { path: state }),
        (MountChoice::Overlay, _) if is_read_only => return Err(StateError::ReadOnly { path: state }),
        (MountChoice::Overlay, _) => Some(BootStep::Overlay { state, at }),
    })
}

/// An upper directory of mode 0700 would lock every service without privileges out of the mount.
fn make_overlay(steps: &mut Vec<BootStep>, path: &str) {
    for (name, mode) in [("upper", 0o755), ("work", 0o700)] {
        steps.push(BootStep::MakeDirectory { path: format!("{path}/{name}"), mode });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BootConfig;
    use crate::words::KernelWords;

    const HEX: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const FACTS: StateFacts =
        StateFacts { etc: StateKind::Missing, var: StateKind::Missing, has_shared_var: false, is_read_only: false };

    fn decided(config: &str, face: Face, facts: StateFacts) -> Result<Vec<BootStep>, StateError> {
        let words = KernelWords::parse(&format!("rw composefs={HEX}")).unwrap();
        let plan = BootPlan::new(words, BootConfig::parse(config).unwrap(), face, false);
        let digest = plan.images[0].digest;
        steps(&plan, BootStep::AttachRoot, &digest, &facts, face)
    }

    #[test]
    fn a_missing_state_is_made() {
        let made = decided("", Face::ComposefsRs, FACTS).unwrap();
        let state = |name: &str| format!("state/deploy/{HEX}/{name}");
        let first: Vec<_> = made.iter().skip(2).take(4).cloned().collect();
        let directory = |name: &str, mode| BootStep::MakeDirectory { path: state(name), mode };
        assert_eq!(first[..2], [directory("etc/upper", 0o755), directory("etc/work", 0o700)]);
        assert_eq!(first[3], directory("var", 0o755));
        let last =
            [BootStep::Overlay { state: state("etc"), at: "etc" }, BootStep::Bind { state: state("var"), at: "var" }];
        assert_eq!(made[made.len() - 2..], last);
        let shared = decided("", Face::ComposefsRs, StateFacts { has_shared_var: true, ..FACTS }).unwrap();
        assert!(shared.contains(&BootStep::MakeLink { path: state("var"), target: "../../os/default/var" }));
        let bootc = StateFacts { etc: StateKind::Copy, ..FACTS };
        assert!(decided("", Face::Bootc, bootc).unwrap().iter().any(|step| matches!(step, BootStep::MakeLink { .. })));
    }

    #[test]
    fn the_wrong_kind_of_state_is_refused() {
        let with = |etc| StateFacts { etc, ..FACTS };
        let etc = || format!("state/deploy/{HEX}/etc");
        for (face, kind, expected) in [
            (Face::ComposefsRs, StateKind::Copy, StateError::IsCopy { path: etc() }),
            (Face::Bootc, StateKind::OverlayDirs, StateError::IsOverlay { path: etc() }),
            (Face::Bootc, StateKind::Missing, StateError::NoCopy { path: etc() }),
            (Face::Bootc, StateKind::Empty, StateError::NoCopy { path: etc() }),
        ] {
            assert_eq!(decided("", face, with(kind)), Err(expected), "{face:?} {kind:?}");
        }
        for (face, kind) in [
            (Face::ComposefsRs, StateKind::OverlayDirs),
            (Face::ComposefsRs, StateKind::Empty),
            (Face::Bootc, StateKind::Copy),
        ] {
            decided("", face, with(kind)).unwrap();
        }
        decided("[etc]\nmount = \"bind\"", Face::ComposefsRs, with(StateKind::Copy)).unwrap();
    }

    #[test]
    fn a_read_only_disk_is_enough_if_nothing_is_written() {
        let facts = StateFacts { is_read_only: true, ..FACTS };
        assert!(matches!(decided("", Face::ComposefsRs, facts), Err(StateError::ReadOnly { .. })));
        let config = "[etc]\ntransient = true\n[var]\nmount = \"transient\"";
        let made = decided(config, Face::ComposefsRs, facts).unwrap();
        assert_eq!(made[made.len() - 2..], [BootStep::Transient { at: "etc" }, BootStep::Transient { at: "var" }]);
        assert!(decided("", Face::Bootc, StateFacts { etc: StateKind::Copy, var: StateKind::Empty, ..facts }).is_ok());
    }
}
