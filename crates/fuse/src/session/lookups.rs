//! Lookups that wait for something that may take long.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::thread::Scope;

use super::send;
use super::tasks::WaitingTasks;
use crate::file_system::ServedFileSystem;

/// The largest number of lookups that are answered at once.
const THREADS_MAX: usize = 128;

/// A lookup that has no answer yet.
#[derive(Debug)]
pub(super) struct WaitingLookup {
    pub(super) unique: u64,
    pub(super) parent: u64,
    pub(super) name: Vec<u8>,
    /// The descriptor that gave the request.
    pub(super) device: Arc<OwnedFd>,
}

/// The lookups of a session that wait.
#[derive(Debug)]
pub(super) struct WaitingLookups(WaitingTasks<WaitingLookup>);

impl Default for WaitingLookups {
    fn default() -> Self {
        Self(WaitingTasks::new("fuse-lookup", THREADS_MAX))
    }
}

impl WaitingLookups {
    /// Adds a lookup.
    pub(super) fn add<'scope, 'env, F: ServedFileSystem>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        file_system: &'env F,
        lookup: WaitingLookup,
    ) {
        let work = || {
            while let Some(lookup) = self.0.next() {
                answer(file_system, &lookup);
            }
        };
        if let Some(lookup) = self.0.add(scope, lookup, work) {
            answer(file_system, &lookup);
        }
    }

    /// Has all threads end when they have answered what they wait for.
    pub(super) fn end(&self) {
        self.0.end();
    }
}

fn answer(file_system: &impl ServedFileSystem, lookup: &WaitingLookup) {
    let mut reply = Vec::new();
    let found = file_system.lookup(lookup.parent, &lookup.name);
    let body = found.map(|entry| {
        entry.put(&mut reply);
        reply.as_slice()
    });
    // The session ends for reasons that the reading threads find.
    let _ = send(lookup.device.as_fd(), lookup.unique, body);
}
