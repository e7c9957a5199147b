//! The objects that are read from a served image are recorded, for `composefs trace`.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use libcomposefs_content::mutex::lock;
use libcomposefs_delivery::Trace;
use libcomposefs_delta::needed_objects;
use libcomposefs_image::Digest;
use libcomposefs_image::erofs::read::{ImageReader, ReadError, load};

/// Writes each object that is read to a file, once.
pub(super) struct TraceRecorder {
    /// A path of each object that was not read yet.
    unread: Mutex<HashMap<Digest, Vec<u8>>>,
    file: Arc<File>,
}

impl TraceRecorder {
    pub(super) fn new(image: &[u8], file: Arc<File>) -> Result<Self, ReadError> {
        let tree = load(&ImageReader::new(image)?, &[])?.tree;
        let mut paths = HashMap::new();
        for object in needed_objects(&tree) {
            paths.entry(object.digest).or_insert(object.path);
        }
        Ok(Self { unread: Mutex::new(paths), file })
    }

    /// Notes that an object was read.
    pub(super) fn record(&self, digest: &Digest) {
        let mut unread = lock(&self.unread);
        let Some(path) = unread.remove(digest) else { return };
        let trace = Trace { objects: vec![(*digest, path)] };
        // In the order of the reads, hence with the lock. What cannot be written is missed when the trace is read.
        let line = trace.to_text().lines().skip(1).map(|line| format!("{line}\n")).collect::<String>();
        let _ = (&*self.file).write_all(line.as_bytes());
    }
}
