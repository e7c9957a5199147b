//! The statement that is signed: one line of JSON which says that a digest is the image of a name.

use std::time::SystemTime;

use libcomposefs_image::Digest;
use serde::{Deserialize, Serialize};

use crate::digest_text;
use crate::name_pattern::{NamePattern, NamePatternError};

/// Greatest size of a statement, in bytes.
pub const STATEMENT_MAX: usize = 64 << 10;
/// Version of the format, the value of the key `composefs`.
const VERSION: u32 = 1;
/// Keys that this program obeys. A statement whose `critical` has another one is refused.
const KNOWN: &[&str] = &["composefs", "critical", "digest", "expires", "issued", "name", "serial"];

/// Says that a digest is the image of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statement {
    /// The digest of the image file.
    pub digest: Digest,
    /// The name of the image, or a pattern for all its names.
    pub name: NamePattern,
    /// Grows with each image of the name.
    pub serial: u64,
    /// When the statement was made.
    pub issued: Option<SystemTime>,
    /// From when on the statement counts no longer.
    pub expires: Option<SystemTime>,
}

/// Reasons why bytes are not a statement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// The statement is larger than any real one.
    #[error("it has {0} bytes; {STATEMENT_MAX} is the limit")]
    TooLarge(usize),
    /// The statement is not one line.
    #[error("it has more than one line; a statement is one line of JSON, as `composefs sign --print` writes it")]
    Lines,
    /// The line is not JSON with the keys of a statement.
    #[error("it is not the JSON of a statement: {0}")]
    Json(#[from] serde_json::Error),
    /// Another version of the format.
    #[error("it has version {0}; this program knows version {VERSION}")]
    Version(u32),
    /// The digest is not one.
    #[error("its digest {0:?} is not like \"fsverity-sha256-12:\" with 64 hex digits in lower case")]
    Digest(String),
    /// The name is not one.
    #[error(transparent)]
    Name(#[from] NamePatternError),
    /// A time is not one.
    #[error("its {key} {text:?} is not a time like \"2027-06-01T00:00:00Z\"")]
    Time {
        /// The key of the time.
        key: &'static str,
        /// The text at this key.
        text: String,
    },
    /// The signer demands a key that this program does not know.
    #[error("its \"critical\" names the key {0:?}, which this program does not know; use a newer version of composefs")]
    Critical(String),
}

#[derive(Serialize, Deserialize)]
struct StatementText {
    composefs: u32,
    digest: String,
    name: String,
    #[serde(default)]
    serial: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issued: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    critical: Vec<String>,
}

impl Statement {
    /// Makes a statement without times.
    #[must_use]
    pub fn new(digest: Digest, name: NamePattern, serial: u64) -> Self {
        Statement { digest, name, serial, issued: None, expires: None }
    }

    /// Reads a statement.
    ///
    /// # Errors
    ///
    /// The bytes are too many, are not one line of JSON with these keys, a value is invalid, or `critical` names an
    /// unknown key.
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementError> {
        if bytes.len() > STATEMENT_MAX {
            return Err(StatementError::TooLarge(bytes.len()));
        }
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        if line.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            return Err(StatementError::Lines);
        }
        let text: StatementText = serde_json::from_slice(line)?;
        if text.composefs != VERSION {
            return Err(StatementError::Version(text.composefs));
        }
        if let Some(unknown) = text.critical.into_iter().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(StatementError::Critical(unknown));
        }
        Ok(Statement {
            digest: digest_text::parse(&text.digest).ok_or(StatementError::Digest(text.digest))?,
            name: NamePattern::new(&text.name)?,
            serial: text.serial,
            issued: time("issued", text.issued)?,
            expires: time("expires", text.expires)?,
        })
    }

    /// Writes the line that is signed, in ASCII, with a newline at its end.
    ///
    /// # Panics
    ///
    /// A time is after the year 9999, which no statement can have.
    #[must_use]
    pub fn to_line(&self) -> String {
        let time = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
        let text = StatementText {
            composefs: VERSION,
            digest: digest_text::format(&self.digest),
            name: self.name.as_str().to_owned(),
            serial: self.serial,
            issued: self.issued.map(time),
            expires: self.expires.map(time),
            critical: Vec::new(),
        };
        let json = serde_json::to_string(&text).expect("texts and numbers are JSON");
        let mut line = String::with_capacity(json.len() + 1);
        for char in json.chars() {
            // A name can have characters that change how a terminal shows the rest of the line.
            match char.is_ascii() {
                true => line.push(char),
                false => line.extend(char.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
            }
        }
        line.push('\n');
        line
    }
}

