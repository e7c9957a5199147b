//! The descriptions of the frames in a pack, which are read without the contents.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use libcomposefs_delta::FrameInfo;
use libcomposefs_image::Digest;

use super::error::ColdError;
use crate::RepositoryError;
use crate::bundle::{FormatError, TypedRecord, TypedRecordReader};

/// Returns the first result that `look` gives for a frame. Its second argument is true for the frame of an image.
pub(super) fn find_frame<T>(
    file: &File,
    path: &Path,
    look: impl FnMut(&FrameInfo, bool) -> Option<T>,
) -> Result<Option<T>, ColdError> {
    find(BufReader::with_capacity(1 << 20, file), look).map_err(|error| match error {
        FormatError::Rule(offset, rule) => {
            let reason = format!("the pack is wrong at byte {offset}: {rule}");
            ColdError::Entry { path: path.to_owned(), reason }
        }
        FormatError::Io(source) => RepositoryError::Io { step: "read", path: path.to_owned(), source }.into(),
    })
}

/// Returns the digests of the images that a pack says it has.
pub(super) fn pack_images(file: &File, path: &Path) -> Result<Vec<Digest>, ColdError> {
    let mut images = Vec::new();
    find_frame(file, path, |frame, is_image| {
        if is_image {
            images.extend(frame.objects.iter().map(|(digest, _)| *digest));
        }
        None::<()>
    })?;
    Ok(images)
}

fn find<T>(
    input: impl io::Read,
    mut look: impl FnMut(&FrameInfo, bool) -> Option<T>,
) -> Result<Option<T>, FormatError> {
    let mut reader = TypedRecordReader::new(input)?;
    while let Some(record) = reader.next_record()? {
        let found = match &record {
            TypedRecord::Frame(frame) => look(frame, false),
            TypedRecord::Image { frame, .. } => look(frame, true),
            _ => None,
        };
        if found.is_some() {
            return Ok(found);
        }
        io::copy(&mut reader, &mut io::sink()).map_err(FormatError::Io)?;
    }
    Ok(None)
}
