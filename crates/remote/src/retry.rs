//! Retries: how often a request is repeated, and how long the pauses are.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When failed requests are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Number of retries without progress in between.
    pub retries: u32,
    /// First pause; each following one is twice as long.
    pub shortest: Duration,
    /// Longest pause.
    pub longest: Duration,
    /// Longest pause that a registry may ask for by `Retry-After`. If it asks for more, the request fails.
    pub longest_asked: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries: 5,
            shortest: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            longest_asked: Duration::from_secs(300),
        }
    }
}

/// The retries of one transfer.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    policy: RetryPolicy,
    used: u32,
}

impl Backoff {
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        Self { policy, used: 0 }
    }

    /// Returns the number of retries since the last progress.
    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    /// Begins to count anew, because there was progress.
    pub(crate) fn reset(&mut self) {
        self.used = 0;
    }

    /// Returns the pause before the next retry; `None` if there were enough retries.
    pub(crate) fn next(&mut self) -> Option<Duration> {
        if self.used >= self.policy.retries {
            return None;
        }
        let doubled = self.policy.shortest.saturating_mul(1_u32.checked_shl(self.used).unwrap_or(u32::MAX));
        self.used += 1;
        let pause = doubled.min(self.policy.longest);
        // Between half of the pause and the whole: clients that failed together do not come back together.
        Some(pause / 2 + (pause / 2).mul_f64(random_fraction()))
    }
}

/// A number from 0 to 1, by the random keys of the hash maps.
fn random_fraction() -> f64 {
    f64::from(RandomState::new().hash_one(0) as u32) / f64::from(u32::MAX)
}

/// Parses `Retry-After`: seconds, or a date such as `Wed, 21 Oct 2015 07:28:00 GMT`.
pub(crate) fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(Duration::from_secs(http_date(value)?).saturating_sub(now))
}

/// Parses the date form that HTTP prescribes into seconds since 1970.
fn http_date(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once(", ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, time, "GMT"] = fields[..] else { return None };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month)? as u64;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let parts: Vec<u64> = time.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [hour, minute, second] = parts[..] else { return None };
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_since_1970(year, month, day)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Returns the days from 1970 to a day. The month is counted from 0, the day from 1.
pub(crate) fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    // Years that begin in March end with the day that may be missing.
    let (year, month) = if month < 2 { (year.checked_sub(1)?, month + 10) } else { (year, month - 2) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day.checked_sub(1)?;
    days.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_end() {
        let policy = RetryPolicy { retries: 7, ..RetryPolicy::default() };
        let mut backoff = Backoff::new(policy);
        let pauses: Vec<_> = std::iter::from_fn(|| backoff.next()).map(|pause| pause.as_secs_f64()).collect();
        assert_eq!(pauses.len(), 7);
        for (pause, longest) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]) {
            assert!((longest / 2.0..=longest).contains(pause), "{pauses:?}");
        }
        backoff.reset();
        assert!(backoff.next().is_some());
        let forever = RetryPolicy { retries: u32::MAX, ..policy };
        let mut backoff = Backoff { policy: forever, used: 40 };
        assert!(backoff.next().is_some_and(|pause| pause <= policy.longest));
    }

    #[test]
    fn retry_after_has_seconds_or_a_date() {
        assert_eq!(retry_after(" 17 "), Some(Duration::from_secs(17)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(retry_after("Fri, 31 Dec 9999 23:59:59 GMT").is_some_and(|pause| pause.as_secs() > 1 << 32));
        for bad in ["", "-1", "soon", "Wed, 21 Oct 2015 07:28:00 CET", "Wed, 0 Oct 2015 07:28:00 GMT"] {
            assert_eq!(retry_after(bad), None, "{bad}");
        }
        assert_eq!(http_date("Wed, 21 Oct 2015 07:28:00 GMT"), Some(1_445_412_480));
        assert_eq!(http_date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:01 GMT"), Some(1));
    }
}
