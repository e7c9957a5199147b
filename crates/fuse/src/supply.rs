//! Objects that are not here yet: where they come from, and what a server says about them.

use std::error::Error;

use libcomposefs_image::Digest;

/// The error of a supply, as text for people: a process gets `EIO`.
pub type SupplyError = Box<dyn Error + Send + Sync>;

/// A source of objects that are missing in the object directories.
pub trait ObjectSupply: Send + Sync {
    /// Gets an object, which takes the time that it takes. Without an error, the file with this content and size is in
    /// an object directory now.
    ///
    /// # Errors
    ///
    /// If the object cannot be got, or not in time.
    fn supply(&self, digest: &Digest, size: u64) -> Result<(), SupplyError>;

    /// Has all waiting calls of [`supply`](Self::supply) return soon, and all later ones fail.
    fn end(&self);

    /// Returns the value of the attribute [`STATUS_ATTRIBUTE`] of the root directory: what is known about the supply.
    fn status(&self) -> Vec<u8>;
}

/// The extended attribute of the root directory by which programs ask the server of a lazy mount for its status. It is
/// in no list of attributes.
pub const STATUS_ATTRIBUTE: &str = "user.composefs.lazy-status";
