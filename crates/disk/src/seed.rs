//! The identifiers of a disk, all of which follow from one text.

use libcomposefs_image::{Algorithm, verity};
use uuid::{Builder, Uuid};

/// The text that the identifiers of a disk are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiskSeed(pub(crate) String);

impl DiskSeed {
    /// Returns the identifier for a purpose.
    pub(crate) fn uuid(&self, purpose: &str) -> Uuid {
        let digest = verity::digest(Algorithm::Sha256, format!("composefs disk\0{purpose}\0{}", self.0).as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_bytes()[..16]);
        Builder::from_random_bytes(bytes).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_differ_by_seed_and_by_purpose() {
        let (a, b) = (DiskSeed("a".into()), DiskSeed("b".into()));
        assert_eq!(a.uuid("disk"), a.uuid("disk"));
        assert_ne!(a.uuid("disk"), a.uuid("root"));
        assert_ne!(a.uuid("disk"), b.uuid("disk"));
        assert_eq!(a.uuid("disk").get_version_num(), 4);
    }
}
