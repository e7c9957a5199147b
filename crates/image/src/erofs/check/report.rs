//! All that a check finds.

use super::canonical::Canonical;
use super::finding::{Finding, Problem, Severity};
use crate::erofs::read::{Defect, ReadError};

/// How many findings of each severity are kept.
pub const LIMIT: usize = 1000;

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    findings: Vec<Finding>,
    counts: [u64; 3],
    /// How many inodes were found, those included that only images have.
    pub inodes: u64,
    /// How many names, dots not counted.
    pub names: u64,
    /// Whether a writer makes the same bytes of the tree.
    pub canonical: Canonical,
}

impl Report {
    /// What was found, the worst first, and of each severity in the order of finding, [`LIMIT`] at most.
    pub fn findings(&self) -> impl Iterator<Item = (Severity, &Finding)> {
        Severity::ALL.into_iter().flat_map(|severity| {
            let all = self.findings.iter().map(|finding| (finding.problem.severity(), finding));
            all.filter(move |(found, _)| *found == severity)
        })
    }

    /// How many findings there were of a severity.
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

    /// Whether another finding of this severity would be kept.
    pub(super) fn has_room(&self, severity: Severity) -> bool {
        self.count(severity) < LIMIT as u64
    }

    /// Whether not all of the image was looked at.
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
