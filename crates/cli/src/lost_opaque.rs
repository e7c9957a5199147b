//! The warning that a directory is opaque in the source and not in the image.

use libcomposefs_image::dump::{Also, escape};
use libcomposefs_image::erofs::LostOpaque;

/// Warns on standard error, under the name of the program. It is not a failure: the C tool makes the same image.
pub(crate) fn warn(program: &str, lost: &LostOpaque) {
    for path in &lost.first {
        let mut shown = Vec::new();
        escape(path, Also::NotSpaces, &mut shown);
        tell!(
            "{program}: warning: {}: this directory is opaque and holds a whiteout. The image format has one attribute for \
             both, so the directory is not opaque in the image: if the image is a layer over others, files that this \
             directory hides show again",
            String::from_utf8_lossy(&shown)
        );
    }
    let more = lost.count - lost.first.len();
    if more > 0 {
        tell!("{program}: warning: directories that are not opaque in the image for the same reason: {more} more");
    }
}
