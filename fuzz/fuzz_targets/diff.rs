//! Two hostile dumps, with a NUL between them: a tree has no difference to itself, nor to what it is after it was
//! written and read; two trees without a difference have the same image.
#![no_main]

use composefs_fuzz::{Budget, Linear, parse, write};
use libcomposefs_image::Algorithm;
use libcomposefs_image::diff::causes::causes;
use libcomposefs_image::diff::{Options, Side, diff};
use libcomposefs_image::dump;
use libcomposefs_image::tree::Tree;
use libfuzzer_sys::fuzz_target;

static BUDGET: Budget =
    Budget::new("diff", Linear { base: 2 << 20, per_byte: 200 }, Linear { base: 50_000_000, per_byte: 20_000 });

fuzz_target!(|text: &[u8]| {
    let middle = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    let (a, b) = (&text[..middle], text.get(middle + 1..).unwrap_or_default());
    let read = |text| parse(dump::Options { algorithm: Algorithm::Sha256, strict: false }, text).ok();
    let Some(a) = read(a) else { return };
    let Some(b) = read(b) else {
        BUDGET.check(text.len(), || same(&a.tree, &a.tree));
        return;
    };
    BUDGET.check(text.len(), || compare(&a.tree, &b.tree));
});

fn same(a: &Tree, b: &Tree) {
    let found = diff(a, b, &Options::default());
    assert!(found.is_empty(), "a tree is not the same as itself: {:?}", found.changes());
    assert!(causes(&found).is_empty());
}

fn compare(a: &Tree, b: &Tree) {
    same(a, a);
    same(b, b);
    let options = Options::default();
    let (there, back) = (diff(a, b, &options), diff(b, a, &options));
    assert_eq!(there.changes().len(), back.changes().len());
    assert_eq!(there.is_empty(), causes(&there).is_empty());
    for change in there.changes().iter().take(100) {
        assert!(there.path(change).starts_with(b"/"));
        let is_on = |side| there.inode(side, change).is_some();
        assert!(is_on(Side::A) || is_on(Side::B));
        let _ = there.xattrs(change);
        for side in [Side::A, Side::B] {
            assert!(there.names(side, change, 3).len() <= 3);
        }
    }
    if there.is_empty() && there.counts().incomparable == 0 {
        assert!(write(a, 1) == write(b, 1), "no difference, but other images");
    }
}
