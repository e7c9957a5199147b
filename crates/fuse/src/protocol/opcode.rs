//! The numbers of the requests.

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Opcode {
    /// Look up a name.
    Lookup,
    /// Forget a node.
    Forget,
    /// Return attributes.
    GetAttr,
    /// Return the target of a symlink.
    ReadLink,
    /// Open a file.
    Open,
    /// Read from a file.
    Read,
    /// Return the numbers of the file system.
    StatFs,
    /// Close a file.
    Release,
    /// Return an extended attribute.
    GetXattr,
    /// Return the names of the extended attributes.
    ListXattr,
    /// Called at each `close(2)`.
    Flush,
    /// Begin the session.
    Init,
    /// Open a directory.
    OpenDir,
    /// Read the names of a directory.
    ReadDir,
    /// Close a directory.
    ReleaseDir,
    /// Stop working on a request.
    Interrupt,
    /// End the session.
    Destroy,
    /// A device control call.
    Ioctl,
    /// Forget several nodes.
    BatchForget,
    /// Read the names of a directory with their attributes.
    ReadDirPlus,
    /// Find data or a hole.
    Lseek,
    /// Return attributes in the form of `statx(2)`.
    Statx,
    /// A request that changes the file system.
    Change,
    /// Any other request.
    Other,
}

impl Opcode {
    /// Returns the kind for a number of `enum fuse_opcode`.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Lookup,
            2 => Self::Forget,
            3 => Self::GetAttr,
            5 => Self::ReadLink,
            14 => Self::Open,
            15 => Self::Read,
            17 => Self::StatFs,
            18 => Self::Release,
            22 => Self::GetXattr,
            23 => Self::ListXattr,
            25 => Self::Flush,
            26 => Self::Init,
            27 => Self::OpenDir,
            28 => Self::ReadDir,
            29 => Self::ReleaseDir,
            36 => Self::Interrupt,
            38 => Self::Destroy,
            39 => Self::Ioctl,
            42 => Self::BatchForget,
            44 => Self::ReadDirPlus,
            46 => Self::Lseek,
            52 => Self::Statx,
            // SETATTR, SYMLINK, MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK; WRITE; SETXATTR, REMOVEXATTR; CREATE;
            // FALLOCATE; RENAME2; COPY_FILE_RANGE; TMPFILE.
            4 | 6 | 8..=13 | 16 | 21 | 24 | 35 | 43 | 45 | 47 | 51 => Self::Change,
            _ => Self::Other,
        }
    }
}
