//! Reading the extended attributes of one inode.

use std::io;
use std::ops::Range;

use libcomposefs_sys::xattr::{Reader, Target};

use crate::options::XattrChoice;
use crate::pending::PendingInodes;

/// Buffers for reading extended attributes.
#[derive(Debug, Default)]
pub(crate) struct AttributeReader(Reader);

impl AttributeReader {
    /// Reads the selected attributes into `pending`. Returns their range in `pending.xattrs`.
    pub(crate) fn read(
        &mut self,
        choice: XattrChoice,
        target: Target<'_>,
        pending: &mut PendingInodes,
    ) -> io::Result<Range<usize>> {
        let start = pending.xattrs.len();
        if choice != XattrChoice::None {
            let wanted = |name: &[u8]| choice != XattrChoice::UserOnly || name.starts_with(b"user.");
            self.0.each(target, wanted, |name, value| {
                let name = pending.keep(name.to_bytes());
                let value = pending.keep(value);
                pending.xattrs.push((name, value));
                Ok::<_, io::Error>(())
            })?;
        }
        Ok(start..pending.xattrs.len())
    }
}
