//! What the server of a lazy mount fetches before a program needs it: the objects of the trace, then the rest.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;
use libcomposefs_content::{NoProgress, Progress};
use libcomposefs_delivery::{DeliveryPullOptions, LazyObjects, Patience, Remote, pull};
use libcomposefs_image::Digest;
use libcomposefs_repo::Repository;

use super::fill::planned;
use super::operand::RemoteOperand;
use super::server_args::ServerArgs;
use crate::commands::repository::RepositoryArgs;

/// Number of requests at once of `--fill=now`.
pub(crate) const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(8).unwrap();
/// The lowest priority of a thread (`nice(2)`).
const LOWEST_PRIORITY: i32 = 19;
/// Pause of the idle fill while a program waits, and the longest one in succession.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSES_MAX: u32 = 250;
/// First and longest pause after a fill that failed.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(300);

/// Value of `--fill`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum FillPace {
    #[default]
    Off,
    Idle,
    Now,
}

/// The fetches of a mount that no program waits for.
#[derive(Clone, Debug)]
pub(crate) struct FetchAhead {
    pub(crate) pace: FillPace,
    /// Absolute path of the repository.
    pub(crate) repository: PathBuf,
    pub(crate) digest: Digest,
    pub(crate) server: ServerArgs,
}

/// A progress that waits while programs wait for objects.
struct IdleProgress<'a>(&'a LazyObjects);

impl Progress for IdleProgress<'_> {
    fn bytes(&self, _: u64) {
        for _ in 0..PAUSES_MAX {
            if self.0.status().waiting == 0 {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

impl FetchAhead {
    /// Fetches what should be here, in this thread. The end of the process ends it.
    pub(crate) fn run(&self, objects: &LazyObjects) {
        objects.prefetch();
        if self.pace == FillPace::Off {
            return;
        }
        if self.pace == FillPace::Idle {
            // Of this thread and those that it starts.
            let _ = rustix::process::setpriority_process(None, LOWEST_PRIORITY);
        }
        let mut pause = AGAIN;
        while let Err(error) = self.fill(objects) {
            objects.note(format!("fill: {error:#}"));
            std::thread::sleep(pause);
            pause = (pause * 2).min(AGAIN_MAX);
        }
    }

    /// Fetches the rest, and publishes the image.
    fn fill(&self, objects: &LazyObjects) -> anyhow::Result<()> {
        let repository = Repository::open(&self.repository)?;
        let Some(image) = repository.partial_image(&self.digest)? else {
            if repository.has_image(&self.digest)? {
                return Ok(());
            }
            bail!("the image {} is no longer in {}", self.digest, self.repository.display());
        };
        let operand = RemoteOperand::stored(&image.entry.remote);
        let store = super::open_remote(&operand, &RepositoryArgs::default(), &self.server)?;
        let remote = Remote::new(&*store, Patience::default());
        let plan = planned(&repository, &remote, &image)?;
        let idle = IdleProgress(objects);
        let (connections, progress): (_, &(dyn Progress + Sync)) = match self.pace {
            FillPace::Idle => (NonZeroUsize::MIN, &idle),
            FillPace::Off | FillPace::Now => (CONNECTIONS, &NoProgress),
        };
        let options = DeliveryPullOptions { connections, rate_limit: None, make_file: &super::make_file, progress };
        pull(&repository, &remote, &plan, image.refs, &options)?;
        Ok(())
    }
}
