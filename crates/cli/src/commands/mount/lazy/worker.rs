//! The worker of a lazy mount by the kernel: gets the objects that overlayfs looks up.
//!
//! A worker may end at any time: it has no state but what the holder gave it, so that the next one can go on.

use std::collections::HashMap;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::{Arc, Mutex};
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use libcomposefs_content::mutex::lock;
use libcomposefs_delivery::{ImageIndex, LazyObjects, LazyStatus, RefDocument, RemoteStore};
use libcomposefs_fuse::{FuseSession, LookupLayer, ObjectSupply, SupplyError, Trigger};
use libcomposefs_image::Digest;
use libcomposefs_repo::partial::ArrivedObjects;
use libcomposefs_repo::{Lease, Repository};
use libcomposefs_sys::background;
use serde_json::{Value, json};

use super::LazyMount;
use crate::commands::remote::{LazyRestarts, LazySupply, RemoteOperand, open_remote, status_text};

/// Exit status of a worker whose image is complete.
pub(super) const COMPLETE: i32 = 3;

/// Time between two looks at what is here.
const LOOK: Duration = Duration::from_millis(500);
/// Time without a lookup after which a complete image needs no worker. A lookup that began before the last object was
/// stored must still get its answer.
const QUIET: Duration = Duration::from_secs(3);
/// Time between two sweeps of the objects that have arrived.
const SWEEP: Duration = Duration::from_secs(30);
/// Longest time for which a program that asks for the status may keep the worker.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);

/// What a worker does: the same for all workers of a mount.
pub(super) struct WorkerTask<'a> {
    mount: &'a LazyMount<'a>,
    /// Absolute path of the repository.
    repository: PathBuf,
    document: RefDocument,
    index: ImageIndex,
    objects: HashMap<Digest, u64>,
}

/// What differs between the workers of a mount.
pub(super) struct WorkerStart<'a> {
    /// Set for the first worker, which writes to it when it is ready.
    pub(super) ready: Option<UnixStream>,
    pub(super) restarts: LazyRestarts,
    pub(super) listener: &'a UnixListener,
    /// Called before the process ends because the overlay is unmounted, or the image is complete.
    pub(super) ended: Option<&'a (dyn Fn() + Sync)>,
}

/// A supply that gives each object its name for the overlay.
struct ArrivingSupply<'a> {
    task: &'a WorkerTask<'a>,
    /// Missing as long as the repository or the remote cannot be opened.
    opened: Mutex<Option<Arc<OpenSupply>>>,
    last_lookup: Mutex<Instant>,
    facts: Value,
}

/// The fetches, and where objects get their name for the overlay.
struct OpenSupply {
    fetches: LazySupply,
    arrived: ArrivedObjects,
}

impl<'a> WorkerTask<'a> {
    pub(super) fn new(
        mount: &'a LazyMount<'a>,
        repository: PathBuf,
        document: RefDocument,
        index: ImageIndex,
        objects: HashMap<Digest, u64>,
    ) -> Self {
        Self { mount, repository, document, index, objects }
    }

    /// Returns a lease that keeps the image, and what is here of its objects.
    pub(super) fn lease(&self) -> anyhow::Result<Lease> {
        let lease = Repository::open(&self.repository)?.lease()?;
        lease.protect(&[self.document.image.digest])?;
        Ok(lease)
    }

    /// Returns what is known about the mount as long as it exists.
    pub(super) fn facts(&self, target: &Path) -> Value {
        json!({
            "version": 1,
            "way": "overlay",
            "target": target.to_string_lossy(),
            "repository": self.repository.to_string_lossy(),
            "digest": self.document.image.digest.to_hex(),
            "remote": self.mount.location,
            "ref": self.mount.name.as_str(),
        })
    }

    /// Serves the trigger until the overlay is unmounted, or the image is complete. Returns the exit status.
    pub(super) fn work(&self, trigger: &FuseSession, start: WorkerStart<'_>) -> anyhow::Result<i32> {
        let mut facts = self.facts(&self.mount.args.target);
        start.restarts.put(&mut facts);
        let supply =
            ArrivingSupply { task: self, opened: Mutex::default(), last_lookup: Mutex::new(Instant::now()), facts };
        if let Some(mut ready) = start.ready {
            // What is wrong now is an error of the mount, and later one of the lookups.
            supply.opened().map_err(|error| anyhow!("{error}"))?;
            background::detach().context("cannot leave the terminal")?;
            ready.write_all(b"+").context("cannot tell the holder that the worker is ready")?;
        } else {
            trigger.resend().map_err(|error| anyhow!("{error}"))?;
        }
        std::thread::scope(|scope| {
            let (status, look) = (|| supply.answer_status(start.listener), || supply.look(start.ended));
            Builder::new()
                .name("ahead".to_owned())
                .spawn_scoped(scope, || supply.ahead())
                .context("cannot start a thread")?;
            Builder::new().name("status".to_owned()).spawn_scoped(scope, status).context("cannot start a thread")?;
            Builder::new().name("look".to_owned()).spawn_scoped(scope, look).context("cannot start a thread")?;
            let layer = LookupLayer::new(Trigger::new(&self.objects, &supply));
            // One reader: with clones of the device, lookups of a worker that ends would fail.
            let served = trigger.serve(&layer, NonZeroUsize::MIN);
            supply.close();
            served.map_err(|error| anyhow!("{error}"))?;
            if let Some(ended) = start.ended {
                ended();
            }
            exit(0)
        })
    }
}

