//! Partial images in the reports of the commands for repositories.

use libcomposefs_repo::partial::{PartialDamage, PartialEntry, PartialImage, PartialImages, PartialProgress};
use libcomposefs_repo::{RefName, Repository, RepositoryError};
use serde_json::{Value, json};

use super::counted;
use crate::inspect::size::human;

/// A partial image, and how much of it is here. The error is what is wrong with the image itself.
pub(super) struct ListedPartial {
    pub(super) image: PartialImage,
    progress: Result<PartialProgress, RepositoryError>,
}

/// The partial images of a list, and the messages about what is wrong among them.
pub(super) struct PartialList {
    pub(super) images: Vec<ListedPartial>,
    pub(super) wrong: Vec<String>,
}

impl PartialList {
    pub(super) fn read(repository: &Repository) -> Result<Self, RepositoryError> {
        let PartialImages { images, dangling, broken, .. } = repository.partial_images()?;
        let listed =
            |image: PartialImage| ListedPartial { progress: repository.progress_of_image(&image.digest), image };
        let images: Vec<_> = images.into_iter().map(listed).collect();
        let mut wrong: Vec<String> = broken.iter().map(|(_, error)| error.to_string()).collect();
        wrong.extend(images.iter().filter_map(|one| one.progress.as_ref().err()).map(ToString::to_string));
        wrong.extend(
            dangling
                .iter()
                .map(|(name, digest)| format!("{name} is a name of the partial image {digest}, which does not exist")),
        );
        Ok(Self { images, wrong })
    }
}

impl ListedPartial {
    /// Describes how much is here: `3 of 10 objects, 1.2M of 4.0M`.
    pub(super) fn progress_text(&self) -> String {
        let PartialEntry { objects, .. } = &self.image.entry;
        match &self.progress {
            Ok(progress) => progress_text(progress),
            Err(_) => format!("an unknown part of {}", counted(*objects, "object")),
        }
    }

    /// Returns the size of the objects that are here, in bytes.
    pub(super) fn bytes_here(&self) -> u64 {
        self.progress.as_ref().map_or(0, |progress| progress.bytes_here)
    }

    pub(super) fn json(&self) -> Value {
        let PartialEntry { remote, name, objects, bytes, .. } = &self.image.entry;
        let here = self.progress.as_ref().ok();
        json!({
            "digest": self.image.digest.to_hex(),
            "refs": texts(&self.image.refs),
            "remote": remote,
            "remote_ref": name.as_str(),
            "objects": objects,
            "bytes": bytes,
            "objects_here": here.map(|progress| progress.objects_here),
            "bytes_here": here.map(|progress| progress.bytes_here),
        })
    }
}

pub(crate) fn progress_text(progress: &PartialProgress) -> String {
    let PartialProgress { objects, bytes, objects_here, bytes_here, .. } = *progress;
    format!("{objects_here} of {}, {} of {}", counted(objects, "object"), human(bytes_here), human(bytes))
}

fn texts(names: &[RefName]) -> Vec<&str> {
    names.iter().map(RefName::as_str).collect()
}

/// Returns the names of an image, or its digest if it has none.
pub(super) fn names_or_digest(image: &PartialImage) -> String {
    if image.refs.is_empty() { image.digest.to_hex() } else { texts(&image.refs).join(" ") }
}

/// Describes the damage of a partial image. Nothing here can repair it.
pub(super) fn damage_line(damage: &PartialDamage) -> String {
    let of = if damage.refs.is_empty() { damage.image.to_hex() } else { texts(&damage.refs).join(", ") };
    let (path, found) = (damage.path.display(), &damage.found);
    format!("{path}: partial: {found}; {of} needs it: pull the image again, or remove its names")
}

pub(super) fn damage_json(damage: &PartialDamage) -> Value {
    json!({
        "path": damage.path.to_string_lossy(),
        "found": damage.found,
        "digest": damage.image.to_hex(),
        "refs": texts(&damage.refs),
    })
}

/// Describes a sound partial image of a check: what is missing is not damage.
pub(super) fn check_line(image: &PartialImage, progress: &PartialProgress) -> String {
    let (name, remote) = (names_or_digest(image), &image.entry.remote);
    let missing = counted(progress.missing(), "object");
    format!("note: {name} is a partial image of {remote}: {}; {missing} missing", progress_text(progress))
}

pub(super) fn check_json(image: &PartialImage, progress: &PartialProgress) -> Value {
    json!({
        "digest": image.digest.to_hex(),
        "refs": texts(&image.refs),
        "remote": image.entry.remote,
        "objects": progress.objects,
        "missing": progress.missing(),
    })
}
