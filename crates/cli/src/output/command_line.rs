//! Command lines of `composefs`, and what is printed where one is wrong or asks for help.

use std::error::Error as _;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextValue, Error};

use super::{block, data, escaped, is_terminal, tell_block};

/// Parses a command line, the program's name first. Where it is no command to be run: prints what there is to say, and gives
/// the status.
pub(crate) fn parse<P: Parser>(line: impl IntoIterator<Item = OsString>) -> Result<P, ExitCode> {
    P::try_parse_from(line).map_err(|error| answer(harmless(error)))
}

fn answer(error: Error) -> ExitCode {
    let text = error.render();
    if error.use_stderr() {
        // Without colours: they could not be told from what a name has.
        let text = text.to_string();
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        tell_block(&if cause.is_empty() { text } else { text.replace(&cause, &escaped(&cause)) });
    } else if is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) {
        // What fails is told at the end of the program.
        let _ = data().write_all(text.ansi().to_string().as_bytes());
    } else {
        block(&text.to_string());
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// The error with the words of the command line escaped: the lines of its text are then clap's own.
fn harmless(mut error: Error) -> Error {
    let words: Vec<_> = error.context().map(|(kind, value)| (kind, value.clone())).collect();
    for (kind, value) in words {
        let value = match value {
            ContextValue::String(text) => ContextValue::String(escaped(&text)),
            ContextValue::Strings(texts) => ContextValue::Strings(texts.iter().map(|text| escaped(text)).collect()),
            ContextValue::StyledStr(text) => ContextValue::StyledStr(escaped(&text.to_string()).into()),
            ContextValue::StyledStrs(texts) => {
                ContextValue::StyledStrs(texts.iter().map(|text| escaped(&text.to_string()).into()).collect())
            }
            _ => continue,
        };
        error.insert(kind, value);
    }
    error
}
