//! Reading the extended attributes of one inode into the harvest.

use std::ffi::CStr;
use std::io;
use std::ops::Range;

use composefs_sys::xattr::{self, Target};

use crate::harvest::Harvest;
use crate::options::XattrChoice;

/// The buffers for it.
#[derive(Debug, Default)]
pub(crate) struct AttributeReader {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl AttributeReader {
    /// Reads those that are wanted; returns where they are in the harvest. One that is removed meanwhile is not there.
    pub(crate) fn read(
        &mut self,
        choice: XattrChoice,
        target: Target<'_>,
        harvest: &mut Harvest,
    ) -> io::Result<Range<usize>> {
        let start = harvest.xattrs.len();
        if choice == XattrChoice::None {
            return Ok(start..start);
        }
        xattr::list(target, &mut self.names)?;
        for name in self.names.split_inclusive(|&b| b == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
            if choice == XattrChoice::UserOnly && !name.to_bytes().starts_with(b"user.") {
                continue;
            }
            if xattr::get(target, name, &mut self.value)? {
                let name = harvest.keep(name.to_bytes());
                let value = harvest.keep(&self.value);
                harvest.xattrs.push((name, value));
            }
        }
        Ok(start..harvest.xattrs.len())
    }
}
