//! Making a record that is known to rebuild its blob.

use std::io::{self, BufReader, Read};

use super::{BlobRecordError, make_record, rebuild};
use crate::compression::LayerDecoder;

/// Makes the record of a blob of `size` bytes and rebuilds the blob from it, so that the digests are compared. `open`
/// opens the blob; it is called twice.
///
/// # Errors
///
/// If the blob cannot be read, there is no record for it, or the record does not rebuild it.
pub fn make_verified_record<R: Read>(
    mut open: impl FnMut() -> io::Result<R>,
    size: u64,
    window_log: u32,
) -> Result<Vec<u8>, BlobRecordError> {
    let record = make_record(open()?, size)?;
    let mut archive = LayerDecoder::new(BufReader::new(open()?), window_log)?;
    rebuild(&record, &mut archive, &mut io::sink())?;
    Ok(record)
}
