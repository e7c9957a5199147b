//! All that a check finds.

use super::canonical::Canonical;
use super::finding::{Finding, Problem, Severity};
use crate::erofs::read::{Defect, ReadError};

/// The number of findings of each severity that are kept.
pub const LIMIT: usize = 1000;

/// The result of a check.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CheckReport {
    findings: Vec<Finding>,
    counts: [u64; 3],
    /// The number of inodes found, including those that only images have.
    pub inodes: u64,
    /// The number of names, not counting `.` and `..`.
    pub names: u64,
    /// The result of comparing the image with what a writer makes of its tree.
    pub canonical: Canonical,
}

impl CheckReport {
    /// Returns the findings, the most severe first, within a severity in the order of discovery; at most [`LIMIT`] of
    /// each severity.
    pub fn findings(&self) -> impl Iterator<Item = (Severity, &Finding)> {
        Severity::ALL.into_iter().flat_map(|severity| {
            let all = self.findings.iter().map(|finding| (finding.problem.severity(), finding));
            all.filter(move |(found, _)| *found == severity)
        })
    }

    /// Returns the number of findings of a severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> u64 {
        self.counts[severity as usize]
    }

    pub(super) fn push(&mut self, finding: impl Into<Finding>) {
        let finding = finding.into();
        let count = &mut self.counts[finding.problem.severity() as usize];
        *count += 1;
        if *count <= LIMIT as u64 {
            self.findings.push(finding);
        }
    }

    /// Returns `true` if another finding of this severity would be kept.
    pub(super) fn has_room(&self, severity: Severity) -> bool {
        self.count(severity) < LIMIT as u64
    }

    /// Returns `true` if part of the image was not checked.
    pub(super) fn is_cut_short(&self) -> bool {
        self.findings.iter().any(|finding| finding.problem == Problem::TooMuchShared)
    }

    /// Takes over why the reader refuses the image, unless that was found already.
    pub(super) fn refused_by_reader(&mut self, error: ReadError) {
        let refused = Finding::from(error);
        let is_known = |known: &Finding| known.problem == refused.problem && known.offset == refused.offset;
        // What is one overlap to the reader, which ends there, may be another one of many here.
        let is_known = |known: &Finding| is_known(known) || is_overlap(known) && is_overlap(&refused);
        if !self.findings.iter().any(is_known) {
            self.push(refused);
        }
    }
}

fn is_overlap(finding: &Finding) -> bool {
    matches!(finding.problem, Problem::Defect(Defect::Overlap { .. }))
}
