//! Requirements of a store on its objects.

/// Selects if fs-verity is enabled on objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObjectVerity {
    /// Enable it if the file system supports it and the process may; else store objects without it.
    #[default]
    IfPossible,
    /// Enable it on every object, or fail.
    Required,
    /// Never enable it. If it is enabled already, the digest is still used for checks.
    Off,
}

/// Selects how an existing object without a matching fs-verity digest is checked before it is reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyExisting {
    /// Compare every byte of the content.
    Contents,
    /// Compare only type and size.
    #[default]
    Sizes,
}

/// The way in which objects are stored. The default is that of `mkcomposefs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StorePolicy {
    /// Selects if fs-verity is enabled on objects.
    pub verity: ObjectVerity,
    /// Selects how existing objects are checked.
    pub verify_existing: VerifyExisting,
}

impl StorePolicy {
    /// Selects if fs-verity is enabled on objects.
    #[must_use]
    pub fn with_verity(self, verity: ObjectVerity) -> Self {
        Self { verity, ..self }
    }

    /// Selects how existing objects are checked.
    #[must_use]
    pub fn with_verify_existing(self, verify_existing: VerifyExisting) -> Self {
        Self { verify_existing, ..self }
    }
}
