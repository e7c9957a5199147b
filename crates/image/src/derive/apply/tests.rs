//! One step after the other, on small trees.

use super::*;
use crate::derive::{BaseKind, IdRange, RecipeBase};
use crate::digest::Algorithm;
use crate::dump::{self, Parser};
use crate::tree::Timestamp;
use crate::verity;

const LINES: [&str; 7] = [
    "/ 0 40755 2 0 0 0 1.0 - - -",
    "/etc 0 40755 2 0 0 0 1.0 - - - security.selinux=old",
    "/etc/a 1 100644 2 1 2 0 9.5 - x - trusted.t=1 user.u=2",
    "/usr 0 40755 2 0 0 0 1.0 - - -",
    "/usr/bin 0 40755 2 0 0 0 3.0 - - -",
    "/usr/bin/b 1 @100644 2 1 2 0 9.5 /etc/a x -",
    "/z 3 120777 1 0 0 0 1.0 usr - -",
];

fn tree(lines: &[&str]) -> Tree {
    let mut parser = Parser::new(dump::Options::default());
    lines.iter().for_each(|line| parser.push_line(line.as_bytes()).unwrap());
    parser.finish().unwrap().tree
}

fn lines(tree: &Tree) -> Vec<String> {
    let mut text = Vec::new();
    dump::emit(tree, &mut text).unwrap();
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

fn recipe(steps: &[RecipeStep]) -> Recipe {
    let mut recipe = Recipe::new(Algorithm::Sha256, 0);
    recipe.bases = vec![RecipeBase::layer(verity::digest(Algorithm::Sha256, b""))];
    recipe.steps = steps.to_vec();
    recipe.check().unwrap();
    recipe
}

fn derived(steps: &[RecipeStep]) -> Result<Vec<String>, DeriveError> {
    let owned = recipe(steps).apply_owned(vec![tree(&LINES)]).map(|tree| lines(&tree));
    assert_eq!(recipe(steps).apply(&[&tree(&LINES)]).map(|tree| lines(&tree)), owned);
    owned
}

/// Returns the lines that the steps change, as they are then.
fn changed(steps: &[RecipeStep]) -> Vec<String> {
    let before = lines(&tree(&LINES));
    derived(steps).unwrap().into_iter().filter(|line| !before.contains(line)).collect()
}

fn path(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[test]
fn without_steps_a_base_is_the_result() {
    assert_eq!(derived(&[]).unwrap(), lines(&tree(&LINES)));
    let all = RecipeStep::KeepXattrs { which: XattrPolicy::All };
    assert_eq!(derived(&[all]).unwrap(), lines(&tree(&LINES)));
}

#[test]
fn paths_are_removed_and_must_be_there() {
    let remove = |paths: &[&str]| RecipeStep::Remove { paths: paths.iter().map(|text| path(text)).collect() };
    let left = derived(&[remove(&["/etc", "/z"])]).unwrap();
    let names: Vec<_> = left.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["/", "/usr", "/usr/bin", "/usr/bin/b"]);
    assert!(left[3].starts_with("/usr/bin/b 1 100644 1 1 2 0 9.5"), "{left:?}");
    // Both paths are those of the tree before the step.
    assert!(derived(&[remove(&["/usr", "/usr/bin"])]).is_ok());
    let error = derived(&[remove(&["/usr"]), remove(&["/usr/bin"])]).unwrap_err();
    assert_eq!(error, DeriveError::NoSuchPath { step: 2, path: path("/usr/bin") });
    let through_link = derived(&[remove(&["/z/bin"])]).unwrap_err();
    assert_eq!(through_link, DeriveError::NoSuchPath { step: 1, path: path("/z/bin") });
}

#[test]
fn ids_are_shifted_and_mapped() {
    let shifted = changed(&[RecipeStep::ShiftIds { by: 1000 }]);
    assert_eq!(shifted.len(), 7);
    assert!(shifted[2].starts_with("/etc/a 1 100644 2 1001 1002 0"), "{shifted:?}");
    let back = derived(&[RecipeStep::ShiftIds { by: 1000 }, RecipeStep::ShiftIds { by: -1000 }]).unwrap();
    assert_eq!(back, lines(&tree(&LINES)));
    let range = |from, to| IdRange { from, to, count: 1 };
    // Exchanged at the same time, not one after the other.
    let exchanged = changed(&[RecipeStep::MapUids { ranges: vec![range(0, 1), range(1, 0)] }]);
    assert!(exchanged[2].starts_with("/etc/a 1 100644 2 0 2 0") && exchanged[0].contains(" 2 1 0 0 "), "{exchanged:?}");
    let groups = changed(&[RecipeStep::MapGids { ranges: vec![range(0, 0), range(2, 7)] }]);
    assert_eq!(groups.len(), 2);
    let error = derived(&[RecipeStep::MapGids { ranges: vec![range(0, 0)] }]).unwrap_err();
    assert_eq!(error, DeriveError::Id { step: 1, path: path("/etc/a"), source: IdError::NotMapped(2) });
    let error = derived(&[RecipeStep::ShiftIds { by: -1 }]).unwrap_err();
    assert_eq!(error, DeriveError::Id { step: 1, path: path("/"), source: IdError::Shifted { id: 0, by: -1 } });
}

#[test]
fn owners_are_set_below_a_path() {
    let owned = changed(&[RecipeStep::SetOwner { path: path("/usr"), uid: 7, gid: 8 }]);
    let names: Vec<_> = owned.iter().map(|line| line.split(' ').next().unwrap()).collect();
    // /etc/a is one inode with /usr/bin/b.
    assert_eq!(names, ["/etc/a", "/usr", "/usr/bin", "/usr/bin/b"]);
    assert!(owned.iter().all(|line| line.contains(" 7 8 0 ")), "{owned:?}");
    assert_eq!(changed(&[RecipeStep::SetOwner { path: path("/"), uid: 7, gid: 8 }]).len(), 7);
    assert!(derived(&[RecipeStep::SetOwner { path: path("/none"), uid: 7, gid: 8 }]).is_err());
}

#[test]
fn attributes_are_kept_by_choice() {
    let user = changed(&[RecipeStep::KeepXattrs { which: XattrPolicy::User }]);
    assert_eq!(user.len(), 3, "{user:?}");
    assert!(user[0] == "/etc 0 40755 2 0 0 0 1.0 - - -" && user[1].ends_with(" - x - user.u=2"), "{user:?}");
    let none = derived(&[RecipeStep::KeepXattrs { which: XattrPolicy::None }]).unwrap();
    assert!(none.iter().all(|line| !line.contains('=')), "{none:?}");
}

#[test]
fn times_are_clamped() {
    let clamped = changed(&[RecipeStep::ClampMtime { latest: Timestamp { sec: 3, nsec: 0 } }]);
    assert_eq!(clamped.len(), 2, "{clamped:?}");
    assert!(clamped.iter().all(|line| line.contains(" 3.0 ")), "{clamped:?}");
}

#[test]
fn labels_are_set_and_replaced() {
    let set = |at: &str| RecipeStep::SetLabel { path: path(at), label: path("new_t") };
    let all = changed(&[set("/")]);
    assert_eq!(all.len(), 7);
    assert!(all.iter().all(|line| line.contains(r"security.selinux=new_t\x00")), "{all:?}");
    let etc = changed(&[set("/etc")]);
    assert!(etc.len() == 3 && etc[1].contains("trusted.t=1") && !etc[0].contains("old"), "{etc:?}");
}

#[test]
fn bases_are_layered_by_kind() {
    let upper = tree(&[
        "/ 0 40700 2 0 0 0 1.0 - - -",
        "/usr 0 40700 2 0 0 0 1.0 - - -",
        "/usr/bin 0 20000 1 0 0 0 1.0 - - -",
        "/var 0 40755 2 0 0 0 1.0 - - -",
    ]);
    let base = tree(&LINES);
    let mut recipe = recipe(&[]);
    let names = |recipe: &Recipe| {
        let all = lines(&recipe.apply(&[&base, &upper]).unwrap());
        all.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    recipe.bases.push(RecipeBase::new(recipe.bases[0].digest, BaseKind::Layer));
    assert_eq!(names(&recipe), ["/", "/etc", "/etc/a", "/usr", "/var", "/z"]);
    recipe.bases[1].kind = BaseKind::Sysext;
    assert_eq!(names(&recipe), ["/", "/etc", "/etc/a", "/usr", "/z"]);
    assert_eq!(recipe.apply(&[&base]).unwrap_err(), DeriveError::BaseCount { expected: 2, found: 1 });
    assert_eq!(recipe.apply_owned(vec![base]).unwrap_err(), DeriveError::BaseCount { expected: 2, found: 1 });
}

#[test]
fn contents_named_by_another_algorithm_are_refused() {
    let digest = verity::digest(Algorithm::Sha256, b"0");
    let file = format!("/f 100 100644 1 0 0 0 1.0 {} - {digest}", digest.object_path());
    let mut recipe = recipe(&[]);
    recipe.apply(&[&tree(&[LINES[0], &file])]).unwrap();
    recipe.algorithm = Algorithm::Sha512;
    let error = recipe.apply(&[&tree(&[LINES[0], &file])]).unwrap_err();
    assert!(error.to_string().contains("use --algorithm=sha256"), "{error}");
    // Without external files nothing has to be hashed again.
    recipe.apply(&[&tree(&LINES)]).unwrap();
}

#[test]
fn the_result_has_the_format_of_the_recipe() {
    let mut recipe = recipe(&[]);
    for format in [0, 1, 2] {
        recipe.format = format;
        let tree = recipe.apply(&[&tree(&LINES)]).unwrap();
        assert_eq!(recipe.plan(&tree).unwrap().format_version(), format);
    }
}
