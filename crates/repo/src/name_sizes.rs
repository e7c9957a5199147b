//! Sizes of what a name of an image needs.

/// Sizes of the objects that a name needs, in bytes. The size on disk is that of the blocks that the file system
/// reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameSizes {
    /// Number of objects.
    pub objects: u64,
    /// Total size of the objects.
    pub apparent: u64,
    /// Size of the objects on disk.
    pub used: u64,
    /// Size on disk of the objects that nothing else needs: no other name, also of the same image, and no other stream
    /// that is kept.
    pub exclusive: u64,
    /// Size on disk that would be free after the name is removed and gc has run: of the exclusive objects, those that
    /// have no other hard link and share no extents with other files.
    pub freed: u64,
    /// Number of objects that are missing.
    pub missing: u64,
}