fn time(key: &'static str, text: Option<String>) -> Result<Option<SystemTime>, StatementError> {
    let Some(text) = text else { return Ok(None) };
    humantime::parse_rfc3339(&text).map(Some).map_err(|_| StatementError::Time { key, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const HEX: &str = "0000000000000000000000000000000000000000000000000000000000000abc";

    fn line(name: &str, rest: &str) -> String {
        format!(r#"{{"composefs":1,"digest":"fsverity-sha256-12:{HEX}","name":"{name}"{rest}}}"#)
    }

    #[test]
    fn what_is_written_is_read() {
        let digest = Digest::from_hex(HEX).unwrap();
        let mut statement = Statement::new(digest, NamePattern::new("debian/*").unwrap(), 42);
        assert_eq!(Statement::parse(statement.to_line().as_bytes()).unwrap(), statement);
        assert_eq!(statement.to_line(), format!("{}\n", line("debian/*", r#","serial":42"#)));
        statement.issued = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1));
        statement.expires = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        assert_eq!(Statement::parse(statement.to_line().as_bytes()).unwrap(), statement);
        statement.name = NamePattern::new("d\u{e9}b\u{202e}\u{1f980}").unwrap();
        assert!(statement.to_line().is_ascii());
        assert_eq!(Statement::parse(statement.to_line().as_bytes()).unwrap(), statement);
    }

    #[test]
    fn unknown_keys_are_ignored_unless_they_are_critical() {
        assert!(Statement::parse(line("a", r#","note":"x""#).as_bytes()).is_ok());
        assert!(Statement::parse(line("a", r#","critical":["name","serial"]"#).as_bytes()).is_ok());
        let error = Statement::parse(line("a", r#","note":"x","critical":["note"]"#).as_bytes()).unwrap_err();
        assert!(matches!(&error, StatementError::Critical(key) if key == "note"), "{error}");
    }

    #[test]
    fn other_lines_are_refused() {
        let message = |bytes: &[u8]| Statement::parse(bytes).unwrap_err().to_string();
        assert!(Statement::parse(line("a", "").as_bytes()).is_ok());
        let pretty = line("a", "").replacen(',', ",\n", 1);
        assert!(message(pretty.as_bytes()).contains("more than one line"));
        assert!(message(line("a", r#","name":"b""#).as_bytes()).contains("duplicate field"));
        assert!(message(line("a", r#","serial":-1"#).as_bytes()).contains("not the JSON"));
        assert!(message(line("a", "").replace(":1,", ":2,").as_bytes()).contains("version 2"));
        assert!(message(line("a", "").to_uppercase().as_bytes()).contains("not the JSON"));
        assert!(message(line("a", "").replace("abc", "ABC").as_bytes()).contains("lower case"));
        assert!(message(line("a", "").replace("sha256", "sha512").as_bytes()).contains("not like"));
        assert!(message(line("", "").as_bytes()).contains("empty"));
        assert!(message(line("a", r#","expires":"tomorrow""#).as_bytes()).contains("expires \"tomorrow\""));
        assert!(message(&vec![b' '; STATEMENT_MAX + 1]).contains("is the limit"));
        for end in 0..line("a", "").len() {
            assert!(Statement::parse(&line("a", "").as_bytes()[..end]).is_err());
        }
    }
}
