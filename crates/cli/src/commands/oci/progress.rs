//! Progress display of a pull: a bar for each layer that is being read.

use std::collections::HashMap;
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar};
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::pull::{LayerOutcome, PullProgress};

use crate::output;

/// Shows the layers that are being read, if standard error is a terminal.
#[derive(Default)]
pub(crate) struct LayerBars {
    bars: MultiProgress,
    shown: Mutex<HashMap<usize, ProgressBar>>,
}

impl LayerBars {
    fn shown(&self) -> std::sync::MutexGuard<'_, HashMap<usize, ProgressBar>> {
        libcomposefs_content::mutex::lock(&self.shown)
    }
}

impl PullProgress for LayerBars {
    fn layer(&self, number: usize, diff_id: &BlobDigest, size: u64) {
        let bar = output::bar("{prefix} {bar:20} {bytes}/{total_bytes}, {bytes_per_sec}", size);
        bar.set_prefix(format!("layer {} {:.12}", number + 1, diff_id.hex()));
        self.shown().insert(number, self.bars.add(bar));
    }

    fn bytes(&self, number: usize, bytes: u64) {
        if let Some(bar) = self.shown().get(&number) {
            bar.inc(bytes);
        }
    }

    fn done(&self, number: usize, _: LayerOutcome) {
        if let Some(bar) = self.shown().remove(&number) {
            bar.finish_and_clear();
        }
    }
}

impl Drop for LayerBars {
    fn drop(&mut self) {
        self.shown().drain().for_each(|(_, bar)| bar.finish_and_clear());
    }
}