impl ArrivingSupply<'_> {
    /// Returns the fetches. What could not be opened is tried again.
    fn opened(&self) -> Result<Arc<OpenSupply>, SupplyError> {
        let mut opened = lock(&self.opened);
        if let Some(opened) = &*opened {
            return Ok(Arc::clone(opened));
        }
        let mount = self.task.mount;
        let repository = Repository::open(&self.task.repository)?;
        let arrived = repository.arrived_objects()?;
        let operand = RemoteOperand::stored(&mount.location);
        let store = open_remote(&operand, mount.selected, &mount.args.server).map_err(|error| format!("{error:#}"))?;
        let store: Arc<dyn RemoteStore> = Arc::from(store);
        let options = mount.fetch_options();
        let objects = LazyObjects::open(repository, store, self.task.index.clone(), &self.task.objects, options)?;
        let found = Arc::new(OpenSupply { fetches: LazySupply::new(objects, self.facts.clone()), arrived });
        *opened = Some(Arc::clone(&found));
        Ok(found)
    }

    /// Ends all fetches, and with them the lease.
    fn close(&self) {
        if let Some(opened) = lock(&self.opened).take() {
            opened.fetches.end();
        }
    }

    /// Fetches what programs will need, as soon as the remote can be opened.
    fn ahead(&self) {
        let digest = self.task.document.image.digest;
        let ahead = self.task.mount.ahead(&self.task.repository, digest);
        loop {
            if let Ok(opened) = self.opened() {
                return ahead.run(opened.fetches.objects());
            }
            sleep(LOOK);
        }
    }

    /// Answers programs that ask for the status.
    fn answer_status(&self, listener: &UnixListener) {
        for asking in listener.incoming() {
            let Ok(mut asking) = asking else {
                sleep(LOOK);
                continue;
            };
            let _ = asking.set_write_timeout(Some(STATUS_TIMEOUT));
            let _ = asking.write_all(&self.status());
        }
    }

    /// Sweeps what has arrived, and ends the process when the image is complete.
    fn look(&self, ended: Option<&(dyn Fn() + Sync)>) {
        let mut swept: Option<Instant> = None;
        let repository = Repository::open(&self.task.repository);
        loop {
            if swept.is_none_or(|swept| swept.elapsed() >= SWEEP) {
                if let Ok(opened) = self.opened() {
                    // What cannot be removed takes room, and harms nothing.
                    let _ = opened.arrived.sweep();
                }
                swept = Some(Instant::now());
            }
            sleep(LOOK);
            let is_complete = || {
                let repository = repository.as_ref().ok()?;
                repository.has_image(&self.task.document.image.digest).ok()
            };
            if is_complete() != Some(true) {
                *lock(&self.last_lookup) = Instant::now();
            } else if lock(&self.last_lookup).elapsed() >= QUIET {
                self.close();
                if let Some(ended) = ended {
                    ended();
                }
                exit(COMPLETE);
            }
        }
    }
}

impl ObjectSupply for ArrivingSupply<'_> {
    fn supply(&self, digest: &Digest, size: u64) -> Result<(), SupplyError> {
        *lock(&self.last_lookup) = Instant::now();
        let opened = self.opened()?;
        opened.fetches.supply(digest, size)?;
        // From the moment in which overlayfs looked into `objects`, the object can be there: it looks here next.
        opened.arrived.offer(digest).map_err(|error| {
            opened.fetches.note(error.to_string());
            error.into()
        })
    }

    fn end(&self) {
        if let Some(opened) = &*lock(&self.opened) {
            opened.fetches.end();
        }
    }

    fn status(&self) -> Vec<u8> {
        match self.opened() {
            Ok(opened) => opened.fetches.status(),
            Err(error) => {
                let mut status = LazyStatus::default();
                status.last_error = Some((std::time::SystemTime::now(), error.to_string()));
                status_text(&self.facts, status)
            }
        }
    }
}
