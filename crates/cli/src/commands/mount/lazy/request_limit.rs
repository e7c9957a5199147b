//! The limit of the kernel for answers of FUSE servers, after which it ends the whole mount.

use std::time::Duration;

use crate::error_text::with_remedy;

/// The file of the limit, from Linux 6.14. 0 is no limit.
const SYSCTL: &str = "/proc/sys/fs/fuse/max_request_timeout";
/// Time of an answer beside that of its object.
const SPARE: Duration = Duration::from_secs(1);

/// Returns the limit; `None` without a limit.
pub(crate) fn request_limit() -> Option<Duration> {
    let seconds = std::fs::read_to_string(SYSCTL).ok()?.trim().parse().ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Returns the longest time until an object is here, whatever its size. Fails if that is less than a read may wait.
pub(super) fn longest_fetch(timeout: Duration) -> anyhow::Result<Duration> {
    let Some(limit) = request_limit() else { return Ok(Duration::MAX) };
    let longest = limit.saturating_sub(SPARE);
    if longest >= timeout {
        return Ok(longest);
    }
    let (limit, timeout) = (limit.as_secs(), timeout.as_secs());
    let failed = format_args!(
        "the kernel ends a mount whose server does not answer within {limit} s (fs.fuse.max_request_timeout), and an \
         object may take {timeout} s"
    );
    let remedy = if longest.is_zero() {
        "run `sysctl fs.fuse.max_request_timeout=0`".to_owned()
    } else {
        format!("run `sysctl fs.fuse.max_request_timeout=0`, or use --timeout={}", longest.as_secs())
    };
    Err(with_remedy(failed, remedy))
}
