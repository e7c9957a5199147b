//! Pushes and gcs at the same time, in any order of their calls: no ref leads to a missing file.

use std::io;
use std::ops::Range;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use libcomposefs_delivery::{
    Abilities, CollectOptions, CreateOutcome, DeliveryError, DirectoryStore, ExpectedFile, FileKind, FileName,
    ListedFile, NewContent, RangeAnswer, RangeSink, ReadFile, RefReplacement, Remote, RemoteError, RemoteStore,
    collect,
};
use libcomposefs_repo::Repository;
use libcomposefs_testkit::numbers::Numbers;

use crate::pair::{Place, expect_whole, patience, pull_from, push_to};

/// Lets one of several actors do one call at a time, as a seed chooses.
struct Schedule {
    state: Mutex<ScheduleState>,
    changed: Condvar,
}

struct ScheduleState {
    numbers: Numbers,
    /// Actors that wait for their next call.
    waiting: Vec<usize>,
    /// Number of actors that have not ended.
    running: usize,
    /// The actor whose turn it is.
    turn: Option<usize>,
}

impl Schedule {
    fn new(seed: u64, actors: usize) -> Self {
        let state = ScheduleState {
            numbers: Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            waiting: Vec::new(),
            running: actors,
            turn: None,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Waits for the turn of an actor, and does its call.
    fn step<T>(&self, actor: usize, call: impl FnOnce() -> T) -> T {
        let mut state = self.state.lock().unwrap();
        state.waiting.push(actor);
        self.choose(&mut state);
        while state.turn != Some(actor) {
            state = self.changed.wait(state).unwrap();
        }
        let result = call();
        state.turn = None;
        drop(state);
        result
    }

    /// Gives the turn to an actor when all wait.
    fn choose(&self, state: &mut ScheduleState) {
        if state.turn.is_some() || state.waiting.len() < state.running || state.waiting.is_empty() {
            return;
        }
        state.waiting.sort_unstable();
        let chosen = state.numbers.below(state.waiting.len());
        state.turn = Some(state.waiting.swap_remove(chosen));
        self.changed.notify_all();
    }

    fn end(&self) {
        let mut state = self.state.lock().unwrap();
        state.running -= 1;
        self.choose(&mut state);
    }
}

/// The store as one actor sees it.
struct ScheduledStore<'s> {
    inner: &'s DirectoryStore,
    schedule: &'s Schedule,
    actor: usize,
}

impl RemoteStore for ScheduledStore<'_> {
    fn location(&self) -> &str {
        self.inner.location()
    }

    fn abilities(&self) -> Abilities {
        self.inner.abilities()
    }

    fn read(&self, name: &FileName, limit: u64) -> Result<Option<ReadFile>, RemoteError> {
        self.schedule.step(self.actor, || self.inner.read(name, limit))
    }

    fn read_range(
        &self,
        _: &FileName,
        _: Range<u64>,
        _: &mut dyn RangeSink,
    ) -> Result<Option<RangeAnswer>, RemoteError> {
        Err(RemoteError::new("the test", "read", io::Error::other("no actor reads packs").to_string()))
    }

    fn length(&self, name: &FileName) -> Result<Option<u64>, RemoteError> {
        self.schedule.step(self.actor, || self.inner.length(name))
    }

    fn create(&self, name: &FileName, content: &mut dyn NewContent) -> Result<CreateOutcome, RemoteError> {
        self.schedule.step(self.actor, || self.inner.create(name, content))
    }

    fn replace(&self, name: &FileName, bytes: &[u8], expected: &ExpectedFile) -> Result<RefReplacement, RemoteError> {
        self.schedule.step(self.actor, || self.inner.replace(name, bytes, expected))
    }

    fn list(&self, kind: FileKind) -> Result<Vec<ListedFile>, RemoteError> {
        self.schedule.step(self.actor, || self.inner.list(kind))
    }

    fn delete(&self, name: &FileName) -> Result<(), RemoteError> {
        self.schedule.step(self.actor, || self.inner.delete(name))
    }
}

/// Runs two pushes and a gc at the same time.
fn run(source: &Repository, store: &DirectoryStore, seed: u64) -> Vec<(&'static str, Result<(), DeliveryError>)> {
    let schedule = Schedule::new(seed, 3);
    let at = |actor| ScheduledStore { inner: store, schedule: &schedule, actor };
    // The names differ or are the same, as the seed says.
    let other = if seed.is_multiple_of(2) { "one" } else { "two" };
    let push = |actor, image, name: &'static str| {
        let result = push_to(source, image, &at(actor), name).map(drop);
        schedule.end();
        (name, result)
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| push(0, "old", "one"));
        let second = scope.spawn(|| push(1, "new", other));
        let options = CollectOptions { grace: Duration::ZERO, ..CollectOptions::default() };
        let collected = collect(&Remote::new(&at(2), patience()), &options);
        schedule.end();
        collected.unwrap();
        vec![first.join().unwrap(), second.join().unwrap()]
    })
}

#[test]
fn pushes_and_a_gc_lose_nothing() {
    let place = Place::new();
    let source = place.source("source");
    let full = std::env::var_os("COMPOSEFS_FULL").is_some();
    let rounds = if full { 2000 } else { 40 };
    for seed in 0..rounds {
        let path = place.path(&format!("remote-{seed}"));
        let store = DirectoryStore::open(&path).unwrap();
        if seed % 3 > 0 {
            // Packs that no ref needs: a push relies on them, and the gc removes them.
            push_to(&source, "new", &store, "gone").unwrap();
            store.delete(&FileName::Ref(crate::pair::reference("gone"))).unwrap();
        }
        if seed % 3 > 1 {
            push_to(&source, "old", &store, "one").unwrap();
        }
        let results = run(&source, &store, seed);
        for (name, result) in &results {
            match result {
                Ok(()) | Err(DeliveryError::OtherPush { .. }) => {}
                Err(error) => panic!("{seed}: {name}: {error}"),
            }
        }
        assert!(results.iter().any(|(_, result)| result.is_ok()), "{seed}: one push must win");
        for (name, result) in results {
            if result.is_ok() {
                let receiver = place.repository(&format!("receiver-{seed}-{name}"));
                if receiver.refs().unwrap().good.is_empty() {
                    let pulled = pull_from(&receiver, &store, name).unwrap_or_else(|error| panic!("{seed}: {error}"));
                    expect_whole(&receiver, name, pulled.digest);
                }
                std::fs::remove_dir_all(receiver.path()).unwrap();
            }
        }
        std::fs::remove_dir_all(path).unwrap();
    }
}
