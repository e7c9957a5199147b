//! The image file: an EROFS file system behind a composefs header (`docs/format/image.md`).

pub mod header;
