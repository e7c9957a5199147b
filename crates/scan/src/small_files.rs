//! Small contents that are hashed together.
//!
//! Hashing one block alone leaves most of a core's SHA unit idle, and so does hashing the descriptor at the end of
//! every digest. Hence the contents of small files are read into one buffer, each padded with zeros to whole blocks,
//! and hashed when that is full. The buffer is small enough to be still in the core's own cache by then.

use libcomposefs_image::digest::{Algorithm, Digest};
use libcomposefs_image::verity::{BLOCK_SIZE, digest_many};

/// Contents longer than this are hashed at once.
pub(crate) const SMALL_MAX: usize = 64 << 10;
/// Number of buffered bytes at which the contents are hashed.
const FULL: usize = 128 << 10;
/// Size of the buffer: room for one more content, and for a byte that shows if its file has grown.
const ROOM: usize = FULL + SMALL_MAX + BLOCK_SIZE;

#[derive(Debug, Default)]
pub(crate) struct SmallFiles {
    blocks: Vec<u8>,
    /// Number of bytes of `blocks` in use.
    used: usize,
    lens: Vec<usize>,
}

impl SmallFiles {
    /// Returns room for a content of up to `len` bytes, at most [`SMALL_MAX`], and one byte more.
    pub(crate) fn room(&mut self, len: usize) -> &mut [u8] {
        self.blocks.resize(ROOM, 0);
        &mut self.blocks[self.used..][..=len]
    }

    /// Keeps the first `len` bytes that were read into the [`room`](Self::room). Returns the number of the content.
    pub(crate) fn keep(&mut self, len: usize) -> usize {
        let end = self.used + len.next_multiple_of(BLOCK_SIZE);
        self.blocks[self.used + len..end].fill(0);
        self.used = end;
        self.lens.push(len);
        self.lens.len() - 1
    }

    pub(crate) fn is_full(&self) -> bool {
        self.used >= FULL
    }

    /// Returns the contents in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.blocks.as_slice();
        self.lens.iter().map(move |&len| {
            let (own, others) = rest.split_at(len.next_multiple_of(BLOCK_SIZE));
            rest = others;
            &own[..len]
        })
    }

    /// Computes the digests of all contents.
    pub(crate) fn digests(&self, algorithm: Algorithm) -> Vec<Digest> {
        digest_many(algorithm, &self.lens, &self.blocks[..self.used])
    }

    pub(crate) fn clear(&mut self) {
        self.used = 0;
        self.lens.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libcomposefs_image::verity::digest;

    #[test]
    fn kept_contents_are_hashed_in_a_reused_buffer() {
        let mut contents = SmallFiles::default();
        for round in 0..2u8 {
            let lens = [1, 4096, 65, 4095, 4097, SMALL_MAX];
            for (number, len) in lens.into_iter().enumerate() {
                let room = contents.room(len);
                assert_eq!(room.len(), len + 1);
                room.fill(7 - round);
                assert_eq!(contents.keep(len), number);
            }
            let kept: Vec<Vec<u8>> = contents.iter().map(<[u8]>::to_vec).collect();
            assert_eq!(kept, lens.map(|len| vec![7 - round; len]));
            let digests: Vec<_> = kept.iter().map(|content| digest(Algorithm::Sha256, content)).collect();
            assert_eq!(contents.digests(Algorithm::Sha256), digests);
            contents.clear();
            assert_eq!(contents.iter().count(), 0);
        }
    }

    #[test]
    fn the_largest_content_fits_when_nearly_full() {
        let mut contents = SmallFiles::default();
        while !contents.is_full() {
            contents.room(SMALL_MAX - 1).fill(1);
            contents.keep(SMALL_MAX - 1);
        }
        contents.clear();
        contents.room(4);
        contents.keep(4);
        // As full as possible without `is_full`.
        while contents.used + SMALL_MAX < FULL {
            contents.room(SMALL_MAX);
            contents.keep(SMALL_MAX);
        }
        assert!(!contents.is_full());
        assert_eq!(contents.room(SMALL_MAX).len(), SMALL_MAX + 1);
    }
}
