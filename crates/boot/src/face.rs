//! The two programs that this one replaces, whose defaults differ.

use crate::config::MountChoice;

/// A program that this one replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// The program `composefs-setup-root` of composefs-rs.
    ComposefsRs,
    /// The program `initramfs-setup` of bootc.
    Bootc,
}

impl Face {
    /// Returns the face for the name by which the program was called and its other words.
    #[must_use]
    pub fn of<'a>(program: &str, mut words: impl Iterator<Item = &'a str>) -> Self {
        let name = program.rsplit('/').next().unwrap_or(program);
        if name == "initramfs-setup" || words.any(|word| word == "setup-root") {
            Face::Bootc
        } else {
            Face::ComposefsRs
        }
    }

    /// Returns the way in which `/etc` is mounted without a configuration.
    #[must_use]
    pub fn etc(self) -> MountChoice {
        match self {
            Face::ComposefsRs => MountChoice::Overlay,
            Face::Bootc => MountChoice::Bind,
        }
    }

    /// Returns true if the root and the disk below it are mounted read-only by a flag.
    #[must_use]
    pub fn is_read_only(self) -> bool {
        self == Face::Bootc
    }
}
