//! Damages of a repository, as data.

use std::fmt;
use std::path::PathBuf;

use libcomposefs_image::Digest;

use super::seen::SeenEntry;
use crate::{RefName, StreamKeeper};

/// Kind of a damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DamageKind {
    /// `meta.json` cannot be used.
    Meta,
    /// A needed object is missing.
    Missing,
    /// An object is empty, and its name is that of a content.
    Empty,
    /// An object is shorter than an image says.
    Truncated,
    /// The content of an object does not have the digest of its name.
    Contents,
    /// An object has the content of another one.
    Misnamed,
    /// An object cannot be read.
    Unreadable,
    /// The entry with the name of an object is no regular file.
    NotRegular,
    /// Other users can write an object, or its owner cannot read it.
    Mode,
    /// An object has no fs-verity, and the repository demands it.
    NoVerity,
    /// An object has fs-verity with other parameters than the repository.
    WrongVerity,
    /// An entry of the object store is no object.
    Foreign,
    /// The link of an image leads elsewhere, or the entry is no link.
    ImageLink,
    /// An image has the expected digest, but cannot be read.
    Image,
    /// An image names contents by their paths only: nothing compares what a mount reads with the image.
    Payload,
    /// A ref leads elsewhere than to an image, or the entry is no link.
    Ref,
    /// A ref or stream leads to an image that has no link.
    Dangling,
    /// The link of a stream leads to a missing object, or the stream cannot be interpreted.
    Stream,
    /// A name leads to a stream that has no link.
    StreamName,
}

impl DamageKind {
    /// All kinds of damage.
    pub const ALL: [DamageKind; 19] = [
        DamageKind::Meta,
        DamageKind::Missing,
        DamageKind::Empty,
        DamageKind::Truncated,
        DamageKind::Contents,
        DamageKind::Misnamed,
        DamageKind::Unreadable,
        DamageKind::NotRegular,
        DamageKind::Mode,
        DamageKind::NoVerity,
        DamageKind::WrongVerity,
        DamageKind::Foreign,
        DamageKind::ImageLink,
        DamageKind::Image,
        DamageKind::Payload,
        DamageKind::Ref,
        DamageKind::Dangling,
        DamageKind::Stream,
        DamageKind::StreamName,
    ];

    /// Returns the name of the kind in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DamageKind::Meta => "meta",
            DamageKind::Missing => "missing",
            DamageKind::Empty => "empty",
            DamageKind::Truncated => "truncated",
            DamageKind::Contents => "contents",
            DamageKind::Misnamed => "misnamed",
            DamageKind::Unreadable => "unreadable",
            DamageKind::NotRegular => "not-regular",
            DamageKind::Mode => "mode",
            DamageKind::NoVerity => "no-verity",
            DamageKind::WrongVerity => "wrong-verity",
            DamageKind::Foreign => "foreign",
            DamageKind::ImageLink => "image-link",
            DamageKind::Image => "image",
            DamageKind::Payload => "payload",
            DamageKind::Ref => "ref",
            DamageKind::Dangling => "dangling",
            DamageKind::Stream => "stream",
            DamageKind::StreamName => "stream-name",
        }
    }
}

/// What a repair did about a damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing: it was not tried.
    Left,
    /// The damage could not be repaired, for this reason.
    Failed(String),
    /// The damage was repaired.
    Repaired,
    /// The wrong entry was moved to this path in the quarantine. Nothing needs it.
    TakenAway(PathBuf),
}

impl Remedy {
    /// Returns whether the damage is gone.
    #[must_use]
    pub fn is_mended(&self) -> bool {
        matches!(self, Remedy::Repaired | Remedy::TakenAway(_))
    }
}

/// An image that needs an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeededBy {
    /// Digest of the image.
    pub image: Digest,
    /// The first name of the image.
    pub name: Option<RefName>,
}

/// A damage of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Kind of the damage.
    pub kind: DamageKind,
    /// Path of the damaged entry, below the repository.
    pub path: PathBuf,
    /// Description of the damaged entry.
    pub found: String,
    /// The object or image that should be there.
    pub digest: Option<Digest>,
    /// The first image that needs the object. Several may.
    pub needed_by: Option<NeededBy>,
    /// The first stream that needs the object, or is damaged itself, with the names that keep it.
    pub stream: Option<StreamKeeper>,
    /// What a repair did about the damage.
    pub remedy: Remedy,
    /// The entry that was judged. Only this entry may be moved or changed.
    pub(super) seen: Option<SeenEntry>,
}

impl Damage {
    /// Notes the stream that is damaged or needs the object. Its names are found at the end.
    pub(super) fn put_stream(&mut self, name: &str) {
        let name = name.to_owned();
        self.stream = Some(StreamKeeper { name, tags: Vec::new(), from: None, path: Vec::new() });
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.path.display(), self.kind.name(), self.found)
    }
}
