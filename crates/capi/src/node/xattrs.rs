//! The extended attributes of a node, in the order in which a C program sees them.

use std::ffi::{CStr, CString};

use libcomposefs_image::tree::{MAX_XATTR_NAME, MAX_XATTR_VALUE, MAX_XATTRS_TOTAL, XATTRS_BASE, xattr_cost};
use rustix::io::Errno;

#[derive(Clone, Debug)]
struct Pair {
    name: CString,
    /// The value and a NUL, so that there is always something to point at.
    value: Vec<u8>,
}

/// The extended attributes of a node, sorted by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Xattrs(Vec<Pair>);

impl Xattrs {
    fn find(&self, name: &CStr) -> Option<usize> {
        self.0.iter().position(|pair| *pair.name == *name)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn name(&self, index: usize) -> Option<&CStr> {
        Some(&self.0.get(index)?.name)
    }

    pub(crate) fn get(&self, name: &CStr) -> Option<&[u8]> {
        Some(value_of(&self.0[self.find(name)?]))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&CStr, &[u8])> {
        self.0.iter().map(|pair| (&*pair.name, value_of(pair)))
    }

    /// Sets an attribute. One that is replaced goes to the end, and the last one to its place, as in the C library.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a value, `ERANGE` for a name or a sum of all that an image has no place for.
    pub(crate) fn set(&mut self, name: &CStr, value: &[u8]) -> Result<(), Errno> {
        let len = name.count_bytes();
        if len == 0 || len > MAX_XATTR_NAME {
            return Err(Errno::RANGE);
        }
        if value.len() > MAX_XATTR_VALUE {
            return Err(Errno::INVAL);
        }
        let place = self.find(name);
        let others = self.0.iter().enumerate().filter(|(index, _)| Some(*index) != place);
        let others: usize = others.map(|(_, pair)| xattr_cost(pair.name.count_bytes(), value_of(pair).len())).sum();
        if XATTRS_BASE + others + xattr_cost(len, value.len()) > MAX_XATTRS_TOTAL {
            return Err(Errno::RANGE);
        }
        if let Some(place) = place {
            self.0.swap_remove(place);
        }
        self.0.push(Pair { name: name.to_owned(), value: [value, b"\0"].concat() });
        Ok(())
    }

    /// Removes an attribute; the last one takes its place.
    ///
    /// # Errors
    ///
    /// `ENODATA`
    pub(crate) fn unset(&mut self, name: &CStr) -> Result<(), Errno> {
        let place = self.find(name).ok_or(Errno::NODATA)?;
        self.0.swap_remove(place);
        Ok(())
    }
}

fn value_of(pair: &Pair) -> &[u8] {
    &pair.value[..pair.value.len() - 1]
}
