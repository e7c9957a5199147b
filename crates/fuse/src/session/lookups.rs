//! Lookups that wait for something that may take long: threads of their own answer them, so that the threads that read
//! the device never wait.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, Scope};

use libcomposefs_content::mutex::lock;

use super::send;
use crate::file_system::ServedFileSystem;

/// The largest number of lookups that are answered at once. Later ones wait in their order.
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
#[derive(Debug, Default)]
pub(super) struct WaitingLookups {
    state: Mutex<LookupQueue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct LookupQueue {
    lookups: VecDeque<WaitingLookup>,
    threads: usize,
    idle: usize,
    has_ended: bool,
}

impl WaitingLookups {
    /// Adds a lookup. Starts a thread if all are busy, up to a number.
    pub(super) fn add<'scope, 'env, F: ServedFileSystem>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        file_system: &'env F,
        lookup: WaitingLookup,
    ) {
        let mut state = lock(&self.state);
        state.lookups.push_back(lookup);
        if state.lookups.len() > state.idle && state.threads < THREADS_MAX {
            let work = || self.work(file_system);
            // Without a further thread, those that run answer it later.
            if Builder::new().name("fuse-lookup".to_owned()).spawn_scoped(scope, work).is_ok() {
                state.threads += 1;
            } else if state.threads == 0 {
                let lookup = state.lookups.pop_back();
                drop(state);
                lookup.into_iter().for_each(|lookup| answer(file_system, &lookup));
                return;
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Has all threads end when they have answered what they wait for.
    pub(super) fn end(&self) {
        lock(&self.state).has_ended = true;
        self.changed.notify_all();
    }

    fn work(&self, file_system: &impl ServedFileSystem) {
        while let Some(lookup) = self.next() {
            answer(file_system, &lookup);
        }
    }

    fn next(&self) -> Option<WaitingLookup> {
        let mut state = lock(&self.state);
        loop {
            if let Some(lookup) = state.lookups.pop_front() {
                return Some(lookup);
            }
            if state.has_ended {
                return None;
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
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
