//! Locks of the store that another process has.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use libcomposefs_oci::containers_storage::{ContainersStorage, StorageError};
use rustix::fs::{FlockOperation, fcntl_lock};

use super::recorded::recorded;
use super::{hash, open, run};

const LOCK: &str = "COMPOSEFS_TEST_LOCK";
const TRIED_LOCK: &str = "COMPOSEFS_TEST_TRIED_LOCK";

/// The other process: holds a lock until its input ends.
#[test]
fn holds_a_lock_when_asked() {
    let Some(path) = std::env::var_os(LOCK) else { return };
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    fcntl_lock(&file, FlockOperation::LockExclusive).unwrap();
    println!("locked");
    std::io::stdin().lines().for_each(drop);
}

/// The other process: tries to take a lock.
#[test]
fn tries_a_lock_when_asked() {
    let Some(path) = std::env::var_os(TRIED_LOCK) else { return };
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let result = fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive);
    println!("{}", if result.is_ok() { "locked" } else { "refused" });
}

#[test]
fn a_writer_is_waited_for() {
    for lock in ["overlay-layers/layers.lock", "overlay-images/images.lock"] {
        let dir = recorded();
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "locks::holds_a_lock_when_asked", "--nocapture"])
            .env(LOCK, dir.path().join(lock))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("locked")));
        assert!(matches!(open(dir.path()), Err(StorageError::Locked(_))));
        // The writer ends while this process waits.
        let mut input = writer.stdin.take();
        let mut tries = 0;
        let opened = ContainersStorage::open(&[dir.path()], || {
            if let Some(mut input) = input.take() {
                input.write_all(b"\n").unwrap();
            }
            tries += 1;
            true
        });
        assert!(hash(&opened.unwrap(), "upper:1").is_ok() && tries > 0);
        writer.wait().unwrap();
    }
}

#[test]
fn the_store_is_locked_while_it_is_open() {
    let dir = recorded();
    let lock = dir.path().join("overlay-layers/layers.lock");
    let other = || {
        let mut other = Command::new(std::env::current_exe().unwrap());
        other.args(["--exact", "locks::tries_a_lock_when_asked", "--nocapture"]).env(TRIED_LOCK, &lock);
        run(&mut other)
    };
    let storage = open(dir.path()).unwrap();
    assert!(other().contains("refused"));
    assert!(hash(&storage, "upper:1").is_ok());
    drop(storage);
    assert!(other().contains("locked"));
}
