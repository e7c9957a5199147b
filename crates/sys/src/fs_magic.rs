//! Identifies types of file systems by the magic number that `statfs` returns.

use std::os::fd::AsFd;

use rustix::fs::fstatfs;
use rustix::io::Result;

/// The magic number of a type of file systems (`include/uapi/linux/magic.h`, unless another file is given).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsMagic(u32);

impl FsMagic {
    /// bcachefs (`fs/bcachefs/bcachefs_format.h`).
    pub const BCACHEFS: Self = Self(0xca45_1a4e);
    /// `BTRFS_SUPER_MAGIC`
    pub const BTRFS: Self = Self(0x9123_683e);
    /// `CEPH_SUPER_MAGIC`
    pub const CEPH: Self = Self(0x00c3_6400);
    /// `CIFS_SUPER_MAGIC`: SMB 1.
    pub const CIFS: Self = Self(0xff53_4d42);
    /// `FUSE_SUPER_MAGIC`: a FUSE server, including virtiofs.
    pub const FUSE: Self = Self(0x6573_5546);
    /// `MSDOS_SUPER_MAGIC`: FAT, also with long names.
    pub const MSDOS: Self = Self(0x4d44);
    /// `NFS_SUPER_MAGIC`
    pub const NFS: Self = Self(0x6969);
    /// `OVERLAYFS_SUPER_MAGIC`
    pub const OVERLAYFS: Self = Self(0x794c_7630);
    /// `PIPEFS_MAGIC`: pipes without a name. A FIFO with a name has the type of its directory.
    pub const PIPEFS: Self = Self(0x5049_5045);
    /// `PROC_SUPER_MAGIC`
    pub const PROC: Self = Self(0x9fa0);
    /// `RAMFS_MAGIC`: the root of an initramfs.
    pub const RAMFS: Self = Self(0x8584_58f6);
    /// `SMB2_SUPER_MAGIC`: SMB 2 and later.
    pub const SMB2: Self = Self(0xfe53_4d42);
    /// `TMPFS_MAGIC`: also the root of an initramfs, if the kernel has tmpfs.
    pub const TMPFS: Self = Self(0x0102_1994);
    /// `XFS_SUPER_MAGIC`
    pub const XFS: Self = Self(0x5846_5342);

    /// Returns the type of the file system that an open file is on.
    ///
    /// # Errors
    ///
    /// Those of `fstatfs`, which the server of a network file system or of FUSE can cause.
    pub fn of(file: impl AsFd) -> Result<Self> {
        let stat = fstatfs(file)?;
        // The type of the number depends on the architecture.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "magic numbers have 32 bits")]
        Ok(Self(stat.f_type as u32))
    }

    /// Returns true if an open file is on a file system of one of these types; false if `fstatfs` fails.
    pub fn is_one_of(types: &[Self], file: impl AsFd) -> bool {
        Self::of(file).is_ok_and(|magic| types.contains(&magic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_and_pipes_are_told_apart() {
        let proc = std::fs::File::open("/proc/self/status").unwrap();
        let (pipe, _writer) = std::io::pipe().unwrap();
        assert_eq!(FsMagic::of(&proc), Ok(FsMagic::PROC));
        assert_eq!(FsMagic::of(&pipe), Ok(FsMagic::PIPEFS));
        assert!(FsMagic::is_one_of(&[FsMagic::FUSE, FsMagic::PROC], &proc));
        assert!(!FsMagic::is_one_of(&[FsMagic::FUSE, FsMagic::PROC], &pipe));
    }
}
