//! Text of the errors that the program prints.

use std::fmt;

use crate::output;

/// An error with a remedy for the user.
#[derive(Debug)]
struct WithRemedy {
    error: String,
    remedy: String,
}

impl fmt::Display for WithRemedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl std::error::Error for WithRemedy {}

/// Attaches a remedy to an error; it is printed on a line of its own.
pub(crate) fn with_remedy(error: impl fmt::Display, remedy: impl fmt::Display) -> anyhow::Error {
    WithRemedy { error: error.to_string(), remedy: remedy.to_string() }.into()
}

/// Joins an error and its causes with colons. Skips a cause that the message has already, since library errors include
/// the text of their cause.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain() {
        let words = cause.to_string();
        if message.is_empty() {
            message = words;
        } else if !includes(&message, &words) {
            message.push_str(": ");
            message.push_str(&words);
        }
    }
    message
}

/// Returns true if a message has the words of a cause: at its end, or as `: CAUSE;` or `(CAUSE)`.
fn includes(message: &str, cause: &str) -> bool {
    message.ends_with(cause) || message.contains(&format!(": {cause};")) || message.contains(&format!("({cause})"))
}

/// Returns the remedy attached to an error or to one of its causes.
pub(crate) fn remedy(error: &anyhow::Error) -> Option<&str> {
    error.chain().find_map(|cause| cause.downcast_ref::<WithRemedy>()).map(|error| error.remedy.as_str())
}

/// Prints an error on standard error, unless it only says that the reader of standard output has closed the pipe.
pub(crate) fn print_error(program: &str, error: &anyhow::Error) {
    if output::needs_no_message(error) {
        return;
    }
    tell!("{program}: {}", message(error));
    if let Some(remedy) = remedy(error) {
        tell!("remedy: {remedy}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn cause_already_in_the_message_is_not_repeated() {
        /// An error with this text, and its cause.
        #[derive(Debug)]
        struct OpenFailed(&'static str, std::io::Error);
        impl std::fmt::Display for OpenFailed {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.0)
            }
        }
        impl std::error::Error for OpenFailed {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.1)
            }
        }
        let shown = |text| {
            let error = OpenFailed(text, std::io::Error::other("no"));
            message(&Err::<(), _>(error).context("cannot work").unwrap_err())
        };
        for text in ["cannot open f: no", "cannot open f: no; see g", "cannot open f (no) with g"] {
            assert_eq!(shown(text), format!("cannot work: {text}"));
        }
        assert_eq!(shown("no file: not opened"), "cannot work: no file: not opened: no");
        assert_eq!(message(&anyhow::anyhow!("a").context("b")), "b: a");
    }
}
