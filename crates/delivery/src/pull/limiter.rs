//! A limit of the rate at which bytes are received.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use libcomposefs_content::mutex::lock;

use crate::{DeliveryError, Patience};

/// Limits the rate of all threads together.
#[derive(Debug)]
pub(super) struct RateLimiter {
    /// Bytes for each second; `None` for no limit.
    rate: Option<u64>,
    /// Time at which the bytes so far are paid.
    paid: Mutex<Instant>,
}

impl RateLimiter {
    pub(super) fn new(rate: Option<u64>) -> Self {
        Self { rate: rate.filter(|rate| *rate > 0), paid: Mutex::new(Instant::now()) }
    }

    /// Waits until this number of bytes may have arrived, unless the operation is cancelled.
    pub(super) fn take(&self, bytes: u64, patience: &Patience) -> Result<(), DeliveryError> {
        let Some(rate) = self.rate else { return patience.proceed() };
        let pause = {
            let mut paid = lock(&self.paid);
            let now = Instant::now();
            *paid = (*paid).max(now) + Duration::from_secs_f64(bytes as f64 / rate as f64);
            paid.saturating_duration_since(now)
        };
        patience.pause(pause)
    }
}
