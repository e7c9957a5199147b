//! Errors as they are printed.

/// An error with its causes, each once: the errors of the libraries have the words of their cause in their own.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain() {
        let words = cause.to_string();
        if message.is_empty() {
            message = words;
        } else if !message.ends_with(&words) {
            message.push_str(": ");
            message.push_str(&words);
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cause_that_was_named_is_not_named_again() {
        #[derive(Debug)]
        struct Failed(std::io::Error);
        impl std::fmt::Display for Failed {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "cannot open f: {}", self.0)
            }
        }
        impl std::error::Error for Failed {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let error = Err::<(), _>(Failed(std::io::Error::other("no"))).context("cannot work").unwrap_err();
        assert_eq!(message(&error), "cannot work: cannot open f: no");
        assert_eq!(message(&anyhow::anyhow!("a").context("b")), "b: a");
    }
}
