//! Making symlinks, devices, FIFOs and sockets, in the staging directory.

use std::os::fd::AsFd;

use libcomposefs_image::tree::{Data, InodeId, Kind};
use rustix::fs::{FileType, Mode, mknodat, symlinkat};
use rustix::io::Errno;

use super::context::ExtractContext;
use super::error::FileError;
use super::metadata::MetadataTarget;

impl ExtractContext<'_> {
    /// Makes the inode under a free name. Returns false if it is a device that the process may not make.
    pub(super) fn make_node(&self, id: InodeId, staged: &str) -> Result<bool, FileError> {
        let inode = self.tree.inode(id);
        let directory = self.staging.as_fd();
        let made = match inode.data() {
            Data::Symlink(target) => symlinkat(target, directory, staged),
            _ => {
                let kind = match inode.kind() {
                    Kind::CharDevice => FileType::CharacterDevice,
                    Kind::BlockDevice => FileType::BlockDevice,
                    Kind::Socket => FileType::Socket,
                    _ => FileType::Fifo,
                };
                // The kernel's encoding has 32 bits; that of the C library is the same for these.
                mknodat(directory, staged, kind, Mode::RUSR | Mode::WUSR, inode.rdev().into())
            }
        };
        let is_device = matches!(inode.kind(), Kind::CharDevice | Kind::BlockDevice);
        match made {
            Ok(()) => {}
            Err(errno @ Errno::PERM) if is_device => {
                let reason = || std::io::Error::from(errno).to_string();
                self.outcome().devices.note(|| self.path_of(id), reason);
                return Ok(false);
            }
            Err(errno) => return Err(FileError::io("create")(errno)),
        }
        match self.give_metadata(MetadataTarget::Named(directory, staged), id) {
            Ok(()) => Ok(true),
            Err(error) => {
                let _ = self.staging.remove(staged);
                Err(error)
            }
        }
    }
}
