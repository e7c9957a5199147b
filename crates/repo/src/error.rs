//! The error type of all operations on a repository.

use std::io;
use std::path::{Path, PathBuf};

use libcomposefs_image::erofs::WriteError;
use libcomposefs_image::erofs::read::ReadError;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_scan as scan;

use super::meta::MetaError;
use super::ref_name::RefName;
use super::signature_file::SignatureFileProblem;
use libcomposefs_store::Error;
use libcomposefs_store::ObjectError;

/// Error of an operation on a repository.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// A system call failed.
    #[error("cannot {step} {}: {source}", path.display())]
    Io {
        /// The failed step, as a verb that fits between "cannot" and the path.
        step: &'static str,
        /// Path of the file or directory.
        path: PathBuf,
        /// Error of the kernel.
        source: io::Error,
    },
    /// A file beside an image cannot be one of its signatures.
    #[error("{} {problem}", path.display())]
    SignatureFile {
        /// Path of the file, or of the directory of all signatures of the image.
        path: PathBuf,
        /// The rule that it breaks.
        problem: SignatureFileProblem,
    },
    /// There is no `meta.json`.
    #[error("{} is no composefs repository: it has no meta.json; `composefs init` makes one", path.display())]
    NotARepository {
        /// Path of the directory.
        path: PathBuf,
    },
    /// A new repository was requested in a directory that has other contents.
    #[error("{} is not empty: make a repository in a new or empty directory", path.display())]
    NotEmpty {
        /// Path of the directory.
        path: PathBuf,
    },
    /// A repository of other settings exists.
    #[error("{} is already a repository, with {found}; {wanted} was requested", path.display())]
    OtherSettings {
        /// Path of the repository.
        path: PathBuf,
        /// Settings of the existing repository.
        found: String,
        /// Requested settings.
        wanted: String,
    },
    /// `meta.json` cannot be used.
    #[error("{}: {source}", path.display())]
    Meta {
        /// Path of `meta.json`.
        path: PathBuf,
        /// What is wrong with the settings.
        source: MetaError,
    },
    /// The repository has features without which a program must not write to it.
    #[error(
        "{} can only be read: it has features that this program does not know: {}", path.display(), features.join(", ")
    )]
    ReadOnly {
        /// Path of the repository.
        path: PathBuf,
        /// Names of the unknown features.
        features: Vec<String>,
    },
    /// fs-verity is required, but not available.
    #[error(
        "{} cannot require fs-verity: {source}; see `composefs doctor`, or use --insecure to make a repository without \
         it, in which only fsck finds changed objects", path.display()
    )]
    NoVerity {
        /// Path of the repository.
        path: PathBuf,
        /// Error of the kernel.
        source: io::Error,
    },
    /// The file system does not support symlinks.
    #[error(
        "{} cannot hold a repository: its file system does not support symlinks ({source}); use another one, such as \
         ext4, xfs or btrfs", path.display()
    )]
    NoSymlinks {
        /// Path of the repository.
        path: PathBuf,
        /// Error of the kernel.
        source: io::Error,
    },
    /// No image has this name.
    #[error("no image is called {name} in {}", path.display())]
    NoSuchRef {
        /// The unknown name.
        name: RefName,
        /// Path of the repository.
        path: PathBuf,
    },
    /// The name is one of those that keep the bases of cold images.
    #[error("{name}: names in {}/ keep the bases of cold images; choose another name", crate::layout::COLD_BASES)]
    ReservedName {
        /// The refused name.
        name: RefName,
    },
    /// No image has this digest.
    #[error("there is no image {digest} in {}", path.display())]
    NoSuchImage {
        /// Digest of the missing image.
        digest: Box<Digest>,
        /// Path of the repository.
        path: PathBuf,
    },
    /// The objects of an image are not all here, so it has no link in `images`.
    #[error(
        "{image} is in {path} only in part: `composefs --repo={path} pull {remote} {name}` completes it, `composefs \
         --repo={path} mount --lazy={remote} {name} DIR` mounts it as it is", path = path.display()
    )]
    Partial {
        /// Name or digest of the image.
        image: String,
        /// Path of the repository.
        path: PathBuf,
        /// The remote that has the objects.
        remote: String,
        /// Name of the image in the remote.
        name: RefName,
    },
    /// The description of a partial image cannot be used.
    #[error("{}: {reason}", path.display())]
    PartialEntry {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No directory can answer `statfs` for the mount of an image.
    #[error("{}: {reason}; mount without statfs=objects, or in user space (--via=fuse)", path.display())]
    StatfsDirectory {
        /// Path of the directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A ref leads to an image that the repository does not have.
    #[error("{name} is a name of {digest}, but that image is not in {}; run `composefs fsck`", path.display())]
    Dangling {
        /// Name of the ref.
        name: RefName,
        /// Digest of the missing image.
        digest: Box<Digest>,
        /// Path of the repository.
        path: PathBuf,
    },
    /// An entry is not the symlink that it should be.
    #[error("{} {found}; expected a link to {expected}", path.display())]
    Link {
        /// Path of the entry.
        path: PathBuf,
        /// Description of the entry.
        found: String,
        /// Description of the expected target.
        expected: &'static str,
    },
    /// A ref cannot have this name, because a ref would have to be a directory too.
    #[error("{name} cannot be a ref beside {other}: one of them would have to be a directory and a link at once")]
    NameInTheWay {
        /// The requested name.
        name: RefName,
        /// The existing ref or directory of refs, or another requested name.
        other: String,
    },
    /// The object of an image is missing or wrong.
    #[error("image {digest}: {source}")]
    ImageObject {
        /// Digest of the image.
        digest: Box<Digest>,
        /// What is wrong with the object.
        source: ObjectError,
    },
    /// An image has the expected digest, but cannot be read.
    #[error("image {digest}: {source}")]
    Image {
        /// Digest of the image.
        digest: Box<Digest>,
        /// What is wrong with the image.
        source: ReadError,
    },
    /// Writing the tree of an image again gives other bytes.
    #[error(
        "written again, the image has the digest {written} instead of {found}: it was not made by a composefs tool, or \
         was changed; only images written here are stored, because the kernel has to trust them"
    )]
    NotCanonical {
        /// Digest of the imported image.
        found: Box<Digest>,
        /// Digest of the image that this program writes of the same tree.
        written: Box<Digest>,
    },
    /// The content of a file is not an object named by its digest.
    #[error("{}: its content is not an object named by its digest, as a repository requires", path.display())]
    NoObject {
        /// Path of the file, in the tree of the image.
        path: PathBuf,
    },
    /// A needed object was not found.
    #[error(
        "{}: its content {digest} is not in the repository nor in any other source{}{}", path.display(),
        why(reason.as_ref()), and_others(*others)
    )]
    Missing {
        /// Number of other missing objects.
        others: usize,
        /// Path of a file that needs the object, in the tree of the image.
        path: PathBuf,
        /// Digest of the object.
        digest: Box<Digest>,
        /// Error of the place where the object was looked for, if any.
        reason: Option<ObjectError>,
    },
    /// Another process changed a stream while its replacement was made.
    #[error("another process has changed the stream {name} of {} meanwhile; run this again", path.display())]
    StreamChanged {
        /// The name of the stream.
        name: String,
        /// Path of the repository.
        path: PathBuf,
    },
    /// Another program removed objects of a new image before it was published.
    #[error(
        "objects of the new image were removed from {} before it was published, {count} in all, such as {first}: \
         another program removes objects without reading leases; run this again", path.display()
    )]
    Removed {
        /// Number of removed objects.
        count: usize,
        /// Digest of the first removed object.
        first: Box<Digest>,
        /// Path of the repository.
        path: PathBuf,
    },
    /// Two repositories, or a bundle and a repository, have different algorithms.
    #[error("{} has {found} digests, {} has {expected}", path.display(), repository.display())]
    Algorithm {
        /// Path of the other repository, or of the bundle.
        path: PathBuf,
        /// Algorithm of the other repository or bundle.
        found: Algorithm,
        /// Path of the repository.
        repository: PathBuf,
        /// Algorithm of the repository.
        expected: Algorithm,
    },
    /// A bundle is damaged.
    #[error("the bundle is wrong at byte {offset}: {rule}")]
    Bundle {
        /// Offset of the damage in the bundle, in bytes.
        offset: u64,
        /// The broken rule.
        rule: String,
    },
    /// Writing a bundle failed.
    #[error("cannot write the bundle: {0}")]
    Output(#[source] io::Error),
    /// An object is missing or wrong.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Objects could not be stored.
    #[error(transparent)]
    Store(#[from] Error),
    /// The tree could not be read.
    #[error(transparent)]
    Scan(#[from] scan::Error),
    /// The tree cannot be written as an image.
    #[error("{}: {source}", path.display())]
    Write {
        /// Path of the file in the tree, or of the tree.
        path: PathBuf,
        /// What the image cannot express.
        source: WriteError,
    },
}

fn and_others(others: usize) -> String {
    if others == 0 { String::new() } else { format!("; the contents of {others} others are missing too") }
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
