//! Images that cfsctl made of one tree (`data/cfsctl/README.md`).

use std::fs;
use std::path::Path;

use libcomposefs_image::Algorithm;

use crate::golden::unpack;

/// An image of cfsctl's.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The algorithm of its digests.
    pub algorithm: Algorithm,
    /// Its format version: 1 or 2.
    pub version: u32,
    /// The bytes of the image.
    pub image: Vec<u8>,
    /// The tree, as cfsctl dumps it. Version 2 has no nanoseconds.
    pub dump: Vec<u8>,
}

/// Every recorded image.
///
/// # Panics
///
/// If one is damaged: they are part of the source.
#[must_use]
pub fn images() -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/cfsctl");
    let load = |name: &str| {
        let packed = fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        unpack(&packed).unwrap_or_else(|e| panic!("{name}: {e}"))
    };
    let image = |algorithm: Algorithm, version: u32| Recorded {
        algorithm,
        version,
        image: load(&format!("{algorithm}-v{version}.img.gz")),
        dump: load(&format!("{algorithm}.dump.gz")),
    };
    Algorithm::ALL.into_iter().flat_map(|algorithm| [1, 2].map(|version| image(algorithm, version))).collect()
}
