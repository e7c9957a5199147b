//! The asynchronous runtime, and the wait of a thread for its results.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Threads that drive the connections. TLS is decrypted in them, so there are two.
const THREADS: usize = 2;
/// Time after which a wait looks for an interrupt.
const TICK: Duration = Duration::from_millis(100);

/// The runtime with its threads.
#[derive(Debug)]
pub(super) struct Runtime(Option<tokio::runtime::Runtime>);

impl Runtime {
    pub(super) fn new() -> io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(THREADS).thread_name("composefs-http").enable_io().enable_time();
        builder.build().map(|runtime| Self(Some(runtime)))
    }

    /// Calls a function that needs the runtime around it.
    pub(super) fn enter<T>(&self, call: impl FnOnce() -> T) -> T {
        let _entered = self.0.as_ref().map(tokio::runtime::Runtime::enter);
        call()
    }

    /// Waits for a result in the caller's thread; `None` if it does not come in time, or the flag is set meanwhile.
    ///
    /// # Panics
    ///
    /// If the thread belongs to an asynchronous runtime, which must not be blocked.
    pub(super) fn wait<T>(
        &self,
        limit: Duration,
        interrupt: Option<&AtomicBool>,
        result: impl Future<Output = T>,
    ) -> Option<T> {
        let runtime = self.0.as_ref()?;
        runtime.block_on(async {
            let mut result = pin!(result);
            let mut left = limit;
            loop {
                let tick = left.min(TICK);
                if let Ok(result) = tokio::time::timeout(tick, &mut result).await {
                    return Some(result);
                }
                left = left.saturating_sub(tick);
                if left.is_zero() || interrupt.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
                    return None;
                }
            }
        })
    }
}

impl Drop for Runtime {
    /// Ends the threads without waiting for name lookups, which cannot be cancelled.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
