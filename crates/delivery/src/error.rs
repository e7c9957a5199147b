//! The error of an access to a remote.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::FileName;

/// Whether an access may succeed when it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// The access may succeed later.
    Temporary {
        /// The pause that the server asked for.
        pause: Option<Duration>,
    },
    /// The access fails again if nothing changes.
    Permanent,
}

/// Error of an access to a remote. It has no password and no token.
#[derive(Debug)]
pub struct RemoteError(Box<ErrorParts>);

#[derive(Debug)]
struct ErrorParts {
    location: String,
    step: &'static str,
    name: Option<String>,
    persistence: Persistence,
    reason: String,
    remedy: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl RemoteError {
    /// Makes an error that stays. `step` is a verb that fits between "cannot" and the name of the file; `reason` a
    /// clause.
    #[must_use]
    pub fn new(location: impl Into<String>, step: &'static str, reason: impl Into<String>) -> Self {
        let (location, reason) = (location.into(), reason.into());
        let persistence = Persistence::Permanent;
        let (name, remedy, source) = Default::default();
        Self(Box::new(ErrorParts { location, step, name, persistence, reason, remedy, source }))
    }

    /// Adds the file that was accessed.
    #[must_use]
    pub fn of(mut self, name: &FileName) -> Self {
        self.0.name = Some(name.path());
        self
    }

    /// Says that the access may succeed later, and the pause that the server asked for.
    #[must_use]
    pub fn temporary(mut self, pause: Option<Duration>) -> Self {
        self.0.persistence = Persistence::Temporary { pause };
        self
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Returns whether the access may succeed when it is repeated.
    #[must_use]
    pub fn persistence(&self) -> Persistence {
        self.0.persistence
    }

    /// Returns the location of the remote.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.0.location
    }

    /// Returns the reason without the file and the location.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0.reason
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ErrorParts { location, step, name, reason, remedy, .. } = &*self.0;
        write!(f, "cannot {step} ")?;
        if let Some(name) = name {
            write!(f, "{name} of ")?;
        }
        write!(f, "the remote {location}: {reason}")?;
        if let Some(remedy) = remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

impl Error for RemoteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}
