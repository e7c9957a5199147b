//! A batch as the sink of a scan, which passes contents from several threads.

use std::sync::atomic::Ordering;

use libcomposefs_content::{ContentSink, SinkError, SourceFile};
use libcomposefs_image::digest::Digest;
use libcomposefs_image::verity;

use crate::batch::Batch;

/// Contents up to this length are read into memory, so that the store can be searched for them before anything is
/// written.
const WHOLE_MAX: usize = 1 << 20;

impl ContentSink for Batch<'_> {
    fn take_small(&self, content: &[u8], digest: &Digest) -> Result<(), SinkError> {
        self.put(*digest, content, None)?;
        Ok(())
    }

    /// Returns 0 if files can be cloned, as the clone is read afterwards, or if objects are expected to exist, as
    /// they are only hashed, piece by piece while in the core's own cache.
    fn whole_max(&self) -> usize {
        if self.copier.has_cloned() || self.expect_present.load(Ordering::Relaxed) { 0 } else { WHOLE_MAX }
    }

    fn take_bytes(&self, content: &[u8], source: &SourceFile<'_>) -> Result<Digest, SinkError> {
        Ok(self.put(verity::digest(self.store.algorithm(), content), content, Some(source))?.0)
    }

    fn take_file(&self, source: &SourceFile<'_>, buffer: &mut [u8]) -> Result<Digest, SinkError> {
        Ok(self.put_file(source, buffer)?.0)
    }
}
