//! Runs a part of a test as the user nobody if the test runs as root.

use rustix::process::{Uid, geteuid};
use rustix::thread::set_thread_res_uid;

/// Returns `true` if the process is root.
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Runs `work` in a thread that, with the threads it starts, has the user nobody if the process is root, and else the
/// user of the process.
///
/// # Panics
///
/// If `work` panics.
pub fn without_root<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let worker = || {
        if is_root() {
            let nobody = Uid::from_raw(65534);
            set_thread_res_uid(nobody, nobody, nobody).expect("root may become anybody");
        }
        work()
    };
    std::thread::scope(|scope| match scope.spawn(worker).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
