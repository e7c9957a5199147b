//! Commands that go on with the others when one of several things cannot be done.

use std::process::ExitCode;

use composefs_image::dump::{Also, escape};

use crate::end::is_broken_pipe;
use crate::message::message;

/// What has gone wrong so far. Each failure is told when it happens.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    any: bool,
}

impl Complaints {
    /// Tells of a failure.
    pub(crate) fn add(&mut self, error: &anyhow::Error) {
        self.any = true;
        for line in format!("composefs: {}", message(error)).split('\n') {
            eprintln!("{}", harmless(line));
        }
    }

    /// Whether nothing has gone wrong.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        !self.any
    }

    /// Goes on behind a failure, unless nobody listens any more.
    pub(crate) fn pass(&mut self, done: anyhow::Result<()>) -> anyhow::Result<()> {
        match done {
            Err(error) if !is_broken_pipe(&error) => {
                self.add(&error);
                Ok(())
            }
            done => done,
        }
    }

    /// The status of the command: 0 if all was done.
    pub(crate) fn status(mut self, done: anyhow::Result<()>) -> ExitCode {
        match done {
            Ok(()) if !self.any => ExitCode::SUCCESS,
            Ok(()) => ExitCode::FAILURE,
            // Whoever closed the pipe has seen enough.
            Err(error) if is_broken_pipe(&error) => ExitCode::FAILURE,
            Err(error) => {
                self.add(&error);
                ExitCode::FAILURE
            }
        }
    }
}

/// A line with its control characters escaped: names of images and of files may be anything.
fn harmless(line: &str) -> String {
    let mut shown = String::new();
    for c in line.chars() {
        if c.is_control() {
            let mut escaped = Vec::new();
            escape(c.encode_utf8(&mut [0; 4]).as_bytes(), Also::Nothing, &mut escaped);
            shown.push_str(&String::from_utf8_lossy(&escaped));
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_is_told() {
        assert_eq!(harmless("a\x1b[2J\u{9b}ä"), "a\\x1b[2J\\xc2\\x9bä");
    }
}
