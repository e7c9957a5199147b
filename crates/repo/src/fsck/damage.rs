//! What can be wrong, as data.

use std::fmt;
use std::path::PathBuf;

use libcomposefs_image::Digest;

use super::seen::Seen;
use crate::RefName;

/// A kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `meta.json` cannot be used.
    Meta,
    /// An object that is needed is not there.
    Missing,
    /// An object has no content, and one of this name has.
    Empty,
    /// An object is shorter than an image says.
    Truncated,
    /// An object holds something else than its name says.
    Contents,
    /// An object holds what another one should.
    Misnamed,
    /// An object cannot be read.
    Unreadable,
    /// Something else than a regular file has the name of an object.
    NotRegular,
    /// An object may be written by others, or not be read.
    Mode,
    /// An object has no fs-verity, and the repository demands it.
    NoVerity,
    /// An object has fs-verity of another kind than the repository's.
    WrongVerity,
    /// Something among the objects that is none.
    Foreign,
    /// The link of an image, or something in its place, leads elsewhere.
    ImageLink,
    /// An image has its digest, and is no image that can be read.
    Image,
    /// An image names contents by their paths only: nothing compares what a mount reads with it.
    Payload,
    /// A name, or something in its place, leads to no place of an image.
    Ref,
    /// A name leads to an image that the repository does not vouch for.
    Dangling,
    /// A link of a stream leads to no object.
    Stream,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 18] = [
        Kind::Meta,
        Kind::Missing,
        Kind::Empty,
        Kind::Truncated,
        Kind::Contents,
        Kind::Misnamed,
        Kind::Unreadable,
        Kind::NotRegular,
        Kind::Mode,
        Kind::NoVerity,
        Kind::WrongVerity,
        Kind::Foreign,
        Kind::ImageLink,
        Kind::Image,
        Kind::Payload,
        Kind::Ref,
        Kind::Dangling,
        Kind::Stream,
    ];

    /// Its name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Meta => "meta",
            Kind::Missing => "missing",
            Kind::Empty => "empty",
            Kind::Truncated => "truncated",
            Kind::Contents => "contents",
            Kind::Misnamed => "misnamed",
            Kind::Unreadable => "unreadable",
            Kind::NotRegular => "not-regular",
            Kind::Mode => "mode",
            Kind::NoVerity => "no-verity",
            Kind::WrongVerity => "wrong-verity",
            Kind::Foreign => "foreign",
            Kind::ImageLink => "image-link",
            Kind::Image => "image",
            Kind::Payload => "payload",
            Kind::Ref => "ref",
            Kind::Dangling => "dangling",
            Kind::Stream => "stream",
        }
    }
}

/// What became of a damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It is as it was found.
    Left,
    /// It could not be repaired, and why.
    Failed(String),
    /// It is as it should be.
    Repaired,
    /// It was taken away, and is in the quarantine. Nothing needs it.
    TakenAway(PathBuf),
}

impl Remedy {
    /// Whether nothing is wrong there any more.
    #[must_use]
    pub fn is_mended(&self) -> bool {
        matches!(self, Remedy::Repaired | Remedy::TakenAway(_))
    }
}

/// Who needs an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeededBy {
    /// An image.
    pub image: Digest,
    /// Its first name.
    pub name: Option<RefName>,
}

/// One damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What kind of damage.
    pub kind: Kind,
    /// Where: below the repository.
    pub path: PathBuf,
    /// What was found there.
    pub found: String,
    /// The object or image that should be there.
    pub digest: Option<Digest>,
    /// The first image that needs the object; several may.
    pub needed_by: Option<NeededBy>,
    /// What became of it.
    pub remedy: Remedy,
    /// What was judged: only that may be taken away or changed.
    pub(super) seen: Option<Seen>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.path.display(), self.kind.name(), self.found)
    }
}
