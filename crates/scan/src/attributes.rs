//! Reading the extended attributes of one inode into the harvest.

use std::io;
use std::ops::Range;

use libcomposefs_sys::xattr::{Reader, Target};

use crate::options::XattrChoice;
use crate::pending::PendingInodes;

/// The buffers for it.
#[derive(Debug, Default)]
pub(crate) struct AttributeReader(Reader);

impl AttributeReader {
    /// Reads those that are wanted; returns where they are in the harvest.
    pub(crate) fn read(
        &mut self,
        choice: XattrChoice,
        target: Target<'_>,
        harvest: &mut PendingInodes,
    ) -> io::Result<Range<usize>> {
        let start = harvest.xattrs.len();
        if choice != XattrChoice::None {
            let wanted = |name: &[u8]| choice != XattrChoice::UserOnly || name.starts_with(b"user.");
            self.0.each(target, wanted, |name, value| {
                let name = harvest.keep(name.to_bytes());
                let value = harvest.keep(value);
                harvest.xattrs.push((name, value));
                Ok::<_, io::Error>(())
            })?;
        }
        Ok(start..harvest.xattrs.len())
    }
}
