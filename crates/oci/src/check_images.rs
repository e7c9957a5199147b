//! Comparing the composefs images of an OCI image of a repository with its layers: each image is made again, and
//! nothing is stored.

use std::cell::OnceCell;

use libcomposefs_image::Digest;
use libcomposefs_image::tree::Tree;
use libcomposefs_repo::{Format, Repository};

use crate::layer::{WhiteoutRule, XattrFilter};
use crate::pull::{BootTree, LayerStreams, PullError, PullOptions};
use crate::stored::{BOOT_IMAGE_REF, BOOT_IMAGE_REF_V1, IMAGE_REF, IMAGE_REF_V1, StoredError, StoredImage};
use crate::stored_layer_images::stored_layer_images;

/// The end of the name of the reference to an image that keeps attributes of users.
const KEPT_XATTRS: &str = ".xattrs=keep-user-xattrs";

/// A composefs image of an OCI image, compared with the layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedImage {
    /// What the image is of: the name of its reference in the configuration, or the number of a layer.
    pub name: String,
    /// The image that the repository has under this name.
    pub digest: Digest,
    /// The result of the comparison.
    pub found: ImageCheck,
}

/// The result of comparing an image with the layers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageCheck {
    /// The layers give this image.
    Right,
    /// The layers give the image with this digest.
    Other(Digest),
    /// The repository does not have the image, or it is damaged.
    Damaged(String),
    /// The image is of a kind that the caller cannot make.
    Unknown,
}

/// The ways in which an image may have been made: nothing in the repository says which one was chosen.
const WAYS: [(XattrFilter, WhiteoutRule); 4] = [
    (XattrFilter::Allowlist, WhiteoutRule::InOrder),
    (XattrFilter::User, WhiteoutRule::InOrder),
    (XattrFilter::Allowlist, WhiteoutRule::LowerLayers),
    (XattrFilter::User, WhiteoutRule::LowerLayers),
];

/// Makes the composefs images of an OCI image again, of the whole and of single layers, and compares their digests. An
/// image is right if one of the ways to make an image of these layers gives it. Bootable images are compared only with
/// the function that makes their trees. The layers must have been verified.
///
/// # Errors
///
/// If a layer cannot be read, or the layers cannot become an image.
pub fn check_images(
    repository: &Repository,
    image: &StoredImage,
    boot_tree: Option<BootTree>,
) -> Result<Vec<CheckedImage>, PullError> {
    let mut checked = Vec::new();
    let layers = LayerStreams::open(repository, image)?;
    let trees = WAYS.map(|_| OnceCell::new());
    for named in &image.images {
        let found = match damage(repository, &named.digest) {
            Some(damage) => damage,
            None => match kind_of(&named.name) {
                None => ImageCheck::Unknown,
                Some(kind) if kind.is_bootable && boot_tree.is_none() => ImageCheck::Unknown,
                Some(kind) => {
                    let made = |way: usize| {
                        let tree = whole_tree(&layers, &trees[way], way)?;
                        let digest = match boot_tree.filter(|_| kind.is_bootable) {
                            Some(boot_tree) => {
                                let tree = boot_tree(repository, tree).map_err(PullError::Boot)?;
                                digest_of(repository, kind.format, &tree)?
                            }
                            None => digest_of(repository, kind.format, tree)?,
                        };
                        Ok(vec![digest])
                    };
                    let compared = compare(&[named.digest], kind.xattrs, made)?;
                    compared.into_iter().next().unwrap_or(ImageCheck::Unknown)
                }
            },
        };
        checked.push(CheckedImage { name: named.name.clone(), digest: named.digest, found });
    }
    let stored = |error: StoredError| PullError::StoredImage(Box::new(error));
    if let Some(images) = stored_layer_images(repository, image).map_err(stored)? {
        let made = |way: usize| {
            let trees = layers.layer_trees(&options_of(way))?;
            trees.iter().map(|tree| digest_of(repository, Format::One, tree)).collect()
        };
        let compared = compare(&images, None, made)?;
        for (number, (digest, compared)) in images.iter().zip(compared).enumerate() {
            let found = damage(repository, digest).unwrap_or(compared);
            checked.push(CheckedImage { name: format!("layer {}", number + 1), digest: *digest, found });
        }
    }
    Ok(checked)
}

/// The kind of an image, as the name of its reference says it.
#[derive(Clone, Copy, Debug)]
struct NamedKind {
    format: Format,
    is_bootable: bool,
    /// The attributes that the image keeps, if the name says it.
    xattrs: Option<XattrFilter>,
}

/// Returns the kind of the image that a reference of this name is to. `None` for other references.
fn kind_of(name: &str) -> Option<NamedKind> {
    let (name, xattrs) = match name.strip_suffix(KEPT_XATTRS) {
        Some(name) => (name, Some(XattrFilter::User)),
        None => (name, None),
    };
    let (format, is_bootable) = match name {
        IMAGE_REF => (Format::Legacy, false),
        IMAGE_REF_V1 => (Format::One, false),
        BOOT_IMAGE_REF => (Format::Legacy, true),
        BOOT_IMAGE_REF_V1 => (Format::One, true),
        _ => return None,
    };
    Some(NamedKind { format, is_bootable, xattrs })
}

/// Returns the options of a way, by its number.
fn options_of(way: usize) -> PullOptions {
    let (xattrs, whiteouts) = WAYS.get(way).copied().unwrap_or_default();
    PullOptions { xattrs, whiteouts, ..PullOptions::default() }
}

/// Returns the tree that a way gives. Images of several formats have the same.
fn whole_tree<'t>(layers: &LayerStreams<'_>, made: &'t OnceCell<Tree>, way: usize) -> Result<&'t Tree, PullError> {
    if let Some(tree) = made.get() {
        return Ok(tree);
    }
    let tree = layers.tree(&options_of(way))?;
    Ok(made.get_or_init(|| tree))
}

/// Compares digests with what is made in each way, by its number, until all are right. What differs is compared with
/// the first way.
fn compare(
    digests: &[Digest],
    xattrs: Option<XattrFilter>,
    made: impl Fn(usize) -> Result<Vec<Digest>, PullError>,
) -> Result<Vec<ImageCheck>, PullError> {
    let mut first: Option<Vec<Digest>> = None;
    let ways = WAYS.iter().enumerate().filter(|(_, (filter, _))| xattrs.is_none_or(|xattrs| xattrs == *filter));
    for (way, _) in ways {
        let made = made(way)?;
        if made == digests {
            return Ok(vec![ImageCheck::Right; digests.len()]);
        }
        first.get_or_insert(made);
    }
    let expected = first.unwrap_or_default();
    let found = digests.iter().zip(&expected);
    Ok(found.map(|(digest, made)| if digest == made { ImageCheck::Right } else { ImageCheck::Other(*made) }).collect())
}

fn digest_of(
    repository: &Repository,
    format: Format,
    tree: &libcomposefs_image::tree::Tree,
) -> Result<Digest, PullError> {
    Ok(format.plan(tree).map_err(PullError::Image)?.digest(repository.algorithm()))
}

/// Returns the damage of an image, if it cannot be read.
fn damage(repository: &Repository, digest: &Digest) -> Option<ImageCheck> {
    repository.tree_of_image(digest).err().map(|error| ImageCheck::Damaged(error.to_string()))
}
