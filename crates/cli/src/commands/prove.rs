//! `composefs prove`: proves that an image is derived from others as a recipe says.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::Digest;
use libcomposefs_image::derive::Recipe;
use libcomposefs_image::diff::{self, Change, Diff, Side, diff};
use libcomposefs_image::tree::Tree;
use serde_json::{Map, Value};

use super::derive::bases;
use super::diff::labels;
use super::repository::RepositoryArgs;
use crate::exit::exit_answer;
use crate::operand::{ImageOperand, Operands};
use crate::{complete, json, output};

/// Prove that an image is derived from others as a recipe says.
///
/// Makes the image again from the images of the bases, whose digests the recipe has, and compares the digests. Needs no
/// content of any file, and trusts neither the builder of the image nor the place that the bases come from. If the
/// digests differ, prints the first path that differs, with both values.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ProveArgs {
    /// Derived image: a file, a name or a digest of the repository, or the digest alone
    #[arg(add = ArgValueCompleter::new(complete::operands))]
    derived: PathBuf,
    /// Recipe that composefs derive has written
    #[arg(long, value_name = "FILE")]
    recipe: PathBuf,
    /// File that has a base [default: the repository, by digest]
    #[arg(long = "base", value_name = "IMAGE", add = ArgValueCompleter::new(complete::operands))]
    bases: Vec<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images prove site/13 --recipe=site.json
  composefs prove derived.img --recipe=site.json --base=debian.img --base=tools.img
  composefs prove $DIGEST --recipe=site.json --base=base.img

Exit status: 0 if the image is what the recipe makes of the bases, 1 if it is not, 2 on error.";

/// The image to prove: its digest, and the image itself unless only the digest was given.
struct Claimed {
    digest: Digest,
    image: Option<ImageOperand>,
}

/// The first difference between the derived image and the one that the recipe makes.
struct FirstDifference {
    /// Path that differs; `None` if the trees are equal.
    path: Option<Vec<u8>>,
    reason: String,
}

/// Runs the command and returns its exit status.
pub(super) fn run(args: &ProveArgs, selected: &RepositoryArgs) -> ExitCode {
    exit_answer(prove(args, selected))
}

fn prove(args: &ProveArgs, selected: &RepositoryArgs) -> anyhow::Result<bool> {
    let opened = OnceCell::new();
    let operands = Operands::new(selected, &opened);
    let recipe = bases::read_recipe(&args.recipe)?;
    let found = bases::of_recipe(&operands, &recipe, &args.bases)?;
    let claimed = Claimed::read(&operands, &args.derived, &recipe)?;
    let (_sources, trees) = bases::split(found);
    let tree = recipe.apply_owned(trees)?;
    let computed = bases::digest_of(&recipe.plan(&tree)?, recipe.algorithm)?;
    let is_proved = computed == claimed.digest;
    let difference = if is_proved { None } else { Some(claimed.difference(&recipe, &tree)?) };
    if args.json {
        output::json(&Value::Object(report(&claimed, computed, difference.as_ref())));
    } else {
        match &difference {
            None => out!("{computed} is proved: {}", made_of(&recipe)),
            Some(difference) => {
                out!("{} is not proved: the recipe makes {computed}", claimed.digest);
                match &difference.path {
                    Some(path) => out!("{}: {}", labels::path(path), difference.reason),
                    None => out!("{}", difference.reason),
                }
            }
        }
    }
    Ok(is_proved)
}

fn made_of(recipe: &Recipe) -> String {
    let count = |number: usize, one: &str, more: &str| format!("{number} {}", if number == 1 { one } else { more });
    format!("{}, {}", count(recipe.bases.len(), "base", "bases"), count(recipe.steps.len(), "step", "steps"))
}

impl Claimed {
    fn read(operands: &Operands<'_>, name: &Path, recipe: &Recipe) -> anyhow::Result<Self> {
        let digest = name.to_str().and_then(|text| text.parse::<Digest>().ok()).filter(|_| !name.exists());
        match (operands.read(name), digest) {
            (Ok(image), _) => {
                let digest = match image.digest.filter(|digest| digest.algorithm() == recipe.algorithm) {
                    Some(digest) => digest,
                    None => image.file.digest(recipe.algorithm)?,
                };
                Ok(Self { digest, image: Some(image) })
            }
            // The digest is all that is needed to say yes.
            (Err(_), Some(digest)) => Ok(Self { digest, image: None }),
            (Err(error), None) => Err(error),
        }
    }

    /// Finds the first difference from the tree that the recipe makes.
    fn difference(&self, recipe: &Recipe, expected: &Tree) -> anyhow::Result<FirstDifference> {
        let no_path = |reason: String| Ok(FirstDifference { path: None, reason });
        let Some(image) = &self.image else {
            return no_path("the image itself is not here, so what differs is not known".to_owned());
        };
        let reader = image.file.reader().context("what differs is not known")?;
        let format = reader.header().format_version;
        let found = image.file.load(&reader, &[]).context("what differs is not known")?.tree;
        let diff = diff(expected, &found, &diff::Options::default());
        if let Some(change) = diff.changes().first() {
            return Ok(FirstDifference { path: Some(diff.path(change)), reason: reason(&diff, change) });
        }
        if format != recipe.format {
            return no_path(format!(
                "the trees are equal; the format is {format}, and that of the recipe {}",
                recipe.format
            ));
        }
        no_path("the trees are equal; the image is not canonical, as composefs check shows".to_owned())
    }
}

/// Describes a difference: what the recipe makes, and what the image has.
fn reason(diff: &Diff<'_>, change: &Change) -> String {
    match change.only() {
        Some(Side::A) => return "the recipe makes it, and the image does not have it".to_owned(),
        Some(Side::B) => return "the image has it, and the recipe does not make it".to_owned(),
        None => {}
    }
    let mut reasons = Vec::new();
    for field in change.fields().iter() {
        if field == diff::Field::Xattrs {
            reasons.extend(diff.xattrs(change).iter().map(|xattr| format!("{field} {}", labels::xattr(xattr))));
            continue;
        }
        let [expected, found] = [Side::A, Side::B].map(|side| labels::value(field, &diff.value(side, change, field)));
        reasons.push(format!("{field} {expected} -> {found}"));
    }
    format!("{} (recipe -> image)", reasons.join(", "))
}

fn report(claimed: &Claimed, computed: Digest, difference: Option<&FirstDifference>) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("proved".to_owned(), difference.is_none().into());
    object.insert("digest".to_owned(), claimed.digest.to_hex().into());
    object.insert("computed".to_owned(), computed.to_hex().into());
    if let Some(FirstDifference { path, reason }) = difference {
        if let Some(path) = path {
            json::put_bytes(&mut object, "path", path);
        }
        object.insert("reason".to_owned(), reason.as_str().into());
    }
    object
}
