//! Reads that wait for something that may take long.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex};
use std::thread::Scope;

use libcomposefs_content::mutex::lock;

use super::tasks::WaitingTasks;
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
#[derive(Debug)]
pub(super) struct WaitingReads {
    reads: Mutex<HashMap<u64, Vec<WaitingRead>>>,
    /// Nodes that no thread has taken.
    nodes: WaitingTasks<u64>,
}

impl Default for WaitingReads {
    fn default() -> Self {
        Self { reads: Mutex::default(), nodes: WaitingTasks::new("fuse-wait", THREADS_MAX) }
    }
}

impl WaitingReads {
    /// Adds a read.
    pub(super) fn add<'scope, 'env, F: ServedFileSystem>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        file_system: &'env F,
        node: u64,
        read: WaitingRead,
    ) {
        let is_first = {
            let mut reads = lock(&self.reads);
            let of_node = reads.entry(node).or_default();
            of_node.push(read);
            of_node.len() == 1
        };
        // Otherwise the thread that takes the node answers this read too.
        if is_first && self.nodes.add(scope, node, || self.work(file_system)).is_some() {
            answer(file_system, node, self.take(node), &mut Buffers::default());
        }
    }

    /// Has all threads end when they have answered what they wait for.
    pub(super) fn end(&self) {
        self.nodes.end();
    }

    fn work(&self, file_system: &impl ServedFileSystem) {
        let mut buffers = Buffers::default();
        while let Some(node) = self.nodes.next() {
            let ready = file_system.wait_for(node);
            let reads = self.take(node);
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

    /// Takes all reads of a node. Later ones are waited for anew.
    fn take(&self, node: u64) -> Vec<WaitingRead> {
        lock(&self.reads).remove(&node).unwrap_or_default()
    }
}

fn answer(file_system: &impl ServedFileSystem, node: u64, reads: Vec<WaitingRead>, buffers: &mut Buffers) {
    for read in reads {
        let content = file_system.read(node, read.offset, read.size.min(MAX_READ), &mut buffers.content);
        let _ = send_body(read.device.as_fd(), read.unique, content.map(Body::Content), buffers);
    }
}
