//! The fuzz targets of `fuzz/`, and what each begins with.

use std::path::Path;

use anyhow::Result;

use super::{
    blob_seeds, boot_seeds, chunked_seeds, fuse_seeds, oci_seeds, ostree_seeds, recipe_seeds, seeds, trust_seeds,
};

/// A program in `fuzz/fuzz_targets/`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Sanitizer of the build. It checks the memory accesses of unsafe code; elsewhere it would only slow things down:
    /// to a third or less.
    pub(crate) sanitizer: Sanitizer,
    /// The longest input in bytes. Long enough that what takes quadratic time runs into the time limit.
    pub(crate) max_len: usize,
    /// Puts the inputs to begin with into a directory.
    pub(crate) seed: fn(&Path, max_len: usize) -> Result<()>,
    /// Words of the format, a file in `fuzz/`.
    pub(crate) dictionary: Option<&'static str>,
}

/// The sanitizers of a build, as cargo-fuzz calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sanitizer {
    Address,
    None,
}

impl Sanitizer {
    pub(crate) const ALL: [Sanitizer; 2] = [Sanitizer::Address, Sanitizer::None];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Sanitizer::Address => "address",
            Sanitizer::None => "none",
        }
    }
}

const DUMP: Target = Target {
    name: "dump",
    sanitizer: Sanitizer::None,
    max_len: 1 << 16,
    seed: seeds::dumps,
    dictionary: Some("dump.dict"),
};

/// All targets; the ones that take longest to find something come first.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "image", seed: seeds::images, dictionary: None, ..DUMP },
    Target { name: "dump_image_dump", ..DUMP },
    DUMP,
    Target {
        name: "hash_kernels",
        sanitizer: Sanitizer::Address,
        max_len: 1 << 12,
        seed: seeds::dumps,
        dictionary: None,
    },
    Target { name: "bundle", seed: seeds::bundles, max_len: 1 << 15, dictionary: None, ..DUMP },
    Target { name: "bundle2", seed: seeds::frame_bundles, max_len: 1 << 15, dictionary: None, ..DUMP },
    Target { name: "delta", seed: seeds::frames, max_len: 1 << 14, dictionary: None, ..DUMP },
    Target { name: "ssh", seed: seeds::ssh_messages, max_len: 1 << 12, dictionary: None, ..DUMP },
    Target { name: "remote", seed: seeds::remotes, max_len: 1 << 14, dictionary: None, ..DUMP },
    // The library of GVariants has unsafe code.
    Target { name: "ostree", sanitizer: Sanitizer::Address, seed: ostree_seeds::objects, dictionary: None, ..DUMP },
    Target { name: "ostree_repository", max_len: 1 << 15, seed: ostree_seeds::repositories, dictionary: None, ..DUMP },
    Target { name: "diff", max_len: 1 << 15, seed: seeds::pairs, ..DUMP },
    Target { name: "recipe", max_len: 1 << 14, seed: recipe_seeds::recipes, dictionary: Some("recipe.dict"), ..DUMP },
    Target { name: "extract", max_len: 1 << 14, seed: seeds::trees_to_extract, ..DUMP },
    Target { name: "resolve", seed: seeds::paths_and_images, dictionary: None, ..DUMP },
    Target { name: "load_by_c", seed: seeds::images, dictionary: None, ..DUMP },
    Target { name: "fuse", seed: fuse_seeds::requests, max_len: 1 << 15, dictionary: None, ..DUMP },
    Target { name: "import", seed: seeds::bundles, max_len: 1 << 15, dictionary: None, ..DUMP },
    Target { name: "repository", max_len: 1 << 12, seed: seeds::repositories, dictionary: None, ..DUMP },
    Target { name: "chunked", seed: chunked_seeds::tables, dictionary: None, ..DUMP },
    Target { name: "blob_record", max_len: 1 << 14, seed: blob_seeds::records, dictionary: None, ..DUMP },
    Target { name: "tar", seed: oci_seeds::archives, dictionary: Some("oci.dict"), ..DUMP },
    Target { name: "stream", max_len: 1 << 15, seed: oci_seeds::streams, dictionary: None, ..DUMP },
    Target { name: "manifest", max_len: 1 << 15, seed: oci_seeds::documents, dictionary: Some("oci.dict"), ..DUMP },
    Target { name: "contexts", max_len: 1 << 13, seed: seeds::policies, dictionary: None, ..DUMP },
    Target { name: "texts", max_len: 1 << 14, seed: seeds::texts, dictionary: Some("texts.dict"), ..DUMP },
    Target { name: "trust", max_len: 1 << 13, seed: trust_seeds::decisions, dictionary: None, ..DUMP },
    Target { name: "boot", max_len: 1 << 13, seed: boot_seeds::entries, dictionary: None, ..DUMP },
    Target { name: "verity", sanitizer: Sanitizer::None, max_len: 1 << 12, seed: seeds::dumps, dictionary: None },
];
