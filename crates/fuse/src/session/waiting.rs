//! Reads that wait for something that may take long: a thread of their own answers them, so that the threads that read
//! the device never wait.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, Scope};

use libcomposefs_content::mutex::lock;

use super::{Body, Buffers, MAX_READ, send_body};
use crate::file_system::ServedFileSystem;

/// The largest number of nodes that are waited for at once.
const THREADS_MAX: usize = 32;

/// A read that has no answer yet.
#[derive(Debug)]
pub(super) struct WaitingRead {
    pub(super) unique: u64,
    pub(super) offset: u64,
    pub(super) size: u32,
    /// The descriptor that gave the request. The kernel takes the answer from no other one.
    pub(super) device: Arc<OwnedFd>,
}

/// The reads of a session that wait, by their nodes: one thread waits for a node, and answers all its reads.
#[derive(Debug, Default)]
pub(super) struct WaitingReads {
    state: Mutex<WaitingState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct WaitingState {
    reads: HashMap<u64, Vec<WaitingRead>>,
    /// Nodes that no thread has taken.
    nodes: VecDeque<u64>,
    threads: usize,
    idle: usize,
    has_ended: bool,
}

impl WaitingReads {
    /// Adds a read. Starts a thread if all are busy, up to a number.
    pub(super) fn add<'scope, 'env, F: ServedFileSystem>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        file_system: &'env F,
        node: u64,
        read: WaitingRead,
    ) {
        let mut state = lock(&self.state);
        let reads = state.reads.entry(node).or_default();
        reads.push(read);
        if reads.len() > 1 {
            return;
        }
        state.nodes.push_back(node);
        if state.nodes.len() > state.idle && state.threads < THREADS_MAX {
            let work = || self.work(file_system);
            // Without a further thread, those that run answer it later.
            if Builder::new().name("fuse-wait".to_owned()).spawn_scoped(scope, work).is_ok() {
                state.threads += 1;
            } else if state.threads == 0 {
                let reads = take(&mut state, node);
                drop(state);
                answer(file_system, node, reads, &mut Buffers::default());
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
        let mut buffers = Buffers::default();
        while let Some(node) = self.next_node() {
            let ready = file_system.wait_for(node);
            let reads = take(&mut lock(&self.state), node);
            match ready {
                Ok(()) => answer(file_system, node, reads, &mut buffers),
                Err(errno) => {
                    for read in reads {
                        // The session ends for reasons that the reading threads find.
                        let _ = send_body(read.device.as_fd(), read.unique, Err(errno), &buffers);
                    }
                }
            }
        }
    }

    fn next_node(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        loop {
            if let Some(node) = state.nodes.pop_front() {
                return Some(node);
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

/// Takes all reads of a node. Later ones are waited for anew.
fn take(state: &mut WaitingState, node: u64) -> Vec<WaitingRead> {
    state.nodes.retain(|waiting| *waiting != node);
    state.reads.remove(&node).unwrap_or_default()
}

fn answer(file_system: &impl ServedFileSystem, node: u64, reads: Vec<WaitingRead>, buffers: &mut Buffers) {
    for read in reads {
        let content = file_system.read(node, read.offset, read.size.min(MAX_READ), &mut buffers.content);
        let _ = send_body(read.device.as_fd(), read.unique, content.map(Body::Content), buffers);
    }
}
