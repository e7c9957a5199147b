//! The generic options of mount(8): flags of a mount, and options without an effect on composefs.

use std::fmt;

use libcomposefs_sys::mount::{MountAttrFlags, MountFlags as Mount2Flags};

/// The rule by which reading a file updates its access time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Atime {
    /// When it is older than the last change, or a day old: the kernel's default.
    #[default]
    Relative,
    /// Reading never updates it.
    Never,
    /// Each read updates it.
    Always,
}

/// The attributes of the mount that is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MountFlags {
    /// The option `ro`: no writing.
    pub read_only: bool,
    /// The option `nosuid`: set-user-ID bits have no effect.
    pub nosuid: bool,
    /// The option `nodev`: device nodes have no effect.
    pub nodev: bool,
    /// The option `noexec`: no program is executed.
    pub noexec: bool,
    /// The option `nosymfollow`: symlinks are not followed.
    pub nosymfollow: bool,
    /// The option `nodiratime`: access times of directories are not updated.
    pub nodiratime: bool,
    /// The update of access times: `relatime`, `noatime` or `strictatime`.
    pub atime: Atime,
}

/// Options that mount(8) passes on or that occur in fstab, without an effect on composefs.
const PASSED_OVER: &[&str] = &[
    "defaults",
    "auto",
    "noauto",
    "nouser",
    "nousers",
    "noowner",
    "nogroup",
    "_netdev",
    "sync",
    "async",
    "dirsync",
    "lazytime",
    "nolazytime",
    "iversion",
    "noiversion",
    "mand",
    "nomand",
    "silent",
    "loud",
    "quiet",
    "loop",
    "comment",
];

impl MountFlags {
    /// Takes in one option without value as mount(8) knows it; later ones win. False: it is no generic option.
    pub(crate) fn take(&mut self, word: &str) -> bool {
        match word {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "nosuid" => self.nosuid = true,
            "suid" => self.nosuid = false,
            "nodev" => self.nodev = true,
            "dev" => self.nodev = false,
            "noexec" => self.noexec = true,
            "exec" => self.noexec = false,
            "nosymfollow" => self.nosymfollow = true,
            "symfollow" => self.nosymfollow = false,
            "nodiratime" => self.nodiratime = true,
            "diratime" => self.nodiratime = false,
            "noatime" => self.atime = Atime::Never,
            "strictatime" => self.atime = Atime::Always,
            "atime" | "relatime" | "norelatime" | "nostrictatime" => self.atime = Atime::Relative,
            // What may be mounted by others than root is made harmless, unless a later word says otherwise.
            "user" | "users" => (self.nosuid, self.nodev, self.noexec) = (true, true, true),
            "owner" | "group" => (self.nosuid, self.nodev) = (true, true),
            _ => return is_passed_over(word),
        }
        true
    }

    /// Returns the flags for `fsmount`.
    pub(crate) fn mount_attr_flags(self) -> MountAttrFlags {
        let atime = match self.atime {
            Atime::Relative => MountAttrFlags::MOUNT_ATTR_RELATIME,
            Atime::Never => MountAttrFlags::MOUNT_ATTR_NOATIME,
            Atime::Always => MountAttrFlags::MOUNT_ATTR_STRICTATIME,
        };
        [
            (self.read_only, MountAttrFlags::MOUNT_ATTR_RDONLY),
            (self.nosuid, MountAttrFlags::MOUNT_ATTR_NOSUID),
            (self.nodev, MountAttrFlags::MOUNT_ATTR_NODEV),
            (self.noexec, MountAttrFlags::MOUNT_ATTR_NOEXEC),
            (self.nosymfollow, MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
            (self.nodiratime, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
        ]
        .into_iter()
        .filter_map(|(set, flag)| set.then_some(flag))
        .fold(atime, |flags, flag| flags | flag)
    }

    /// For `mount(2)`.
    pub(crate) fn mount_flags(self) -> Mount2Flags {
        let atime = match self.atime {
            Atime::Relative => Mount2Flags::RELATIME,
            Atime::Never => Mount2Flags::NOATIME,
            Atime::Always => Mount2Flags::STRICTATIME,
        };
        [
            (self.read_only, Mount2Flags::RDONLY),
            (self.nosuid, Mount2Flags::NOSUID),
            (self.nodev, Mount2Flags::NODEV),
            (self.noexec, Mount2Flags::NOEXEC),
            (self.nosymfollow, Mount2Flags::NOSYMFOLLOW),
            (self.nodiratime, Mount2Flags::NODIRATIME),
        ]
        .into_iter()
        .filter_map(|(set, flag)| set.then_some(flag))
        .fold(atime, |flags, flag| flags | flag)
    }
}

/// Returns true if an option, with or without value, has no effect on a composefs mount.
pub(crate) fn is_passed_over(key: &str) -> bool {
    PASSED_OVER.contains(&key) || key.starts_with("x-") || key.starts_with("X-")
}

impl fmt::Display for MountFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.read_only { "ro" } else { "rw" })?;
        for (set, word) in [
            (self.nosuid, "nosuid"),
            (self.nodev, "nodev"),
            (self.noexec, "noexec"),
            (self.nosymfollow, "nosymfollow"),
            (self.nodiratime, "nodiratime"),
            (self.atime == Atime::Never, "noatime"),
            (self.atime == Atime::Always, "strictatime"),
        ] {
            if set {
                write!(f, ",{word}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(words: &[&str]) -> MountFlags {
        let mut attributes = MountFlags::default();
        for word in words {
            assert!(attributes.take(word), "{word} is generic");
        }
        attributes
    }

    #[test]
    fn each_attribute_is_set_and_later_words_win() {
        let all = ["ro", "nosuid", "nodev", "noexec", "nosymfollow", "nodiratime", "noatime"];
        assert_eq!(taken(&all).to_string(), all.join(","));
        assert_eq!(
            taken(&[&all[..], &["rw", "suid", "dev", "exec", "symfollow", "diratime", "atime"]].concat()),
            MountFlags::default()
        );
        assert_eq!(taken(&["strictatime"]).atime, Atime::Always);
        assert_eq!(taken(&["noatime", "relatime"]).atime, Atime::Relative);
    }

    #[test]
    fn user_mounts_are_harmless_unless_said_otherwise() {
        assert_eq!(taken(&["user"]).to_string(), "rw,nosuid,nodev,noexec");
        assert_eq!(taken(&["users", "exec"]).to_string(), "rw,nosuid,nodev");
        assert_eq!(taken(&["owner"]).to_string(), "rw,nosuid,nodev");
    }

    #[test]
    fn both_interfaces_get_the_same() {
        let attributes = taken(&["ro", "nosuid", "nodev", "noexec", "nosymfollow", "nodiratime", "noatime"]);
        assert_eq!(attributes.mount_attr_flags().bits().count_ones(), 7);
        assert_eq!(attributes.mount_flags().bits().count_ones(), 7);
        assert_eq!(MountFlags::default().mount_attr_flags(), MountAttrFlags::empty());
        assert_eq!(MountFlags::default().mount_flags(), Mount2Flags::RELATIME);
    }

    #[test]
    fn the_rest_is_passed_over_or_unknown() {
        assert_eq!(taken(PASSED_OVER), MountFlags::default());
        assert_eq!(taken(&["x-systemd.automount", "X-mount.mkdir"]), MountFlags::default());
        for unknown in ["remount", "noverity", "context", "xfs", "bind"] {
            assert!(!MountFlags::default().take(unknown), "{unknown} was taken");
        }
    }
}
