//! After a ref was published: all files that it names must still be there.
//!
//! A gc of the remote announces what it removes, and then reads the refs again. A push publishes its ref, and then
//! reads the announcement: either the gc sees the ref, or the push sees the announcement and waits.

use std::time::Duration;

use crate::collect::Announcement;
use crate::remote::Remote;
use crate::{DeliveryError, RefDocument};

/// Pause between two looks at a gc of the remote.
const PAUSE: Duration = Duration::from_millis(500);
/// Number of looks after which a gc is taken for dead.
const LOOKS: usize = 240;

/// The result of the look at a published ref.
pub(super) enum Settled {
    /// All files are there, and stay.
    Complete,
    /// A file is missing.
    Gone,
}

/// Waits for a gc that removes files of the document, and checks that all are there.
pub(super) fn settle(remote: &Remote<'_>, document: &RefDocument) -> Result<Settled, DeliveryError> {
    let mut looks = 0;
    while let Some(announced) = Announcement::read(remote)? {
        if !document.files().any(|(name, _)| announced.has(&name)) {
            break;
        }
        looks += 1;
        if looks > LOOKS {
            return Err(DeliveryError::Collection { location: remote.location() });
        }
        let pause = remote.patience().retries.longest.min(PAUSE);
        remote.patience().pause(pause)?;
    }
    for (name, size) in document.files() {
        if !remote.has_file(&name, size)? {
            return Ok(Settled::Gone);
        }
    }
    Ok(Settled::Complete)
}
