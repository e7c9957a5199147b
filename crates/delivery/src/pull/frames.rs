//! Some frames of an index are fetched, and nothing is published.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use libcomposefs_image::Digest;
use libcomposefs_repo::{Repository, RepositoryError};

use super::fetch::{FetchShared, Fetcher};
use super::jobs::jobs;
use super::limiter::RateLimiter;
use super::range_reader::RangeAccess;
use super::select::FrameSelection;
use super::storing::{ArrivingObjects, KeepingGuard};
use crate::pack_writer::MakeFile;
use crate::remote::Remote;
use crate::{DeliveryError, ImageIndex};

/// Where frames come from, and where their objects go.
pub(crate) struct FetchContext<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) remote: &'a Remote<'a>,
    pub(crate) index: &'a ImageIndex,
    pub(crate) guard: &'a Arc<KeepingGuard>,
    pub(crate) shared: &'a FetchShared,
    pub(crate) make_file: MakeFile<'a>,
}

/// Fetches frames in this thread, and stores those of their objects that the image needs and the repository lacks. All
/// of them are on disk when this returns. Returns the objects that need other frames, because a base is missing.
pub(crate) fn fetch_frames(context: &FetchContext<'_>, frames: Vec<usize>) -> Result<Vec<Digest>, DeliveryError> {
    let FetchContext { repository, remote, index, guard, shared, make_file } = *context;
    let mut wanted = HashSet::new();
    let given = frames.iter().filter_map(|frame| index.frames.get(*frame)).flat_map(|frame| &frame.objects);
    let of_image = given.filter(|number| (1..=index.objects.len()).contains(&(**number as usize)));
    for (digest, size) in of_image.filter_map(|number| index.entry(*number)) {
        if !repository.has_object(&digest, size)? {
            wanted.insert(digest);
        }
    }
    let jobs = jobs(index, &FrameSelection { frames, image: None });
    let (limiter, arrived) = (RateLimiter::new(None), |_| ());
    let access = RangeAccess { remote, limiter: &limiter, arrived: &arrived };
    let storing = ArrivingObjects::with_guard(repository, Arc::clone(guard));
    let threads = (make_file, NonZeroUsize::MIN);
    let fetcher = Fetcher::new(repository, access, threads, &storing, &wanted, index.image.digest);
    let fetched = fetcher.sharing(shared).run(&jobs)?;
    storing.finish().map_err(RepositoryError::from)?;
    Ok(fetched.without_base)
}
