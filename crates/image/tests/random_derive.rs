//! Derived trees of random trees: they have images that are read again as the same tree, and steps that undo each other
//! leave nothing.

use libcomposefs_image::derive::{DeriveError, IdRange, Recipe, RecipeBase, RecipeStep};
use libcomposefs_image::diff::{Options, diff};
use libcomposefs_image::erofs::read::{ImageReader, load};
use libcomposefs_image::policy::XattrPolicy;
use libcomposefs_image::tree::{InodeId, OverlayError, Timestamp, Tree};
use libcomposefs_image::{Algorithm, verity};
use libcomposefs_testkit::random::series;

fn recipe(bases: usize, steps: Vec<RecipeStep>) -> Recipe {
    let mut recipe = Recipe::new(Algorithm::Sha256, 1);
    recipe.bases = vec![RecipeBase::layer(verity::digest(Algorithm::Sha256, b"")); bases];
    recipe.steps = steps;
    assert_eq!(Recipe::parse(recipe.to_text().as_bytes()).unwrap(), recipe);
    recipe
}

fn trees(count: usize) -> Vec<Tree> {
    series(Algorithm::Sha256, 60, count).map(|model| model.build()).collect()
}

/// Writes a tree as the recipe says, and compares what is read with it. `None` if there is no such image.
fn read_again(recipe: &Recipe, tree: &Tree) -> Option<()> {
    let mut bytes = Vec::new();
    recipe.plan(tree).ok()?.write(&mut bytes).unwrap();
    let read = load(&ImageReader::new(&bytes).unwrap(), &[]).unwrap().tree;
    let found = diff(tree, &read, &Options::default());
    let paths: Vec<_> = found.changes().iter().map(|change| found.path(change)).collect();
    assert!(paths.is_empty(), "{paths:?}");
    Some(())
}

/// A step for a path that the tree has, or for all of it.
fn step(tree: &Tree, number: usize) -> RecipeStep {
    let entries: Vec<_> = tree.children(InodeId::ROOT).collect();
    let path = entries.get(number % entries.len().max(1)).map(|entry| [b"/", entry.name].concat());
    let path = path.unwrap_or_else(|| b"/".to_vec());
    match number % 6 {
        0 if path != b"/" => RecipeStep::Remove { paths: vec![path] },
        1 => RecipeStep::KeepXattrs { which: XattrPolicy::User },
        2 => RecipeStep::ClampMtime { latest: Timestamp { sec: 0, nsec: 5 } },
        3 => RecipeStep::SetOwner { path, uid: 5, gid: 6 },
        4 => RecipeStep::SetLabel { path, label: b"label".to_vec() },
        _ => RecipeStep::MapUids { ranges: vec![IdRange { from: 0, to: 0, count: u32::MAX }] },
    }
}

#[test]
fn derived_trees_have_images_that_are_read_again() {
    let mut images = 0;
    for (number, tree) in trees(120).iter().enumerate() {
        let steps = (0..3).map(|more| step(tree, number + more)).collect();
        let recipe = recipe(1, steps);
        let derived = match recipe.apply(&[tree]) {
            Ok(derived) => derived,
            // An ID of 4294967295, a set that grows too large, or a path that a step has removed.
            Err(DeriveError::Id { .. } | DeriveError::Xattrs { .. } | DeriveError::NoSuchPath { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        images += usize::from(!derived.has_whiteout() && read_again(&recipe, &derived).is_some());
    }
    assert!(images > 30, "{images}");
}

#[test]
fn overlaid_trees_have_images_that_are_read_again() {
    let (mut images, trees) = (0, trees(80));
    for pair in trees.windows(2) {
        let recipe = recipe(2, Vec::new());
        match recipe.apply(&[&pair[0], &pair[1]]) {
            Ok(derived) => {
                assert!(!derived.has_whiteout());
                images += usize::from(read_again(&recipe, &derived).is_some());
            }
            Err(DeriveError::Overlay(OverlayError::Redirected { .. })) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(images > 20, "{images}");
}

#[test]
fn steps_that_undo_each_other_leave_nothing() {
    let mut undone = 0;
    for tree in trees(60) {
        let shift = |by| RecipeStep::ShiftIds { by };
        let Ok(same) = recipe(1, vec![shift(7), shift(-7)]).apply(&[&tree]) else { continue };
        let found = diff(&tree, &same, &Options::default());
        assert!(found.is_empty(), "{:?}", found.changes().iter().map(|change| found.path(change)).collect::<Vec<_>>());
        undone += 1;
    }
    assert!(undone > 5, "{undone}");
}
