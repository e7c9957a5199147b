//! What a store demands of its objects.

/// Whether fs-verity is switched on for objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ObjectVerity {
    /// Where the file system has it and the process may; elsewhere objects go without.
    #[default]
    IfPossible,
    /// For every object, or it is an error.
    Required,
    /// Not at all. What is on already is made use of.
    Off,
}

/// What is looked at before an object that is there is taken for right, if fs-verity does not vouch for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyExisting {
    /// Every byte.
    Contents,
    /// Its type and size only.
    #[default]
    Sizes,
}

/// How objects are put into a store. The default is what `mkcomposefs` does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorePolicy {
    /// Whether fs-verity is switched on.
    pub verity: ObjectVerity,
    /// What is looked at in objects that are there.
    pub verify_existing: VerifyExisting,
}
