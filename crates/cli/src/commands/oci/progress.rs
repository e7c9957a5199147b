//! Progress display of pulls and pushes: a bar for each layer that is being read.

use std::collections::HashMap;
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar};
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::pull::{LayerOutcome, PullProgress};
use libcomposefs_oci::push::PushProgress;

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

impl LayerBars {
    fn begin(&self, number: usize, diff_id: &BlobDigest, size: u64) {
        let template = "{prefix} {bar:20} {bytes}/{total_bytes}, {bytes_per_sec}";
        let prefix = format!("layer {} {:.12}", number + 1, diff_id.hex());
        let bar = output::bar_among(&self.bars, template, prefix, size);
        if let Some(old) = self.shown().insert(number, bar) {
            old.finish_and_clear();
        }
    }

    fn end(&self, number: usize) {
        if let Some(bar) = self.shown().remove(&number) {
            bar.finish_and_clear();
        }
    }
}

impl PullProgress for LayerBars {
    fn layer(&self, number: usize, diff_id: &BlobDigest, size: u64) {
        self.begin(number, diff_id, size);
    }

    fn bytes(&self, number: usize, bytes: u64) {
        if let Some(bar) = self.shown().get(&number) {
            bar.inc(bytes);
        }
    }

    fn done(&self, number: usize, _: LayerOutcome) {
        self.end(number);
    }
}

impl PushProgress for LayerBars {
    fn layer(&self, number: usize, diff_id: &BlobDigest, size: u64) {
        self.begin(number, diff_id, size);
    }

    fn position(&self, number: usize, bytes: u64) {
        if let Some(bar) = self.shown().get(&number) {
            bar.set_position(bytes);
        }
    }

    fn done(&self, number: usize) {
        self.end(number);
    }
}

impl Drop for LayerBars {
    fn drop(&mut self) {
        self.shown().drain().for_each(|(_, bar)| bar.finish_and_clear());
    }
}
