//! The highest serial number accepted so far for each rule: below it, a statement is too old.

use std::collections::BTreeMap;

use crate::NamePattern;

/// Greatest number of rules in a file of floors.
const FLOORS_MAX: usize = 10_000;

/// The highest serial number accepted so far, by the name pattern of the rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Floors(BTreeMap<String, u64>);

/// Reasons why bytes are not a file of floors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FloorsError {
    /// The bytes are not the JSON of an object of numbers.
    #[error("it is not a JSON object of serial numbers: {0}")]
    Json(#[from] serde_json::Error),
    /// There are more entries than a policy may have rules.
    #[error("it has {0} entries; {FLOORS_MAX} is the limit")]
    TooMany(usize),
}

impl Floors {
    /// Reads what [`Floors::to_json`] has written.
    ///
    /// # Errors
    ///
    /// The bytes are not a JSON object of numbers, or there are too many.
    pub fn parse(bytes: &[u8]) -> Result<Self, FloorsError> {
        let floors: BTreeMap<String, u64> = serde_json::from_slice(bytes)?;
        if floors.len() > FLOORS_MAX { Err(FloorsError::TooMany(floors.len())) } else { Ok(Floors(floors)) }
    }

    /// Writes the floors as JSON, with a newline at the end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(&self.0).expect("texts and numbers are JSON");
        text.push('\n');
        text
    }

    /// The floor of a rule, 0 if no statement was accepted by it.
    #[must_use]
    pub fn of(&self, rule: &NamePattern) -> u64 {
        self.0.get(rule.as_str()).copied().unwrap_or(0)
    }

    /// Returns whether there are more rules than [`Floors::parse`] accepts.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        self.0.len() > FLOORS_MAX
    }

    /// Raises the floor of a rule to a serial number, unless it is higher already. Returns whether it was raised.
    pub fn raise(&mut self, rule: &NamePattern, serial: u64) -> bool {
        let is_higher = serial > self.of(rule);
        if is_higher {
            self.0.insert(rule.as_str().to_owned(), serial);
        }
        is_higher
    }

    /// Sets the floor of a rule, so that older images are accepted again.
    pub fn lower(&mut self, rule: &NamePattern, serial: u64) {
        self.0.insert(rule.as_str().to_owned(), serial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_rise_and_are_written() {
        let rule = NamePattern::new("debian/*").unwrap();
        let mut floors = Floors::default();
        assert_eq!(floors.of(&rule), 0);
        assert!(floors.raise(&rule, 42) && !floors.raise(&rule, 41));
        assert_eq!(floors.of(&rule), 42);
        assert_eq!(Floors::parse(floors.to_json().as_bytes()).unwrap(), floors);
        floors.lower(&rule, 40);
        assert_eq!(floors.of(&rule), 40);
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in ["", "[]", r#"{"a":-1}"#, r#"{"a":"1"}"#, "{} x"] {
            assert!(Floors::parse(bytes.as_bytes()).is_err(), "{bytes}");
        }
        assert!(Floors::parse(b"{}").is_ok());
    }
}
