//! Reads the code and the message of a refusal of S3.

use crate::printable::printable;

/// A refusal: an XML document with the elements `Code` and `Message`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct S3Refusal {
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
}

impl S3Refusal {
    /// Parses a body. Another kind of text has neither code nor message.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        if !text.contains("<Error>") {
            return Self::default();
        }
        let element = |name: &str, limit| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            let (content, _) = rest.split_once(&format!("</{name}>"))?;
            Some(printable(content, limit)).filter(|content| !content.is_empty())
        };
        Self { code: element("Code", 60), message: element("Message", 300) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_messages() {
        let text = b"<?xml version=\"1.0\"?>\n<Error><Code>NoSuchKey</Code><Message>no\x1b key</Message></Error>";
        let refusal = S3Refusal::parse(text);
        assert_eq!(refusal.code.as_deref(), Some("NoSuchKey"));
        assert_eq!(refusal.message.as_deref(), Some("no\\u{1b} key"));
        for other in [&b""[..], b"<html><Code>x</Code></html>", b"<Error><Code>x", b"\xff<Error><Code></Code>"] {
            assert_eq!(S3Refusal::parse(other), S3Refusal::default());
        }
    }
}
