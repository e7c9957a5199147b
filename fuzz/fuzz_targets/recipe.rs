//! Hostile recipes, and after each NUL the dump of a base: a recipe that is read is written as the same text. What it
//! makes of small trees is what its overlay and its steps make one after the other, and is an image that is read again.
#![no_main]

use composefs_fuzz::{Budget, Linear, parse, read, write};
use libcomposefs_image::derive::{Recipe, RecipeBase};
use libcomposefs_image::dump;
use libcomposefs_image::tree::Tree;
use libcomposefs_image::verity;
use libfuzzer_sys::fuzz_target;

static READ: Budget =
    Budget::new("recipe", Linear { base: 256 << 10, per_byte: 64 }, Linear { base: 5_000_000, per_byte: 2_000 });
// Each step visits the whole tree.
static APPLY: Budget = Budget::new(
    "recipe applied",
    Linear { base: 8 << 20, per_byte: 600 },
    Linear { base: 100_000_000, per_byte: 60_000 },
);

/// Most bases that are merged.
const BASES_MAX: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.split(|byte| *byte == 0);
    let text = parts.next().unwrap_or_default();
    let recipe = match READ.check(text.len(), || Recipe::parse(text)) {
        Ok(recipe) => recipe,
        Err(error) => {
            assert!(!error.to_string().contains(|c: char| c.is_control()), "{error}");
            return;
        }
    };
    assert!(recipe.to_text().as_bytes() == text, "a recipe is written as another text");
    let options = dump::Options { algorithm: recipe.algorithm, strict: false };
    let trees: Vec<Tree> = parts.take(BASES_MAX).filter_map(|dump| Some(parse(options, dump).ok()?.tree)).collect();
    if trees.is_empty() || recipe.bases.len() > BASES_MAX {
        return;
    }
    let bases: Vec<&Tree> = trees.iter().cycle().take(recipe.bases.len()).collect();
    APPLY.check(bytes.len() * recipe.bases.len(), || apply(&recipe, &bases));
});

fn apply(recipe: &Recipe, bases: &[&Tree]) {
    let derived = recipe.apply(bases);
    let again = in_two_recipes(recipe, bases);
    let derived = match derived {
        Ok(derived) => derived,
        Err(error) => {
            assert_eq!(again.err(), Some(error.to_string()));
            return;
        }
    };
    assert!(again == Ok(text(&derived)), "the overlay and the steps alone make another tree");
    let Ok(image) = recipe.plan(&derived) else { return };
    let mut bytes = Vec::new();
    image.write(&mut bytes).expect("memory takes all");
    assert_eq!(image.digest(recipe.algorithm), verity::digest(recipe.algorithm, &bytes));
    let loaded = read(&bytes).expect("a derived image is read").tree;
    if recipe.format < 2 {
        assert!(write(&loaded, recipe.format).as_ref() == Some(&bytes), "a derived image is not canonical");
    }
}

/// The dump of what the overlay makes, and then each step by itself.
fn in_two_recipes(recipe: &Recipe, bases: &[&Tree]) -> Result<String, String> {
    let mut alone = recipe.clone();
    alone.steps.clear();
    let mut tree = alone.apply(bases).map_err(|error| error.to_string())?;
    alone.bases = vec![RecipeBase::layer(recipe.bases[0].digest)];
    alone.steps.clone_from(&recipe.steps);
    tree = alone.apply(&[&tree]).map_err(|error| error.to_string())?;
    Ok(text(&tree))
}

fn text(tree: &Tree) -> String {
    let mut bytes = Vec::new();
    dump::emit(tree, &mut bytes).expect("memory takes all");
    String::from_utf8_lossy(&bytes).into_owned()
}
