//! Why something could not be done in a repository.

use std::io;
use std::path::{Path, PathBuf};

use libcomposefs_image::erofs::WriteError;
use libcomposefs_image::erofs::read::ReadError;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_scan as scan;

use super::meta::MetaError;
use super::ref_name::RefName;
use libcomposefs_store::Error;
use libcomposefs_store::ObjectError;

/// Why an operation on a repository failed.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The kernel refused a step.
    #[error("cannot {step} {}: {source}", path.display())]
    Io {
        /// What was being done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// There is no `meta.json`.
    #[error("{} is no composefs repository: it has no meta.json; `composefs init` makes one", path.display())]
    NotARepository {
        /// The directory.
        path: PathBuf,
    },
    /// A repository is to be made where something else is.
    #[error("{} is not empty: a repository is made in a new or empty directory", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// There is a repository already, of other settings.
    #[error("{} is a repository already, with {found}; {wanted} was asked for", path.display())]
    OtherSettings {
        /// The directory.
        path: PathBuf,
        /// What it has.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// `meta.json` cannot be used.
    #[error("{}: {source}", path.display())]
    Meta {
        /// The file.
        path: PathBuf,
        /// Why.
        source: MetaError,
    },
    /// There are features without which nobody may write.
    #[error(
        "{} can only be read: it has features that this program does not know: {}", path.display(), features.join(", ")
    )]
    ReadOnly {
        /// The repository.
        path: PathBuf,
        /// Their names.
        features: Vec<String>,
    },
    /// fs-verity is to be demanded, and cannot be had.
    #[error(
        "{} cannot demand fs-verity (with --insecure a repository does without, and only fsck sees what is changed in \
         it): {source}", path.display()
    )]
    NoVerity {
        /// The repository.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The file system has no symbolic links.
    #[error(
        "{} cannot hold a repository: its file system has no symbolic links ({source}); use one that has, such as ext4, xfs \
         or btrfs", path.display()
    )]
    NoSymlinks {
        /// The repository.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No image has this name.
    #[error("no image is called {name} in {}", path.display())]
    NoSuchRef {
        /// The name.
        name: RefName,
        /// The repository.
        path: PathBuf,
    },
    /// No image has this digest.
    #[error("there is no image {digest} in {}", path.display())]
    NoSuchImage {
        /// The digest.
        digest: Box<Digest>,
        /// The repository.
        path: PathBuf,
    },
    /// A name leads to an image that is not there.
    #[error("{name} is a name of {digest}, and that image is not in {}; `composefs fsck` tells more", path.display())]
    Dangling {
        /// The name.
        name: RefName,
        /// The image it names.
        digest: Box<Digest>,
        /// The repository.
        path: PathBuf,
    },
    /// Something that should be a link of a certain kind is none.
    #[error("{} {found}, where a link to {expected} is to be", path.display())]
    Link {
        /// Its path.
        path: PathBuf,
        /// What it is instead.
        found: String,
        /// What it should lead to.
        expected: &'static str,
    },
    /// A name is in the way of a folder, or a folder in the way of a name.
    #[error("{name} cannot be a name beside {other}: one would have to be a folder and a link at once")]
    NameInTheWay {
        /// The name asked for.
        name: RefName,
        /// The one that is there.
        other: String,
    },
    /// The object of an image is not what it should be.
    #[error("image {digest}: {source}")]
    ImageObject {
        /// The image.
        digest: Box<Digest>,
        /// What is wrong.
        source: ObjectError,
    },
    /// An image has its digest and cannot be read all the same.
    #[error("image {digest}: {source}")]
    Image {
        /// The image.
        digest: Box<Digest>,
        /// What is wrong.
        source: ReadError,
    },
    /// Writing the same tree again gives other bytes.
    #[error(
        "written again, the image has the digest {written} and not {found}: it was not made by a composefs tool, or was \
         changed; images are never taken as they come, as the kernel would have to trust them"
    )]
    NotCanonical {
        /// The digest of the image given.
        found: Box<Digest>,
        /// The one that our writer makes of its tree.
        written: Box<Digest>,
    },
    /// A file of a tree has its content elsewhere than in an object of its digest.
    #[error("{}: its content is not an object named by its digest, as all contents in a repository are", path.display())]
    NoObject {
        /// Its path in the tree.
        path: PathBuf,
    },
    /// An object that is needed is nowhere.
    #[error(
        "{}: its content {digest} is not in the repository, and nowhere else that was to be looked{}{}", path.display(),
        why(reason.as_ref()), and_others(*others)
    )]
    Missing {
        /// How many others are missing too.
        others: usize,
        /// Its path in the tree.
        path: PathBuf,
        /// The object.
        digest: Box<Digest>,
        /// Why not where it was looked for.
        reason: Option<ObjectError>,
    },
    /// Objects that were there are not any more.
    #[error(
        "{count} objects of the new image were removed from {} while it was made, {first} first: another program cleans \
         up there without looking for others at work; run this again", path.display()
    )]
    Removed {
        /// How many.
        count: usize,
        /// The first.
        first: Box<Digest>,
        /// The repository.
        path: PathBuf,
    },
    /// Two repositories, or a bundle and a repository, have different algorithms.
    #[error("{} has {found} digests, {} has {expected}", path.display(), repository.display())]
    Algorithm {
        /// What was given.
        path: PathBuf,
        /// Its algorithm.
        found: Algorithm,
        /// The repository.
        repository: PathBuf,
        /// Its algorithm.
        expected: Algorithm,
    },
    /// A bundle cannot be read.
    #[error("the bundle is wrong at byte {offset}: {rule}")]
    Bundle {
        /// Where.
        offset: u64,
        /// What it breaks.
        rule: String,
    },
    /// Writing a bundle failed.
    #[error("cannot write the bundle: {0}")]
    Output(#[source] io::Error),
    /// An object is not what it should be.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Storing objects failed.
    #[error(transparent)]
    Store(#[from] Error),
    /// Reading the tree failed.
    #[error(transparent)]
    Scan(#[from] scan::Error),
    /// The tree cannot be an image.
    #[error("{}: {source}", path.display())]
    Write {
        /// The path in the tree that is about, or that of the tree.
        path: PathBuf,
        /// Why.
        source: WriteError,
    },
}

fn and_others(others: usize) -> String {
    if others == 0 { String::new() } else { format!("; neither are those of {others} others") }
}

fn why(reason: Option<&ObjectError>) -> String {
    reason.map_or_else(String::new, |reason| format!(": {reason}"))
}

pub(crate) fn io_error<E: Into<io::Error>>(
    step: &'static str,
    path: impl AsRef<Path>,
) -> impl FnOnce(E) -> RepositoryError {
    let path = path.as_ref().to_owned();
    move |source| RepositoryError::Io { step, path, source: source.into() }
}
