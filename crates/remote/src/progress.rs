//! Reports about transfers, for progress bars and messages.

use std::time::Duration;

use crate::digest::RegistryDigest;

/// Receiver of reports about transfers. All methods do nothing by default, and are called from the threads that
/// transfer.
pub trait TransferProgress: Send + Sync {
    /// Bytes of a blob arrived. A retry does not report bytes again.
    fn received(&self, digest: &RegistryDigest, bytes: u64) {
        let _ = (digest, bytes);
    }

    /// Bytes of a blob were sent and confirmed.
    fn sent(&self, digest: &RegistryDigest, bytes: u64) {
        let _ = (digest, bytes);
    }

    /// A request failed and will be repeated after a pause.
    fn retrying(&self, reason: &str, pause: Duration) {
        let _ = (reason, pause);
    }
}

/// The receiver that does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTransferProgress;

impl TransferProgress for NoTransferProgress {}
