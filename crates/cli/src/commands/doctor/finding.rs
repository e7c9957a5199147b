//! What was found, as data.

use serde_json::{Value, json};

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// As it should be.
    Ok,
    /// Something works less well, or another way.
    Warning,
    /// It is not there, and something cannot be done without it.
    Missing,
    /// It could not be found out.
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

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// What it is about: `erofs`, `fs-verity`.
    pub(super) name: &'static str,
    pub(super) status: Status,
    /// What was found, with the kernel's own words.
    pub(super) found: String,
    /// What that means for whoever wants to use composefs.
    pub(super) means: &'static str,
    /// What can be done about it.
    pub(super) remedy: Option<String>,
}

impl Finding {
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

/// What belongs together: the system, or one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) title: String,
    pub(super) findings: Vec<Finding>,
}
