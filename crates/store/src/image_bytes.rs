//! An image in memory, with the digest of the whole file it was read from.

use std::io::{self, Read};

use libcomposefs_image::erofs::read::{HEAD_LEN, said_len};
use libcomposefs_image::verity::Hasher;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_sys::copy::READ_SIZE;
use libcomposefs_sys::head_first;

/// An image that was read from a file.
///
/// The file may be longer than its superblock says, for example by a hole of terabytes. Bytes after the image are
/// hashed, since the digest of the file covers them, but not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageBytes {
    /// The image: as many bytes as its superblock says, or the whole file if that is shorter. If the file is not an
    /// image, only its first bytes.
    pub bytes: Vec<u8>,
    /// The fs-verity digest of the whole file.
    pub digest: Digest,
    /// Length of the file in bytes.
    pub file_len: u64,
}

impl ImageBytes {
    /// Reads a file to its end. `len` is the length of the file, if it is known for certain; else the buffer grows
    /// with the data.
    ///
    /// # Errors
    ///
    /// Reading failed, or `OutOfMemory`.
    pub fn read(input: &mut impl Read, len: Option<u64>, algorithm: Algorithm) -> io::Result<Self> {
        let head_first::Beginning { bytes, excess } =
            head_first::read(input, Vec::new(), len, HEAD_LEN, |head| said_len(head).ok())?;
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&bytes);
        hasher.update(&excess);
        let mut file_len = (bytes.len() + excess.len()) as u64;
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            match input.take(READ_SIZE as u64).read_to_end(&mut buffer)? {
                0 => return Ok(Self { bytes, digest: hasher.finish(), file_len }),
                len => file_len += len as u64,
            }
            hasher.update(&buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use libcomposefs_image::erofs::{Image, Versions};
    use libcomposefs_image::tree::{NewInode, TreeBuilder};
    use libcomposefs_image::verity;

    use super::*;

    #[test]
    fn bytes_after_the_image_are_hashed_and_not_kept() {
        let root = NewInode { mode: 0o040_755, nlink: 1, ..NewInode::default() };
        let tree = TreeBuilder::new(Algorithm::Sha256, &root).unwrap().finish();
        let mut image = Vec::new();
        Image::plan(&tree, Versions::default()).unwrap().write(&mut image).unwrap();
        let no_image = vec![7; 3_000_000];
        for (file, kept) in [
            (image.clone(), image.len()),
            ([&image[..], b"x"].concat(), image.len()),
            ([&image[..], &[0; 1_000_000]].concat(), image.len()),
            (image[..image.len() - 1].to_vec(), image.len() - 1),
            (image[..100].to_vec(), 100),
            (no_image, HEAD_LEN),
        ] {
            for len in [None, Some(file.len() as u64)] {
                let read = ImageBytes::read(&mut &file[..], len, Algorithm::Sha512).unwrap();
                assert_eq!((read.bytes.len(), read.file_len), (kept, file.len() as u64));
                assert_eq!(read.digest, verity::digest(Algorithm::Sha512, &file));
                assert_eq!(read.bytes, file[..kept]);
            }
        }
    }
}
