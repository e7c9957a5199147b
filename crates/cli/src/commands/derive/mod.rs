//! `composefs derive`: makes an image from images that are here, without touching contents.

pub(super) mod bases;
mod extensions;
mod options;
mod publish;
mod steps;

use std::cell::OnceCell;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use libcomposefs_image::Digest;
use libcomposefs_image::derive::{BaseKind, Recipe, RecipeBase, extension_kind};
use libcomposefs_image::tree::Tree;

pub(super) use options::DeriveArgs;

use super::repository::RepositoryArgs;
use crate::error_text::with_remedy;
use crate::interrupt::Interrupt;
use crate::operand::Operands;
use crate::output;
use bases::{Base, BaseSource};

/// A derived tree, and what it was made from.
struct Derived {
    recipe: Recipe,
    bases: Vec<BaseSource>,
    tree: Tree,
}

pub(super) fn run(args: &DeriveArgs, selected: &RepositoryArgs) -> ExitCode {
    let interrupt = Interrupt::watch();
    interrupt.end(derive(args, selected, &interrupt))
}

fn derive(args: &DeriveArgs, selected: &RepositoryArgs, interrupt: &Interrupt) -> anyhow::Result<()> {
    let opened = OnceCell::new();
    if !args.print_digest {
        let repository = selected.open()?.interrupted_by(interrupt.flag());
        opened.get_or_init(|| repository);
    }
    let operands = Operands::new(selected, &opened);
    let derived = match &args.recipe {
        Some(path) => Derived::by_recipe(&operands, path, &args.images)?,
        None => Derived::by_line(&operands, args)?,
    };
    if let Some(path) = &args.write_recipe {
        std::fs::write(path, derived.recipe.to_text())
            .with_context(|| format!("cannot write the recipe to {}", path.display()))?;
    }
    if !args.print_digest {
        return publish::publish(&derived, args, &operands);
    }
    let image = derived.recipe.plan(&derived.tree)?;
    let digest = bases::digest_of(&image, derived.recipe.algorithm)?;
    if args.json {
        output::json(&serde_json::Value::Object(derived.json(&digest, image.len())));
    } else {
        out!("{digest}");
    }
    Ok(())
}

impl Derived {
    fn by_recipe(operands: &Operands<'_>, path: &Path, given: &[PathBuf]) -> anyhow::Result<Self> {
        let recipe = bases::read_recipe(path)?;
        let bases = bases::of_recipe(operands, &recipe, given)?;
        Self::apply(operands, recipe, bases)
    }

    fn by_line(operands: &Operands<'_>, args: &DeriveArgs) -> anyhow::Result<Self> {
        let bases = args.images.iter().enumerate().map(|(number, name)| {
            let name = layer_name(number, name)?;
            Base::read(operands, &name, args.algorithm)
        });
        let bases = bases.collect::<anyhow::Result<Vec<_>>>()?;
        let format = common(&bases, args.format, |base| base.source.format, "format")?;
        let algorithm = common(&bases, args.algorithm, Base::algorithm, "algorithm")?;
        let mut recipe = Recipe::new(algorithm, format);
        recipe.steps.clone_from(&args.steps.0);
        recipe.bases = bases.iter().enumerate().map(|(number, base)| recipe_base(number, base)).collect();
        recipe.check()?;
        Self::apply(operands, recipe, bases)
    }

    fn apply(operands: &Operands<'_>, recipe: Recipe, bases: Vec<Base>) -> anyhow::Result<Self> {
        // A step may remove the release files, which must be compared before.
        if recipe.bases.iter().any(|base| base.kind != BaseKind::Layer) {
            let mut layers = Recipe::new(recipe.algorithm, recipe.format);
            layers.bases.clone_from(&recipe.bases);
            let trees: Vec<&Tree> = bases.iter().map(|base| &base.tree).collect();
            extensions::check(operands, &recipe, &bases, &layers.apply(&trees)?)?;
        }
        let (bases, trees) = bases::split(bases);
        let tree = recipe.apply_owned(trees)?;
        Ok(Self { recipe, bases, tree })
    }

    /// Returns the description that `--json` prints.
    fn json(&self, digest: &Digest, size: u64) -> serde_json::Map<String, serde_json::Value> {
        let Recipe { algorithm, format, bases, steps, .. } = &self.recipe;
        let base = |base: &RecipeBase| serde_json::json!({ "digest": base.digest.to_hex(), "kind": base.kind.name() });
        let mut object = serde_json::Map::new();
        object.insert("digest".to_owned(), digest.to_hex().into());
        object.insert("size".to_owned(), size.into());
        object.insert("algorithm".to_owned(), algorithm.name().into());
        object.insert("format".to_owned(), (*format).into());
        object.insert("entries".to_owned(), (self.tree.entry_count() + 1).into());
        object.insert("bases".to_owned(), bases.iter().map(base).collect());
        object.insert("steps".to_owned(), steps.len().into());
        object
    }
}

/// Returns the operand of an image on the command line: those after the first have a `+`.
fn layer_name(number: usize, operand: &Path) -> anyhow::Result<PathBuf> {
    if number == 0 {
        return Ok(operand.to_owned());
    }
    match operand.as_os_str().as_bytes().strip_prefix(b"+") {
        Some(name) if !name.is_empty() => Ok(std::ffi::OsStr::from_bytes(name).into()),
        _ => bail!("{} is no layer: images after the first have a + before them, +NAME", operand.display()),
    }
}

/// Returns the value that all bases have in common, or the one that an option gives.
fn common<T: Copy + PartialEq + std::fmt::Display>(
    bases: &[Base],
    given: Option<T>,
    of: impl Fn(&Base) -> T,
    what: &str,
) -> anyhow::Result<T> {
    if let Some(given) = given {
        return Ok(given);
    }
    let first = bases.first().context("no image was given")?;
    let value = of(first);
    match bases.iter().find(|base| of(base) != value) {
        None => Ok(value),
        Some(other) => {
            let (one, two) = (first.source.name.display(), other.source.name.display());
            Err(with_remedy(
                format!("the images differ in their {what}: {one} has {value}, {two} has {}", of(other)),
                format!("--{what}={value} chooses that of the result"),
            ))
        }
    }
}

fn recipe_base(number: usize, base: &Base) -> RecipeBase {
    let kind = extension_kind(&base.tree).filter(|_| number > 0);
    RecipeBase::new(base.source.digest, kind.unwrap_or(BaseKind::Layer))
}
