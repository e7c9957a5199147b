//! Computes the digest of one file on several threads.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;

use libcomposefs_image::digest::{Algorithm, Digest};
use libcomposefs_image::in_order;
use libcomposefs_image::verity::{Hasher, hash_whole_blocks};
use libcomposefs_sys::copy::READ_SIZE;
use libcomposefs_sys::sparse::{Holes, Stretch};

/// Computes the fs-verity digest of a whole file, independent of the file offset.
///
/// The threads take pieces of the file in turn and hash their blocks. The hashes are added to the Merkle tree in file
/// order, so at most one piece per thread is buffered, and memory use does not grow with the file. Holes are not
/// read.
///
/// # Errors
///
/// Reading failed, or `UnexpectedEof` if the file was seen to grow meanwhile.
///
/// # Examples
///
/// ```
/// use std::io::Write;
/// use std::num::NonZeroUsize;
/// use std::os::fd::AsFd;
///
/// use libcomposefs_content::{digest_file, thread_count};
/// use libcomposefs_image::digest::Algorithm;
/// use libcomposefs_image::verity;
///
/// let mut file = tempfile::tempfile()?;
/// file.write_all(b"hello")?;
/// let digest = digest_file(file.as_fd(), Algorithm::Sha256, thread_count(NonZeroUsize::new(2)))?;
/// assert_eq!(digest, verity::digest(Algorithm::Sha256, b"hello"));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn digest_file(file: BorrowedFd<'_>, algorithm: Algorithm, threads: NonZeroUsize) -> io::Result<Digest> {
    let size = u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0);
    let threads = threads.get().min(usize::try_from(size.div_ceil(READ_SIZE as u64)).unwrap_or(usize::MAX)).max(1);
    let mut state = DigestState { hasher: Hasher::new(algorithm), ended: false, error: None };
    let holes = Holes::default();
    let make = |number, piece: &mut FilePiece| {
        piece.read(file, &holes, algorithm, number * READ_SIZE as u64);
        true
    };
    in_order(NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN), make, |piece| state.join(piece));
    match state.error {
        Some(error) => Err(error),
        None => Ok(state.hasher.finish()),
    }
}

/// A piece of the file, with the hashes of its whole blocks.
#[derive(Default)]
struct FilePiece {
    bytes: Vec<u8>,
    hashes: Vec<u8>,
    read: Option<io::Result<PieceRead>>,
}

/// The result of reading one piece.
enum PieceRead {
    /// The number of bytes read, and the number of those in whole blocks.
    Bytes(usize, usize),
    /// A run of this many zeros, and no data.
    Zeros(u64),
}

impl FilePiece {
    fn read(&mut self, file: BorrowedFd<'_>, holes: &Holes, algorithm: Algorithm, offset: u64) {
        self.bytes.resize(READ_SIZE, 0);
        self.hashes.clear();
        self.read = Some(holes.fill(file, &mut self.bytes, offset).map(|stretch| match stretch {
            Stretch::Bytes(bytes) => {
                let rest = hash_whole_blocks(algorithm, bytes, &mut self.hashes);
                PieceRead::Bytes(bytes.len(), bytes.len() - rest.len())
            }
            Stretch::Zeros(len) => PieceRead::Zeros(len),
        }));
    }
}

struct DigestState {
    hasher: Hasher,
    /// Set once the end of the file was read.
    ended: bool,
    error: Option<io::Error>,
}

impl DigestState {
    /// Adds the next piece. Returns true if another piece may follow.
    fn join(&mut self, piece: &mut FilePiece) -> bool {
        match piece.read.take() {
            Some(Ok(PieceRead::Bytes(1.., _) | PieceRead::Zeros(_))) if self.ended => {
                // Data after the end that another thread saw: the file grows.
                self.fail(io::Error::new(io::ErrorKind::UnexpectedEof, "the file changed while it was read"));
            }
            Some(Ok(PieceRead::Bytes(0, _))) => self.ended = true,
            Some(Ok(PieceRead::Bytes(len, whole))) => {
                self.hasher.update_hashed(&piece.hashes);
                self.hasher.update(&piece.bytes[whole..len]);
                self.ended |= len < READ_SIZE;
            }
            Some(Ok(PieceRead::Zeros(len))) => {
                self.hasher.update_zeros(len);
                self.ended |= len < READ_SIZE as u64;
            }
            Some(Err(error)) => self.fail(error),
            None => unreachable!("a piece that is joined was read"),
        }
        !self.ended
    }

    fn fail(&mut self, error: io::Error) {
        self.ended = true;
        self.error.get_or_insert(error);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    use libcomposefs_image::verity;

    use super::*;

    #[test]
    fn the_digest_is_that_of_the_bytes() {
        let data: Vec<u8> = (0..5 * READ_SIZE as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for len in [0, 1, 4095, 4096, 4097, READ_SIZE - 1, READ_SIZE, READ_SIZE + 1, 4 * READ_SIZE, 5 * READ_SIZE - 77]
        {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&data[..len]).unwrap();
            for algorithm in Algorithm::ALL {
                for threads in [1, 2, 3, 8] {
                    let digest = digest_file(file.as_fd(), algorithm, NonZeroUsize::new(threads).unwrap()).unwrap();
                    assert_eq!(digest, verity::digest(algorithm, &data[..len]), "{len} bytes, {threads} threads");
                }
            }
        }
    }

    #[test]
    fn holes_are_zeros() {
        let data = |places: &[usize]| {
            let mut data = vec![0; 5 * READ_SIZE + 4000];
            places.iter().for_each(|&place| data[place] = 1);
            data
        };
        for places in [&[][..], &[0], &[3 * READ_SIZE], &[2 * READ_SIZE + 5, 5 * READ_SIZE + 3999]] {
            let data = data(places);
            let sparse = tempfile::tempfile().unwrap();
            sparse.set_len(data.len() as u64).unwrap();
            places.iter().for_each(|&place| sparse.write_all_at(&[1], place as u64).unwrap());
            for algorithm in Algorithm::ALL {
                for threads in [1, 3] {
                    let digest = digest_file(sparse.as_fd(), algorithm, NonZeroUsize::new(threads).unwrap()).unwrap();
                    assert_eq!(digest, verity::digest(algorithm, &data), "{places:?}, {threads} threads");
                }
                let digest = crate::digest_pieces(sparse.as_fd(), algorithm, &mut [0; 8192]).unwrap();
                assert_eq!(digest, verity::digest(algorithm, &data), "{places:?}");
            }
        }
    }

    #[test]
    fn a_read_error_is_returned() {
        let directory = std::fs::File::open("/").unwrap();
        assert!(digest_file(directory.as_fd(), Algorithm::Sha256, NonZeroUsize::MIN).is_err());
    }
}
