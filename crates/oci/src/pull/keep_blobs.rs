//! What a pull keeps of the compressed blobs of layers.

/// What a pull keeps of the compressed blobs of layers, so that [`open_blob`](crate::blob::open_blob) gives them back.
/// A blob that is the archive itself needs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepBlobs {
    /// A record from which the blob is rebuilt. The blob is kept whole if there is no record, or if the record would be
    /// larger than a tenth of it. To make a record takes several times the CPU time of the pull. A blob that was kept
    /// whole before stays.
    Record,
    /// The whole blob, also in the place of a record that was kept before.
    #[default]
    Whole,
    /// Nothing.
    No,
}
