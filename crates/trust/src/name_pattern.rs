//! Names of images, and patterns that fit many of them.

use std::fmt;

/// Greatest length of a name or a pattern, in bytes.
const LENGTH_MAX: usize = 1024;

/// A name, or the beginning of names: `debian/13.2` fits this name only, `debian/*` every name that begins with
/// `debian/`.
///
/// A `*` is allowed at the end only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamePattern(String);

/// Reasons why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamePatternError {
    /// The text is empty.
    #[error("a name is empty")]
    Empty,
    /// The text is longer than any name.
    #[error("a name has {0} bytes; {LENGTH_MAX} is the limit")]
    TooLong(usize),
    /// The text has a character that a terminal would obey.
    #[error("the name {0:?} has a control character")]
    Control(String),
    /// A `*` is not at the end.
    #[error("the name {0:?} has a \"*\" that is not at its end; write \"debian/*\" for all names below debian/")]
    Star(String),
}

impl NamePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// The text is empty, too long, has a control character, or a `*` before its end.
    pub fn new(text: &str) -> Result<Self, NamePatternError> {
        if text.is_empty() {
            return Err(NamePatternError::Empty);
        }
        if text.len() > LENGTH_MAX {
            return Err(NamePatternError::TooLong(text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err(NamePatternError::Control(text.to_owned()));
        }
        if text.strip_suffix('*').unwrap_or(text).contains('*') {
            return Err(NamePatternError::Star(text.to_owned()));
        }
        Ok(NamePattern(text.to_owned()))
    }

    /// Returns the pattern that fits every name.
    pub(crate) fn any() -> Self {
        NamePattern("*".to_owned())
    }

    /// Reports whether the pattern fits the name.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => self.0 == name,
        }
    }

    /// Returns how exact the pattern is: of two patterns that fit a name, the greater one decides.
    pub(crate) fn exactness(&self) -> (usize, bool) {
        match self.0.strip_suffix('*') {
            Some(beginning) => (beginning.len(), false),
            None => (self.0.len(), true),
        }
    }

    /// The text of the pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names() {
        let fits = |pattern: &str, name: &str| NamePattern::new(pattern).unwrap().fits(name);
        assert!(fits("debian/13", "debian/13") && !fits("debian/13", "debian/13.2") && !fits("debian/13", "debian/1"));
        assert!(fits("debian/*", "debian/13") && fits("debian/*", "debian/") && !fits("debian/*", "debian"));
        assert!(fits("debian/*", "debian/13/arm") && !fits("debian/*", "ubuntu/debian/13"));
        assert!(fits("*", "anything"));
    }

    #[test]
    fn other_texts_are_refused() {
        assert_eq!(NamePattern::new(""), Err(NamePatternError::Empty));
        assert!(matches!(NamePattern::new("a*b"), Err(NamePatternError::Star(_))));
        assert!(matches!(NamePattern::new("**"), Err(NamePatternError::Star(_))));
        assert!(matches!(NamePattern::new("a\u{1b}[2J"), Err(NamePatternError::Control(_))));
        assert_eq!(NamePattern::new(&"a".repeat(1025)), Err(NamePatternError::TooLong(1025)));
        assert!(NamePattern::new(&"a".repeat(1024)).is_ok());
    }

    #[test]
    fn the_more_exact_pattern_is_greater() {
        let exactness = |pattern: &str| NamePattern::new(pattern).unwrap().exactness();
        assert!(exactness("debian/13") > exactness("debian/1*"));
        assert!(exactness("debian/13") > exactness("debian/13*"));
        assert!(exactness("debian/*") > exactness("*"));
    }
}
