//! Parses the codes and messages of registries and authorization servers.

use serde::Deserialize;

use crate::printable::printable;

#[derive(Deserialize)]
struct ErrorsJson {
    #[serde(default)]
    errors: Vec<OneErrorJson>,
    /// Message of authorization servers.
    details: Option<String>,
}

#[derive(Deserialize)]
struct OneErrorJson {
    code: Option<String>,
    message: Option<String>,
}

/// Parses the body of a refusal into code and message, both safe to print.
pub(crate) fn parse(text: &[u8]) -> (Option<String>, Option<String>) {
    let Ok(errors) = serde_json::from_slice::<ErrorsJson>(text) else { return (None, None) };
    let Some(first) = errors.errors.first() else {
        return (None, errors.details.map(|details| printable(&details, 300)));
    };
    let of = |text: &Option<String>, limit| text.as_ref().map(|text| printable(text, limit));
    (of(&first.code, 60), of(&first.message, 300))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn messages_are_short_and_plain() {
        let text =
            br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest\u001b[2J unknown","detail":{"a":1}}]}"#;
        let (code, message) = parse(text);
        assert_eq!(code.as_deref(), Some("MANIFEST_UNKNOWN"));
        assert_eq!(message.as_deref(), Some("manifest\\u{1b}[2J unknown"));
        let long = format!(r#"{{"errors":[{{"code":"{0}","message":"{0}"}}]}}"#, "x".repeat(1000));
        let (code, message) = parse(long.as_bytes());
        assert_eq!((code.map(|code| code.len()), message.map(|message| message.len())), (Some(63), Some(303)));
        assert_eq!(
            parse(br#"{"details":"incorrect username or password"}"#).1.as_deref(),
            Some("incorrect username or password")
        );
        for other in [&b""[..], b"<html>", b"{}", b"{\"errors\":[]}", b"[]"] {
            assert_eq!(parse(other), (None, None));
        }
    }
}
