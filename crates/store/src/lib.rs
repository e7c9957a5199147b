//! The object store: files named by their fs-verity digest.
