//! What a session answers on threads of its own, as it may take long: the threads that read the device never wait.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{Builder, Scope};

use libcomposefs_content::mutex::lock;

/// Tasks that wait for a thread.
#[derive(Debug)]
pub(super) struct WaitingTasks<T> {
    /// Name of the threads.
    name: &'static str,
    /// The largest number of threads. Later tasks wait in their order.
    threads_max: usize,
    state: Mutex<TaskState<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct TaskState<T> {
    tasks: VecDeque<T>,
    threads: usize,
    idle: usize,
    has_ended: bool,
}

impl<T> WaitingTasks<T> {
    pub(super) fn new(name: &'static str, threads_max: usize) -> Self {
        let state = TaskState { tasks: VecDeque::new(), threads: 0, idle: 0, has_ended: false };
        Self { name, threads_max, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Adds a task. If all threads are busy and there are less than the largest number, starts one that runs `work`,
    /// which takes tasks by [`next`](Self::next) until that returns `None`. Returns the task if no thread runs.
    pub(super) fn add<'scope>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        task: T,
        work: impl FnOnce() + Send + 'scope,
    ) -> Option<T> {
        let mut state = lock(&self.state);
        state.tasks.push_back(task);
        if state.tasks.len() > state.idle && state.threads < self.threads_max {
            // Without a further thread, those that run take it later.
            if Builder::new().name(self.name.to_owned()).spawn_scoped(scope, work).is_ok() {
                state.threads += 1;
            } else if state.threads == 0 {
                return state.tasks.pop_back();
            }
        }
        drop(state);
        self.changed.notify_one();
        None
    }

    /// Waits for a task; `None` after the end.
    pub(super) fn next(&self) -> Option<T> {
        let mut state = lock(&self.state);
        loop {
            if let Some(task) = state.tasks.pop_front() {
                return Some(task);
            }
            if state.has_ended {
                return None;
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Has all threads end when no task is left.
    pub(super) fn end(&self) {
        lock(&self.state).has_ended = true;
        self.changed.notify_all();
    }
}
