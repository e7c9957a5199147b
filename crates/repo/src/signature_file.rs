//! The limits of the files of signatures, and the rules that such a file can break.

/// Greatest size of a statement or signature, in bytes.
pub const SIGNATURE_FILE_MAX: u64 = 64 << 10;
/// Greatest number of signatures of an image.
pub const IMAGE_SIGNATURES_MAX: usize = 1024;

/// The rules that the files of signatures can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureFileProblem {
    /// The file has too many bytes.
    #[error("has more than {SIGNATURE_FILE_MAX} bytes, which no statement or signature has: remove it")]
    TooLarge,
    /// The file is a symlink, a directory or a device.
    #[error("is not a regular file: remove it")]
    NotRegular,
    /// The statement of a signature is missing.
    #[error("is missing: remove the signature of that name, or sync or pull the image again")]
    Missing,
    /// The directory has too many files.
    #[error("has more than {IMAGE_SIGNATURES_MAX} signatures: remove those that no policy needs")]
    TooMany,
}
