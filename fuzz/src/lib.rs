//! Shared code of the fuzz targets.

mod budget;
mod pieces;
mod scratch;

pub use budget::{Budget, Linear};
pub use pieces::{Piece, pieces};
pub use scratch::{Facts, KEPT, everything, repository, scratch};

use std::num::NonZeroUsize;

use libcomposefs_hash::{BLOCK_SIZE, Family};
use libcomposefs_image::dump::{DumpError, Options, Parsed, Parser};
use libcomposefs_image::erofs::read::{ImageReader, LoadedImage, ReadError, load};
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_image::tree::Tree;
use libcomposefs_image::verity;
use sha2::{Digest as _, Sha256, Sha512};

/// Reads a dump as the program does: line by line, the last one with or without its newline.
pub fn parse(options: Options, text: &[u8]) -> Result<Parsed, DumpError> {
    let mut parser = Parser::new(options);
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        parser.push_line(line.strip_suffix(b"\n").unwrap_or(line))?;
    }
    parser.check_last_line(text.ends_with(b"\n"))?;
    parser.finish()
}

/// Reads a whole image.
pub fn read(image: &[u8]) -> Result<LoadedImage, ReadError> {
    load(&ImageReader::new(image)?, &[])
}

const THREADS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

/// Writes a tree as an image, in both ways there are; `None` where it has none in this version.
///
/// # Panics
///
/// If the two differ, or length or digest are others than those of the bytes.
#[must_use]
pub fn write(tree: &Tree, version: u32) -> Option<Vec<u8>> {
    let image = Image::plan(tree, Versions::exactly(version)).ok()?;
    let (mut bytes, mut again) = (Vec::new(), Vec::new());
    image.write(&mut bytes).expect("memory takes all");
    assert_eq!(bytes.len() as u64, image.len());
    let digest = image.write_and_digest(tree.algorithm(), THREADS, &mut again).expect("memory takes all");
    assert!(again == bytes, "the image of version {version} is another one on several threads");
    assert_eq!(verity::digest(tree.algorithm(), &bytes), digest);
    Some(bytes)
}

/// A hash by the sha2 crate, which is what every other way is measured by.
#[must_use]
pub fn reference_hash(family: Family, message: &[u8]) -> Vec<u8> {
    match family {
        Family::Sha256 => Sha256::digest(message).to_vec(),
        Family::Sha512 => Sha512::digest(message).to_vec(),
    }
}

/// The hashes of the blocks of `data` by the sha2 crate, the last block filled up with zeros.
#[must_use]
pub fn reference_blocks(family: Family, data: &[u8]) -> Vec<u8> {
    let hash = |block: &[u8]| {
        let mut whole = [0; BLOCK_SIZE];
        whole[..block.len()].copy_from_slice(block);
        reference_hash(family, &whole)
    };
    data.chunks(BLOCK_SIZE).flat_map(hash).collect()
}

/// As many blocks as it takes to fill the widest kernel, and then some.
const MAX_BLOCKS: usize = 41;

/// Data of up to `MAX_BLOCKS` blocks made from a fuzzer's few bytes: the first two tell the length, the rest is
/// repeated, never the same in two blocks. What is left over for other choices is returned with it.
#[must_use]
pub fn many_blocks(input: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let ([blocks, rest], seed) = input.split_first_chunk()?;
    // Three in four are few: they are done soon, and every number up to five leaves another rest.
    let most = if blocks % 4 == 0 { MAX_BLOCKS } else { 5 };
    let (blocks, rest) = (usize::from(blocks / 4) % (most + 1), usize::from(*rest));
    // A little more than a whole number of blocks, or less.
    let len = match rest.checked_sub(128) {
        None => blocks * BLOCK_SIZE + rest,
        Some(rest) => (blocks + 1) * BLOCK_SIZE - 1 - 16 * rest,
    };
    let mut data = vec![0; len];
    for (number, block) in data.chunks_mut(BLOCK_SIZE).enumerate() {
        if !seed.is_empty() {
            block.chunks_mut(seed.len()).for_each(|piece| piece.copy_from_slice(&seed[..piece.len()]));
        }
        block[0] ^= number as u8;
    }
    Some((data, seed))
}
