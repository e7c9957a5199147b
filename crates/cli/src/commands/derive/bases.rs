//! The images that another is derived from: read, compared with their digests, loaded.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use libcomposefs_image::derive::{MAX_RECIPE, Recipe};
use libcomposefs_image::erofs::Image;
use libcomposefs_image::tree::Tree;
use libcomposefs_image::{Algorithm, Digest};

use crate::error_text::with_remedy;
use crate::operand::{ImageOperand, Operands};
use crate::rlimits;

/// An image that another is derived from.
pub(in crate::commands) struct Base {
    pub(in crate::commands) tree: Tree,
    pub(in crate::commands) source: BaseSource,
}

/// What is known of a base beside its tree.
pub(in crate::commands) struct BaseSource {
    /// Operand or digest that names the image, for messages.
    pub(in crate::commands) name: PathBuf,
    /// Format version of the image.
    pub(in crate::commands) format: u32,
    /// Digest that names the image.
    pub(in crate::commands) digest: Digest,
    /// True if the repository has the image, and so its objects.
    pub(in crate::commands) is_stored: bool,
    /// The open file: as long as it is open, gc removes no image of the repository.
    _file: ImageOperand,
}

impl Base {
    /// Reads an image that an operand names. `algorithm` is that of the digest of a file; without it, that of the
    /// digests in the image counts.
    pub(in crate::commands) fn read(
        operands: &Operands<'_>,
        name: &Path,
        algorithm: Option<Algorithm>,
    ) -> anyhow::Result<Self> {
        let image = read_image(operands, name)?;
        Self::load(name, image, None, algorithm)
    }

    fn load(
        name: &Path,
        image: ImageOperand,
        digest: Option<Digest>,
        algorithm: Option<Algorithm>,
    ) -> anyhow::Result<Self> {
        let reader = image.file.reader()?;
        let format = reader.header().format_version;
        let tree = image.file.load(&reader, &[])?.tree;
        let digest = match (image.digest, digest) {
            (Some(digest), _) | (None, Some(digest)) => digest,
            (None, None) if tree.has_digests() => image.file.digest(tree.algorithm())?,
            (None, None) => image.file.digest(algorithm.unwrap_or_default())?,
        };
        let is_stored = image.digest.is_some();
        let source = BaseSource { name: name.to_owned(), format, digest, is_stored, _file: image };
        Ok(Self { tree, source })
    }

    /// Returns the algorithm that the base asks for.
    pub(in crate::commands) fn algorithm(&self) -> Algorithm {
        if self.tree.has_digests() { self.tree.algorithm() } else { self.source.digest.algorithm() }
    }
}

/// Separates the trees, which become the derived one.
pub(in crate::commands) fn split(bases: Vec<Base>) -> (Vec<BaseSource>, Vec<Tree>) {
    bases.into_iter().map(|base| (base.source, base.tree)).unzip()
}

/// Reads the bases of a recipe: from the files `given`, or else from the repository.
pub(in crate::commands) fn of_recipe(
    operands: &Operands<'_>,
    recipe: &Recipe,
    given: &[PathBuf],
) -> anyhow::Result<Vec<Base>> {
    let mut files = Vec::new();
    for name in given {
        let image = read_image(operands, name)?;
        let digests = match image.digest {
            Some(digest) => vec![digest],
            None => digests_of(&image, recipe)?,
        };
        if !recipe.bases.iter().any(|base| digests.contains(&base.digest)) {
            let digest = digests.first().map(ToString::to_string).unwrap_or_default();
            bail!("{} has the digest {digest}, which is not that of a base of the recipe", name.display());
        }
        files.push((name, digests, Some(image)));
    }
    let mut bases = Vec::new();
    for base in &recipe.bases {
        let file = files.iter_mut().find(|(_, digests, _)| digests.contains(&base.digest));
        let hex = PathBuf::from(base.digest.to_hex());
        bases.push(match file {
            Some((name, _, image)) => {
                // A base may be there twice.
                let image = image.take().map_or_else(|| read_image(operands, name), Ok)?;
                Base::load(name, image, Some(base.digest), None)?
            }
            None => {
                let image = operands.read(&hex).map_err(|error| missing(&base.digest, &error))?;
                Base::load(&hex, image, Some(base.digest), None)?
            }
        });
    }
    Ok(bases)
}

/// Returns the digests of a file by the algorithms of the bases' digests.
fn digests_of(image: &ImageOperand, recipe: &Recipe) -> anyhow::Result<Vec<Digest>> {
    let mut algorithms: Vec<Algorithm> = recipe.bases.iter().map(|base| base.digest.algorithm()).collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    algorithms.into_iter().map(|algorithm| image.file.digest(algorithm)).collect()
}

fn missing(digest: &Digest, error: &anyhow::Error) -> anyhow::Error {
    with_remedy(
        format!("cannot read the base {digest} of the recipe: {}", crate::error_text::message(error)),
        "fetch the image into the repository, or name a file that has it",
    )
}

/// Reads the image that an operand names. An OCI image outside a repository is refused.
fn read_image(operands: &Operands<'_>, name: &Path) -> anyhow::Result<ImageOperand> {
    if operands.is_source(name) {
        let remedy = format!("pull it first: composefs oci pull {}", name.display());
        return Err(with_remedy(format!("{} is not in the repository", name.display()), remedy));
    }
    operands.read(name)
}

/// Computes the digest of a planned image, on several threads.
pub(in crate::commands) fn digest_of(image: &Image<'_>, algorithm: Algorithm) -> anyhow::Result<Digest> {
    Ok(image.write_and_digest(algorithm, rlimits::threads(None), &mut io::sink())?)
}

/// Reads a recipe from a file.
pub(in crate::commands) fn read_recipe(path: &Path) -> anyhow::Result<Recipe> {
    let cannot = || format!("cannot read the recipe {}", path.display());
    let file = File::open(path).with_context(cannot)?;
    let mut text = Vec::new();
    file.take(MAX_RECIPE as u64 + 1).read_to_end(&mut text).with_context(cannot)?;
    Recipe::parse(&text).with_context(cannot)
}
