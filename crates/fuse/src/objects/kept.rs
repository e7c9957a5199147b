//! Contents that were verified whole and are being read piece by piece.
//!
//! The kernel reads a file in requests of 128 KiB, and the first of them needs the hashes of the whole file. If the
//! content is kept until the last request, nothing is read or hashed twice.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use libcomposefs_content::mutex::lock;

/// The longest content that is kept.
pub(super) const KEPT_MAX: u64 = 8 << 20;

/// The bytes of all contents that are kept.
const TOTAL_MAX: usize = 64 << 20;

#[derive(Debug, Default)]
pub(super) struct KeptContents {
    /// Numbers of objects with their contents; the oldest first.
    contents: Mutex<VecDeque<(u64, Arc<Vec<u8>>)>>,
}

impl KeptContents {
    /// Returns the content of an object. With `last`, it is not kept any longer.
    pub(super) fn get(&self, object: u64, last: bool) -> Option<Arc<Vec<u8>>> {
        let mut contents = lock(&self.contents);
        let index = contents.iter().position(|(number, _)| *number == object)?;
        if last {
            return contents.remove(index).map(|(_, content)| content);
        }
        contents.get(index).map(|(_, content)| Arc::clone(content))
    }

    /// Keeps a content that was verified. Others are forgotten if all together are too large.
    pub(super) fn keep(&self, object: u64, content: Arc<Vec<u8>>) {
        let mut contents = lock(&self.contents);
        contents.push_back((object, content));
        let mut total: usize = contents.iter().map(|(_, content)| content.len()).sum();
        while total > TOTAL_MAX {
            let Some((_, oldest)) = contents.pop_front() else { break };
            total -= oldest.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_content_leaves_first() {
        let kept = KeptContents::default();
        let content = Arc::new(vec![1; KEPT_MAX as usize]);
        let fitting = (TOTAL_MAX / content.len()) as u64;
        for object in 0..fitting {
            kept.keep(object, Arc::clone(&content));
        }
        assert!(kept.get(0, false).is_some());
        kept.keep(fitting, Arc::clone(&content));
        assert!(kept.get(0, false).is_none() && kept.get(1, false).is_some());
        assert!(kept.get(1, true).is_some());
        assert!(kept.get(1, true).is_none());
    }
}
