//! Compares an image with what a writer makes of its tree.

use std::io::{self, Write};

use super::byte_map::OwnerMap;
use super::inodes::MetInodes;
use super::region::{self, Region};
use crate::erofs::format_version::{LEGACY, PROFILES};
use crate::erofs::image::Image;
use crate::erofs::read::ImageReader;
use crate::tree::Tree;

/// The result of writing an image's tree again in the image's own format version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Canonical {
    /// The image cannot be read, or no writer supports its format version.
    #[default]
    Unknown,
    /// The writer makes the same bytes.
    Yes,
    /// The writer makes other bytes.
    No {
        /// The first position that differs.
        offset: u64,
        /// The part of the image at the first difference.
        region: Region,
    },
    /// It cannot be written again.
    Refused(String),
}

/// Writes the tree of an image again and compares with the whole file, of which no more than the image was read.
pub(super) fn compare(
    reader: &ImageReader<'_>,
    file_len: u64,
    tree: &Tree,
    inodes: &MetInodes<'_>,
    claims: &OwnerMap,
) -> Canonical {
    let version = reader.header().format_version;
    let Some(profile) = PROFILES.iter().chain([&LEGACY]).find(|profile| profile.format_version == version) else {
        return Canonical::Unknown;
    };
    let image = match Image::plan_as(tree, profile) {
        Ok(image) => image,
        Err(error) => return Canonical::Refused(error.to_string()),
    };
    let mut comparison = ComparingWriter { left: reader.bytes(), position: 0 };
    let same = image.write(&mut comparison).is_ok();
    match (same, comparison) {
        (true, ComparingWriter { left: [], position }) if position >= file_len => Canonical::Yes,
        (true, ComparingWriter { position, .. }) => Canonical::No { offset: position, region: Region::End },
        (false, ComparingWriter { left: [], position }) => Canonical::No { offset: position, region: Region::End },
        (false, ComparingWriter { position: offset, .. }) => {
            Canonical::No { offset, region: region::at(offset, reader, inodes, claims) }
        }
    }
}

/// Takes bytes for as long as they are the expected ones.
struct ComparingWriter<'a> {
    left: &'a [u8],
    position: u64,
}

impl Write for ComparingWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let same = bytes.iter().zip(self.left).take_while(|(new, old)| new == old).count();
        self.left = self.left.get(same..).unwrap_or_default();
        self.position += same as u64;
        if same == bytes.len() { Ok(same) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
