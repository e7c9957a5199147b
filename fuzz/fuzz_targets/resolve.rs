//! A path, a NUL and a hostile image: the path leads to something in the image or to an error, and what it leads to is
//! found again by its path without symlinks.
#![no_main]

use composefs_fuzz::{Budget, Linear};
use libcomposefs_image::erofs::read::{ImageReader, LastLink, View, load};
use libcomposefs_image::tree::Kind;
use libfuzzer_sys::fuzz_target;

static BUDGET: Budget =
    Budget::new("resolve", Linear { base: 256 << 10, per_byte: 64 }, Linear { base: 20_000_000, per_byte: 2_000 });
/// The number of names and entries of an image that are checked.
const MANY: usize = 50;

fuzz_target!(|input: &[u8]| {
    let Some(nul) = input.iter().position(|byte| *byte == 0) else { return };
    let (path, image) = (&input[..nul], &input[nul + 1..]);
    let Ok(reader) = ImageReader::new(image) else { return };
    BUDGET.check(input.len(), || {
        let view = View::new(&reader);
        resolve(&view, path);
        look_around(&view);
        all_that_is_loaded(&view);
    });
});

fn resolve(view: &View<'_, '_>, path: &[u8]) {
    for last in [LastLink::Follow, LastLink::Keep] {
        let Ok(found) = view.resolve(path, last) else { continue };
        assert!(found.path.starts_with(b"/"));
        assert!(last == LastLink::Keep || found.node.kind() != Kind::Symlink);
        assert_eq!(view.resolve(&found.path, LastLink::Keep).as_ref(), Ok(&found));
    }
}

/// Each symlink in the root as a path.
fn look_around(view: &View<'_, '_>) {
    let Ok(children) = view.root().and_then(|root| view.children(&root)) else { return };
    for child in children.take(MANY).flatten() {
        let _ = view.xattrs(&child.node);
        if child.node.kind() == Kind::Symlink {
            resolve(view, child.name);
            if let Ok(target) = view.target(&child.node) {
                resolve(view, target);
            }
        }
    }
}

/// Checks that the view finds all entries that can be loaded.
fn all_that_is_loaded(view: &View<'_, '_>) {
    let Ok(loaded) = load(view.reader(), &[]) else { return };
    let mut entries = loaded.tree.depth_first();
    for _ in 0..MANY {
        let Some((path, _)) = entries.step() else { break };
        assert!(view.resolve(path, LastLink::Keep).is_ok(), "{} is loaded and not found", path.escape_ascii());
    }
}
