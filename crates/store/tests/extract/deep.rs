//! Trees deeper than the longest path and the limit of open files.

use libcomposefs_image::tree::{InodeId, NewInode};
use rustix::fs::{AtFlags, Mode, OFlags, fstat, openat, unlinkat};

use crate::place::{Place, builder, directory, failures, inline};

#[test]
fn a_tree_of_many_levels() {
    let levels: i64 = if std::env::var_os("COMPOSEFS_FULL").is_some() { 100_000 } else { 5000 };
    let place = Place::new();
    let mut tree = builder();
    let mut at = InodeId::ROOT;
    for level in 0..levels {
        let mut new = directory();
        new.mtime.sec = level;
        at = tree.add(at, b"d", &new).unwrap();
        if level % 1000 == 0 {
            tree.add(at, b"f", &NewInode { mode: 0o100400, ..inline(b"x") }).unwrap();
        }
    }
    let outcome = place.extract(&tree.finish());
    assert!(outcome.is_whole(), "{:?}", failures(&outcome));
    assert_eq!(outcome.directories as i64, levels + 1);
    let mut at = rustix::fs::open(place.path("out"), OFlags::RDONLY, Mode::empty()).unwrap();
    for level in 0..levels {
        at = openat(&at, "d", OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty()).unwrap();
        let stat = fstat(&at).unwrap();
        assert_eq!((stat.st_mtime, stat.st_mode & 0o7777), (level, 0o755));
        if level % 1000 == 0 {
            openat(&at, "f", OFlags::RDONLY, Mode::empty()).unwrap();
        }
    }
    // Innermost first: functions that remove whole trees use recursion, or paths.
    for _ in 0..levels {
        let _ = unlinkat(&at, "f", AtFlags::empty());
        at = openat(&at, "..", OFlags::RDONLY, Mode::empty()).unwrap();
        unlinkat(&at, "d", AtFlags::REMOVEDIR).unwrap();
    }
}
