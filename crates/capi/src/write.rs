//! Writing the image of a tree through a callback.

use std::io::{self, Write};
use std::rc::Rc;

use libcomposefs_image::Algorithm;
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_image::verity::Hasher;
use rustix::io::Errno;

use crate::content::Raw;
use crate::errno::{of_io, of_write};
use crate::node::Node;
use crate::to_tree::to_tree;

/// A callback that takes some of the bytes it is given and returns their number.
pub(crate) type Take<'a> = dyn FnMut(&[u8]) -> Result<usize, Errno> + 'a;

/// The result of writing an image.
pub(crate) struct Written {
    pub(crate) version: u32,
    pub(crate) digest: Option<Raw>,
}

/// Writes the image of a tree, from its first byte to its last, in large pieces. `write` gives how many bytes it took.
///
/// # Errors
///
/// `EINVAL` for versions that do not exist, what [`to_tree`] and the writer refuse, and what `write` gives.
pub(crate) fn write<'a>(
    root: &Rc<Node>,
    versions: Versions,
    digest: bool,
    write: Option<&'a mut Take<'a>>,
) -> Result<Written, Errno> {
    let tree = to_tree(root)?;
    let image = Image::plan(&tree, versions).map_err(|error| of_write(&error))?;
    let version = image.format_version();
    let mut out = Output { hasher: digest.then(|| Hasher::new(Algorithm::Sha256)), write };
    let mut buffered = io::BufWriter::with_capacity(BUFFER, &mut out);
    let done = image.write(&mut buffered).map_err(|error| of_io(&error));
    // Not dropped: after a failure that would call the callback once more.
    let _ = buffered.into_parts();
    done?;
    let digest = out.hasher.and_then(|hasher| hasher.finish().as_bytes().try_into().ok());
    Ok(Written { version, digest })
}

/// The least number of bytes given to the callback at a time, except at the end.
const BUFFER: usize = 256 << 10;

/// The destination of the image; the callback is called on the caller's own thread.
struct Output<'a> {
    hasher: Option<Hasher>,
    write: Option<&'a mut Take<'a>>,
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = match &mut self.write {
            Some(write) => write(bytes)?,
            None => bytes.len(),
        };
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes[..taken]);
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
