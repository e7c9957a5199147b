//! Accesses that are repeated: the only place that does.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::{DeliveryError, Persistence, RemoteError};

/// Pause between two looks at the flag that cancels.
const LOOK: Duration = Duration::from_millis(50);

/// When failed accesses are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Number of repetitions without progress in between.
    pub count: u32,
    /// First pause; each following one is twice as long.
    pub shortest: Duration,
    /// Longest pause.
    pub longest: Duration,
    /// Longest pause that a server may ask for. If it asks for more, the access fails.
    pub longest_asked: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            count: 6,
            shortest: Duration::from_millis(250),
            longest: Duration::from_secs(15),
            longest_asked: Duration::from_secs(120),
        }
    }
}

/// Repeats accesses until they succeed, fail for good or are cancelled.
#[derive(Clone, Debug, Default)]
pub struct Patience {
    /// When failed accesses are repeated.
    pub retries: Retries,
    /// Cancels the operation once it is true.
    pub interrupt: Option<Arc<AtomicBool>>,
}

impl Patience {
    /// Fails if the operation was cancelled.
    ///
    /// # Errors
    ///
    /// [`DeliveryError::Interrupted`]
    pub fn proceed(&self) -> Result<(), DeliveryError> {
        match &self.interrupt {
            Some(flag) if flag.load(Ordering::Relaxed) => Err(DeliveryError::Interrupted),
            _ => Ok(()),
        }
    }

    /// Waits, unless the operation is cancelled.
    ///
    /// # Errors
    ///
    /// [`DeliveryError::Interrupted`]
    pub fn pause(&self, mut pause: Duration) -> Result<(), DeliveryError> {
        while !pause.is_zero() {
            self.proceed()?;
            let step = pause.min(LOOK);
            std::thread::sleep(step);
            pause -= step;
        }
        self.proceed()
    }

    /// Repeats an access.
    ///
    /// # Errors
    ///
    /// The error of the last access.
    pub fn access<T>(&self, mut access: impl FnMut() -> Result<T, RemoteError>) -> Result<T, DeliveryError> {
        let mut attempts = Attempts::default();
        loop {
            self.proceed()?;
            match access() {
                Ok(value) => return Ok(value),
                Err(error) => self.wait_after(error, &mut attempts)?,
            }
        }
    }

    /// Waits before the next attempt, if there is one.
    pub(crate) fn wait_after(&self, error: RemoteError, attempts: &mut Attempts) -> Result<(), DeliveryError> {
        let Persistence::Temporary { pause: asked } = error.persistence() else { return Err(error.into()) };
        let is_too_long = asked.is_some_and(|asked| asked > self.retries.longest_asked);
        if attempts.failed >= self.retries.count || is_too_long {
            return Err(error.into());
        }
        let factor = 1_u32.checked_shl(attempts.failed).unwrap_or(u32::MAX);
        attempts.failed += 1;
        let pause = self.retries.shortest.saturating_mul(factor).min(self.retries.longest);
        // Between half of the pause and the whole: clients that failed together do not come back together.
        let pause = pause / 2 + (pause / 2).mul_f64(random_fraction());
        self.pause(asked.unwrap_or_default().max(pause))
    }
}

/// The attempts of one access.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attempts {
    failed: u32,
}

impl Attempts {
    /// Begins to count anew, because there was progress.
    pub(crate) fn reset(&mut self) {
        self.failed = 0;
    }
}

/// A number from 0 to 1, by the random keys of the hash maps.
fn random_fraction() -> f64 {
    f64::from(RandomState::new().hash_one(0) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fast() -> Patience {
        let (shortest, longest) = (Duration::from_micros(1), Duration::from_micros(4));
        Patience { retries: Retries { count: 3, shortest, longest, ..Retries::default() }, interrupt: None }
    }

    fn run(patience: &Patience, error: &dyn Fn() -> RemoteError) -> u32 {
        let mut count = 0;
        let result: Result<(), _> = patience.access(|| {
            count += 1;
            Err(error())
        });
        assert!(result.is_err());
        count
    }

    #[test]
    fn temporary_errors_are_repeated() {
        let error = || RemoteError::new("here", "read", "the server is busy");
        assert_eq!(run(&fast(), &error), 1);
        assert_eq!(run(&fast(), &|| error().temporary(None)), 4);
        assert_eq!(run(&fast(), &|| error().temporary(Some(Duration::from_secs(9999)))), 1);
        let mut left = 2;
        let result = fast().access(|| {
            left -= 1;
            if left > 0 { Err(error().temporary(None)) } else { Ok(7) }
        });
        assert_eq!(result.unwrap(), 7);
    }

    #[test]
    fn a_cancelled_operation_ends() {
        let interrupt = Some(Arc::new(AtomicBool::new(true)));
        let patience = Patience { interrupt, ..fast() };
        assert!(matches!(patience.access(|| Ok(())), Err(DeliveryError::Interrupted)));
    }
}
