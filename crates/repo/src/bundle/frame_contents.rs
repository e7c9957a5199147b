//! The small contents of a frame in memory, hashed together.

use std::io::{self, Read};

use libcomposefs_delta::{DecodeError, FrameInfo, ReadAt, decode};
use libcomposefs_image::verity::{BLOCK_SIZE, digest_many};
use libcomposefs_image::{Algorithm, Digest};

/// Opens a base.
pub(super) type OpenBase<'a> = dyn FnMut(&Digest) -> io::Result<Box<dyn ReadAt>> + 'a;

/// The decoded contents of a frame, one after the other, each padded with zeros to whole blocks.
pub(super) struct FrameContents {
    blocks: Vec<u8>,
    lens: Vec<usize>,
}

impl FrameContents {
    /// Decodes a frame; contents that are not wanted are empty. Memory grows with what is decoded.
    pub(super) fn decode(
        frame: &FrameInfo,
        input: &mut dyn Read,
        open: &mut OpenBase<'_>,
        is_wanted: &dyn Fn(&Digest) -> bool,
    ) -> Result<Self, DecodeError> {
        let wanted: Vec<bool> = frame.objects.iter().map(|(digest, _)| is_wanted(digest)).collect();
        let mut contents = Self { blocks: Vec::new(), lens: Vec::new() };
        decode(frame, input, open, &mut |object, piece| {
            contents.append(object, if wanted.get(object) == Some(&true) { piece } else { &[] });
            Ok(())
        })?;
        contents.pad();
        Ok(contents)
    }

    fn append(&mut self, object: usize, piece: &[u8]) {
        if self.lens.len() <= object {
            self.pad();
            self.lens.push(0);
        }
        self.blocks.extend_from_slice(piece);
        if let Some(len) = self.lens.last_mut() {
            *len += piece.len();
        }
    }

    fn pad(&mut self) {
        self.blocks.resize(self.blocks.len().next_multiple_of(BLOCK_SIZE), 0);
    }

    /// Returns the digests of the contents.
    pub(super) fn digests(&self, algorithm: Algorithm) -> Vec<Digest> {
        digest_many(algorithm, &self.lens, &self.blocks)
    }

    /// Returns the contents, in the order of the frame.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.blocks.as_slice();
        self.lens.iter().map_while(move |len| {
            let (content, _) = rest.split_at_checked(*len)?;
            (_, rest) = rest.split_at_checked(len.next_multiple_of(BLOCK_SIZE))?;
            Some(content)
        })
    }

    /// Returns the only content of a frame that has one.
    pub(super) fn into_only(mut self) -> Vec<u8> {
        self.blocks.truncate(self.lens.first().copied().unwrap_or_default());
        self.blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libcomposefs_delta::Coder;
    use libcomposefs_image::verity;

    #[test]
    fn contents_are_hashed_as_if_each_was_alone() {
        let parts: Vec<Vec<u8>> = [0, 1, 4095, 4096, 0, 4097, 700_000, 0]
            .iter()
            .map(|len| vec![len.to_string().as_bytes()[0]; *len])
            .collect();
        let all = parts.concat();
        let objects: Vec<_> =
            parts.iter().map(|part| (verity::digest(Algorithm::Sha256, part), part.len() as u64)).collect();
        let frame = FrameInfo { coder: Coder::Stored, length: all.len() as u64, objects, bases: Vec::new() };
        let mut open = |_: &Digest| -> io::Result<Box<dyn ReadAt>> { Err(io::ErrorKind::NotFound.into()) };
        let contents = FrameContents::decode(&frame, &mut &all[..], &mut open, &|_| true).unwrap();
        assert!(contents.iter().eq(parts.iter().map(Vec::as_slice)));
        let expected: Vec<_> = frame.objects.iter().map(|(digest, _)| *digest).collect();
        assert_eq!(contents.digests(Algorithm::Sha256), expected);
    }
}
