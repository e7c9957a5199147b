//! A map of the file's bytes and the structures they belong to. Overlapping structures are refused: no writer makes
//! them, and a small file in which all structures overlap would become a huge tree.

use super::error::{Defect, ReadError};

/// The bytes of one thing.
#[derive(Clone, Copy, Debug)]
struct UsedRange {
    start: u64,
    end: u64,
    nid: Option<u32>,
}

/// All bytes that have an owner.
#[derive(Debug)]
pub(super) struct UsedBytes {
    claims: Vec<UsedRange>,
    /// The length of the file, less that of all claims.
    left: u64,
}

impl UsedBytes {
    pub(super) fn new(file_len: u64) -> Self {
        Self { claims: Vec::new(), left: file_len }
    }

    /// Takes bytes that lie in the file. Fails as soon as more are taken than the file has; that no byte is taken twice
    /// is known after [`check`](Self::check).
    pub(super) fn take(&mut self, start: u64, len: u64, nid: Option<u32>) -> Result<(), ReadError> {
        if len == 0 {
            return Ok(());
        }
        self.claims.push(UsedRange { start, end: start + len, nid });
        match self.left.checked_sub(len) {
            Some(left) => self.left = left,
            None => self.check()?,
        }
        Ok(())
    }

    /// Refuses bytes that were taken twice.
    pub(super) fn check(&mut self) -> Result<(), ReadError> {
        // Nearly in order already.
        self.claims.sort_by_key(|claim| claim.start);
        let mut claims = self.claims.iter();
        let Some(mut before) = claims.next() else { return Ok(()) };
        for claim in claims {
            if claim.start < before.end {
                let (other, other_nid) = (before.start, before.nid.map(u64::from));
                let defect = Defect::Overlap { other, other_nid };
                let nid = claim.nid.map(u64::from);
                return Err(ReadError { offset: claim.start, nid, path: None, defect });
            }
            before = claim;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_twice() {
        let mut claims = UsedBytes::new(100);
        for (start, len) in [(60, 40), (0, 20), (20, 40), (30, 0)] {
            claims.take(start, len, Some(start as u32)).unwrap();
        }
        claims.check().unwrap();
        // More than all of it.
        let error = claims.take(59, 1, None).unwrap_err();
        let defect = Defect::Overlap { other: 20, other_nid: Some(20) };
        assert_eq!(error, ReadError { offset: 59, nid: None, path: None, defect });

        let mut claims = UsedBytes::new(100);
        claims.take(10, 10, Some(1)).unwrap();
        claims.take(0, 11, Some(2)).unwrap();
        let defect = Defect::Overlap { other: 0, other_nid: Some(2) };
        assert_eq!(claims.check(), Err(ReadError { offset: 10, nid: Some(1), path: None, defect }));
    }
}
