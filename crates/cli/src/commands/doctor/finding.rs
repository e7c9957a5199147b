//! Data types of the findings of `composefs doctor`.

use serde_json::{Value, json};

/// Status of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Works as it should.
    Ok,
    /// Works less well, or in another way.
    Warning,
    /// Missing, and something cannot be done without it.
    Missing,
    /// Could not be determined.
    Unknown,
}

impl Status {
    pub(super) fn word(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Missing => "missing",
            Status::Unknown => "unknown",
        }
    }
}

/// Finding on one feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DoctorFinding {
    /// Name of the feature: `erofs`, `fs-verity`.
    pub(super) name: &'static str,
    pub(super) status: Status,
    /// Result of the check, with the kernel's own message.
    pub(super) found: String,
    /// Consequence for users of composefs.
    pub(super) means: &'static str,
    /// Action that solves the problem, if there is one.
    pub(super) remedy: Option<String>,
}

impl DoctorFinding {
    pub(super) fn new(name: &'static str, status: Status, found: impl Into<String>, means: &'static str) -> Self {
        Self { name, status, found: found.into(), means, remedy: None }
    }

    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "name": self.name,
            "status": self.status.word(),
            "found": self.found,
            "means": self.means,
            "remedy": self.remedy,
        })
    }
}

/// Findings on one subject: the system, a directory or the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) title: String,
    pub(super) findings: Vec<DoctorFinding>,
}
