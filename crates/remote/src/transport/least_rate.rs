//! The least rate at which the body of an answer must arrive.

use std::time::Duration;

/// The bytes that must arrive during the idle time.
const LEAST: u64 = 16 << 10;

/// Measures whether a body arrives, or its server stalls: sends a byte now and then, so that no single wait is long.
#[derive(Debug)]
pub(super) struct LeastRate {
    idle_time: Duration,
    waited: Duration,
    received: u64,
}

impl LeastRate {
    /// Expects 16 KiB within each `idle_time` of waiting.
    pub(super) fn new(idle_time: Duration) -> Self {
        Self { idle_time, waited: Duration::ZERO, received: 0 }
    }

    /// Counts bytes that were waited for. The time of the receiver does not count.
    ///
    /// # Errors
    ///
    /// The reason if the server stalls.
    pub(super) fn count(&mut self, waited: Duration, bytes: usize) -> Result<(), String> {
        self.waited += waited;
        self.received += bytes as u64;
        if self.received >= LEAST {
            (self.waited, self.received) = (Duration::ZERO, 0);
        } else if self.waited > self.idle_time {
            return Err(format!("the server sent only {} bytes in {} s", self.received, self.waited.as_secs_f32()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_now_and_then_is_too_little() {
        let second = Duration::from_secs(1);
        let mut rate = LeastRate::new(Duration::from_secs(3));
        let answers: Vec<_> = (0..4).map(|_| rate.count(second, 1)).collect();
        assert_eq!(answers[..3], [Ok(()), Ok(()), Ok(())]);
        assert_eq!(answers[3], Err("the server sent only 4 bytes in 4 s".to_owned()));

        let mut rate = LeastRate::new(Duration::from_secs(3));
        assert!((0..100).all(|_| rate.count(second, 8 << 10).is_ok()));
        assert!((0..100).all(|_| rate.count(Duration::ZERO, 1).is_ok()));
    }
}
