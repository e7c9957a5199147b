//! The objects that OCI tags need, for disk usage.

use std::collections::{BTreeMap, BTreeSet};

use libcomposefs_image::Digest;

use super::marks::MarkSet;
use super::name_sizes::NameSizes;
use super::oci_stream_kind::tag_of_path;
use super::reader::Reader;
use super::streams::{StreamLink, Streams};
use super::{Repository, RepositoryError};

/// Disk usage of one tag of an OCI image: of its manifest, configuration, layers and images. All sizes are in bytes.
/// The size on disk is that of the blocks that the file system reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagUsage {
    /// The tag.
    pub tag: String,
    /// Name of the stream of the manifest.
    pub manifest: String,
    /// The images that were made of the layers.
    pub images: Vec<Digest>,
    /// Objects that the image needs, those of its streams included.
    pub sizes: NameSizes,
    /// Whether an image is open, so that gc keeps it.
    pub in_use: bool,
}

/// What the tags of one manifest need.
#[derive(Debug)]
pub(crate) struct TaggedNeeds {
    /// Name of the stream of the manifest.
    pub(crate) manifest: String,
    /// The tags that lead to the manifest.
    pub(crate) tags: Vec<String>,
    pub(crate) images: Vec<Digest>,
    /// The needed objects, sorted.
    pub(crate) objects: Vec<Digest>,
}

/// Returns the tags of each link of a stream that has tags and no other names.
fn tagged(streams: &Streams) -> BTreeMap<&str, Vec<String>> {
    let is_of_image = |target: &str| streams.links.iter().any(|link| link.name == target && link.kind.is_some());
    let tags_of = |paths: &BTreeSet<String>| paths.iter().map(|path| tag_of_path(path)).collect::<Option<Vec<_>>>();
    let all = streams.names.iter().filter(|(target, _)| is_of_image(target));
    all.filter_map(|(target, paths)| Some((target.as_str(), tags_of(paths)?))).collect()
}

impl Repository {
    /// Finds what each tagged OCI image needs, and marks what other streams need. The reader protects all of it.
    ///
    /// # Errors
    ///
    /// If the repository, or an image that a tag needs, cannot be read.
    pub(crate) fn tagged_needs(
        &self,
        reader: &Reader<'_>,
        others: &mut MarkSet,
    ) -> Result<Vec<TaggedNeeds>, RepositoryError> {
        let streams = self.streams()?;
        let mut tagged = tagged(&streams);
        let (of_tags, rest): (Vec<&StreamLink>, Vec<&StreamLink>) =
            streams.roots().into_iter().partition(|link| tagged.contains_key(link.name.as_str()));
        reader.protect(&of_tags.iter().map(|link| link.digest).collect::<Vec<_>>())?;
        others.streams(self, &streams, &rest)?;
        let mut needs = Vec::new();
        for link in of_tags {
            let mut marks = MarkSet::new(self);
            marks.streams(self, &streams, &[link])?;
            if let Some((_, error)) = marks.unreadable.pop() {
                return Err(error);
            }
            let mut objects: Vec<Digest> = marks.objects.iter().collect();
            objects.sort_unstable();
            needs.push(TaggedNeeds {
                manifest: link.name.clone(),
                tags: tagged.remove(link.name.as_str()).unwrap_or_default(),
                images: marks.images.into_iter().collect(),
                objects,
            });
        }
        Ok(needs)
    }
}
