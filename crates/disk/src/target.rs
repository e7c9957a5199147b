//! The file or block device that a disk is written to.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::DiskError;
use crate::ext4::BLOCK;

const BLOCK_LEN: usize = BLOCK as usize;
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// A range of a file or device, which is written by offsets.
#[derive(Clone, Debug)]
pub(crate) struct DiskTarget<'f> {
    file: &'f File,
    /// Offset of the range.
    start: u64,
    /// The file is new, so that zeros need no write.
    is_sparse: bool,
    /// Set when the operation is cancelled.
    interrupt: Option<Arc<AtomicBool>>,
}

impl<'f> DiskTarget<'f> {
    pub(crate) fn new(file: &'f File, is_sparse: bool, interrupt: Option<Arc<AtomicBool>>) -> Self {
        Self { file, start: 0, is_sparse, interrupt }
    }

    /// Returns the range that begins at an offset.
    pub(crate) fn from(&self, start: u64) -> Self {
        Self { start: self.start + start, ..self.clone() }
    }

    /// Offset of the range in the file.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Fails if the operation was cancelled.
    pub(crate) fn proceed(&self) -> Result<(), DiskError> {
        match &self.interrupt {
            Some(flag) if flag.load(Ordering::Relaxed) => Err(DiskError::Interrupted),
            _ => Ok(()),
        }
    }

    /// Writes bytes. In a new file, blocks of zeros remain holes.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if !self.is_sparse {
            return self.file.write_all_at(bytes, self.start + offset);
        }
        let (mut begin, mut at) = (0, 0);
        for block in bytes.chunks(BLOCK_LEN) {
            if block == &ZEROS[..block.len()] {
                self.write_some(offset, bytes, begin, at)?;
                begin = at + block.len();
            }
            at += block.len();
        }
        self.write_some(offset, bytes, begin, at)
    }

    fn write_some(&self, offset: u64, bytes: &[u8], begin: usize, end: usize) -> io::Result<()> {
        if begin == end {
            return Ok(());
        }
        self.file.write_all_at(&bytes[begin..end], self.start + offset + begin as u64)
    }

    /// Writes zeros. A new file has them already.
    pub(crate) fn zero(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        if self.is_sparse {
            return Ok(());
        }
        let mut done = 0;
        while done < len {
            self.proceed()?;
            let piece = (len - done).min(ZEROS.len() as u64);
            let written = self.file.write_all_at(&ZEROS[..piece as usize], self.start + offset + done);
            written.map_err(DiskError::write("zeros"))?;
            done += piece;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Seek as _};
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn zeros_remain_holes_and_all_else_is_written() {
        let mut file = tempfile::tempfile().unwrap();
        let mut bytes = vec![0; 6 * BLOCK_LEN + 3];
        for at in [1, 3 * BLOCK_LEN, 4 * BLOCK_LEN + 9, 6 * BLOCK_LEN + 2] {
            bytes[at] = 7;
        }
        DiskTarget::new(&file, true, None).from(BLOCK).write(0, &bytes).unwrap();
        let mut found = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut found).unwrap();
        assert_eq!(found[..BLOCK_LEN], [0; BLOCK_LEN]);
        assert!(found[BLOCK_LEN..] == bytes);
        assert!(file.metadata().unwrap().blocks() < 7 * 8);
    }

    #[test]
    fn a_device_gets_its_zeros() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[0xff; 3 * BLOCK_LEN], 0).unwrap();
        let target = DiskTarget::new(&file, false, None);
        target.zero(1, BLOCK).unwrap();
        target.write(BLOCK + 1, &[0; 5]).unwrap();
        let mut found = [1; 3 * BLOCK_LEN];
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(found.iter().position(|byte| *byte == 0), Some(1));
        assert_eq!(found.iter().filter(|byte| **byte == 0).count(), BLOCK_LEN + 5);
    }
}
