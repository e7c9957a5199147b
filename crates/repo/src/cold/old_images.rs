//! Images that have not been used for some time, which can be made cold.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::time::{Duration, SystemTime};

use libcomposefs_image::Digest;
use rustix::fs::{AtFlags, statat};
use rustix::io::Errno;

use super::directory::is_base_name;
use crate::refs::open_folder;
use crate::stream_graph::StreamGraph;
use crate::{RefName, Repository, RepositoryError, io_error, layout};

/// An image whose names are all older than an age.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OldImage {
    /// Digest of the image.
    pub digest: Digest,
    /// Names of the image, sorted.
    pub refs: Vec<RefName>,
    /// Time at which the youngest name was written.
    pub named: SystemTime,
}

impl Repository {
    /// Lists the images that can be made cold, the oldest first: all names were written `age` ago or earlier, nothing
    /// has the image mounted or open, and no needed stream names it. Names that keep the base of a cold image count
    /// only if the image has no others. If these are all images with a name, the newest is left out: it is the base of
    /// the others.
    ///
    /// # Errors
    ///
    /// If the repository cannot be read.
    pub fn old_images(&self, age: Duration) -> Result<Vec<OldImage>, RepositoryError> {
        let mut names: BTreeMap<Digest, Vec<RefName>> = BTreeMap::new();
        for (name, digest) in self.refs()?.good {
            names.entry(digest).or_default().push(name);
        }
        let all = names.len();
        for names in names.values_mut().filter(|names| !names.iter().all(is_base_name)) {
            names.retain(|name| !is_base_name(name));
        }
        let graph = StreamGraph::read(self, &names.keys().copied().collect::<Vec<_>>())?;
        let now = SystemTime::now();
        let mut old = Vec::new();
        for (digest, refs) in names {
            let Some(named) = self.youngest(&refs)? else { continue };
            // If the clock was set back, names are young.
            let is_old = now.duration_since(named).is_ok_and(|since| since >= age);
            let is_needed = graph.keepers_of(&digest).iter().any(crate::stream_graph::StreamKeeper::is_kept);
            if is_old && !is_needed && self.has_image(&digest)? && !self.is_open(&digest)? {
                old.push(OldImage { digest, refs, named });
            }
        }
        old.sort_by_key(|image| (image.named, image.digest));
        if old.len() == all {
            old.pop();
        }
        Ok(old)
    }

    /// Returns the time at which the youngest of some names was written; `None` if one was removed meanwhile.
    fn youngest(&self, names: &[RefName]) -> Result<Option<SystemTime>, RepositoryError> {
        let Some(top) = self.dir.open_dir(layout::IMAGE_REFS)? else { return Ok(None) };
        let mut youngest = None;
        for name in names {
            let path = self.dir.path.join(layout::IMAGE_REFS).join(name.as_str());
            let (folder, last) = name.folder_and_last();
            let stat = open_folder(&top, folder)
                .and_then(|directory| statat(directory.as_fd(), last, AtFlags::SYMLINK_NOFOLLOW));
            match stat {
                Ok(stat) => youngest = youngest.max(Some(stat.st_ctime)),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(errno) => return Err(io_error("stat", &path)(errno)),
            }
        }
        let seconds = youngest.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or_default()));
        Ok(seconds.map(|seconds| SystemTime::UNIX_EPOCH + seconds))
    }
}
