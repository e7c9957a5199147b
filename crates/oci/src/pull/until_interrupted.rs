//! Reading until the operation is cancelled.

use std::io::{self, Read};

use libcomposefs_repo::Transaction;

/// Reads `input`. A read fails when the operation of the transaction was cancelled.
pub(super) struct UntilInterrupted<'t, 'r, R> {
    pub(super) input: R,
    pub(super) transaction: &'t Transaction<'r>,
}

impl<R: Read> Read for UntilInterrupted<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.transaction.proceed().map_err(io::Error::other)?;
        self.input.read(buffer)
    }
}
