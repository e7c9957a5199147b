//! Warning for a directory that is opaque in the source but not in the image.

use libcomposefs_image::dump::{Also, escape};
use libcomposefs_image::erofs::LostOpaque;

/// Prints the warnings on standard error, prefixed with the program's name. This is not a failure: the C tool writes
/// the same image.
pub(crate) fn warn(program: &str, lost: &LostOpaque) {
    for path in &lost.first {
        let mut shown = Vec::new();
        escape(path, Also::NotSpaces, &mut shown);
        tell!(
            "{program}: warning: {}: this directory is opaque and contains a whiteout. The image format stores \
             both in one attribute, so the directory is not opaque in the image: if the image is used as a layer above \
             others, files that this directory hides become visible again",
            String::from_utf8_lossy(&shown)
        );
    }
    let more = lost.count - lost.first.len();
    if more > 0 {
        tell!("{program}: warning: {more} more directories are not opaque in the image for the same reason");
    }
}
