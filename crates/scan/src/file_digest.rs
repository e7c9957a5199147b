//! The digest of one file, by all threads at once.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use composefs_image::digest::{Algorithm, Digest};
use composefs_image::verity::{Hasher, hash_whole_blocks};
use composefs_sys::copy::fill;

/// What a thread reads at a time: some of it is still in the core's cache when it is hashed.
const PIECE: usize = 256 << 10;

/// The digest of what a file holds, from its start to its end, whatever its offset.
///
/// The threads take pieces by turns and hash their blocks; the hashes join the tree in order, so that no more than one
/// piece for each thread waits. Memory does not grow with the file.
///
/// # Errors
///
/// What reading gives, or `UnexpectedEof` if the file is cut short meanwhile.
pub fn digest_file(file: BorrowedFd<'_>, algorithm: Algorithm, threads: NonZeroUsize) -> io::Result<Digest> {
    let size = u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0);
    let threads = threads.get().min(usize::try_from(size.div_ceil(PIECE as u64)).unwrap_or(usize::MAX)).max(1);
    let work = Work { file, algorithm, tree: Mutex::new(Tree::new(algorithm)), advanced: Condvar::new() };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // With fewer threads than wished for the work is done all the same.
            let _ = std::thread::Builder::new().spawn_scoped(scope, || work.run());
        }
        work.run();
    });
    let tree = work.tree.into_inner().unwrap_or_else(PoisonError::into_inner);
    match tree.error {
        Some(error) => Err(error),
        None => Ok(tree.hasher.finish()),
    }
}

struct Work<'f> {
    file: BorrowedFd<'f>,
    algorithm: Algorithm,
    tree: Mutex<Tree>,
    /// The tree has got the next piece.
    advanced: Condvar,
}

struct Tree {
    hasher: Hasher,
    /// The number of the piece that nobody has taken.
    next_taken: u64,
    /// The number of the piece that joins the tree next.
    next_joined: u64,
    /// The end was seen: no piece is to be taken.
    ended: bool,
    error: Option<io::Error>,
}

impl Tree {
    fn new(algorithm: Algorithm) -> Self {
        Self { hasher: Hasher::new(algorithm), next_taken: 0, next_joined: 0, ended: false, error: None }
    }
}

impl Work<'_> {
    fn lock(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let (mut buffer, mut hashes) = (vec![0; PIECE], Vec::new());
        while let Some(piece) = self.take() {
            let read = fill(self.file, &mut buffer, piece * PIECE as u64);
            let len = *read.as_ref().unwrap_or(&0);
            hashes.clear();
            let rest = hash_whole_blocks(self.algorithm, &buffer[..len], &mut hashes);
            self.join(piece, read, &hashes, rest);
        }
    }

    /// The number of the next piece, if there may be one.
    fn take(&self) -> Option<u64> {
        let mut tree = self.lock();
        if tree.ended {
            return None;
        }
        tree.next_taken += 1;
        Some(tree.next_taken - 1)
    }

    /// Adds a piece to the tree when all those before it are there.
    fn join(&self, piece: u64, read: io::Result<usize>, hashes: &[u8], rest: &[u8]) {
        let mut tree = self.lock();
        while tree.next_joined != piece {
            tree = self.advanced.wait(tree).unwrap_or_else(PoisonError::into_inner);
        }
        tree.next_joined += 1;
        let was_ended = std::mem::replace(&mut tree.ended, !matches!(read, Ok(PIECE)));
        tree.ended |= was_ended;
        match read {
            Err(error) if tree.error.is_none() => tree.error = Some(error),
            Ok(len) if was_ended && len > 0 && tree.error.is_none() => {
                // Behind the end that another thread saw: the file grows.
                tree.error = Some(io::Error::new(io::ErrorKind::UnexpectedEof, "the file changed while it was read"));
            }
            Ok(len) if len > 0 && tree.error.is_none() => {
                tree.hasher.update_hashed(hashes);
                tree.hasher.update(rest);
            }
            _ => {}
        }
        self.advanced.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use composefs_image::verity;

    use super::*;

    #[test]
    fn it_is_the_digest_of_the_bytes() {
        let data: Vec<u8> = (0..5 * PIECE as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for len in [0, 1, 4095, 4096, 4097, PIECE - 1, PIECE, PIECE + 1, 4 * PIECE, 5 * PIECE - 77] {
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
    fn what_cannot_be_read_is_an_error() {
        let directory = std::fs::File::open("/").unwrap();
        assert!(digest_file(directory.as_fd(), Algorithm::Sha256, NonZeroUsize::MIN).is_err());
    }
}
