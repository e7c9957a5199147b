//! Parses the command lines of `composefs`, and prints help and usage errors.

use std::error::Error as _;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Command, FromArgMatches};

use super::{block, data, escaped, is_terminal, tell_block};

/// Parses a command line that starts with the program's name, as `command` describes it. If it asks for help or is
/// wrong, prints the text and returns the exit status as the error.
pub(crate) fn parse<P: FromArgMatches>(
    mut command: Command,
    line: impl IntoIterator<Item = OsString>,
) -> Result<P, ExitCode> {
    let line: Vec<OsString> = line.into_iter().collect();
    let is_container = is_of_container(&line);
    let matches = command.try_get_matches_from_mut(line);
    let parsed = matches.and_then(|matches| P::from_arg_matches(&matches).map_err(|error| error.format(&mut command)));
    parsed.map_err(|error| answer(with_tip(harmless(error), is_container)))
}

/// Returns true for a line of `oci run` or `oci bundle`.
fn is_of_container(line: &[OsString]) -> bool {
    let mut words = line.iter().skip_while(|word| *word != "oci").skip(1);
    words.any(|word| word == "run" || word == "bundle")
}

fn answer(error: Error) -> ExitCode {
    let text = error.render();
    if error.use_stderr() {
        // Without colours: escape sequences in a name could imitate them.
        let text = text.to_string();
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        tell_block(&if cause.is_empty() { text } else { text.replace(&cause, &escaped(&cause)) });
    } else if is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) {
        // A failed write is reported at the end of the program.
        let _ = data().write_all(text.ansi().to_string().as_bytes());
    } else {
        block(&text.to_string());
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Adds a tip to the error about a value of an option that has its value in another option, and to those about options
/// of podman that containers do not have here.
fn with_tip(mut error: Error, is_container: bool) -> Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    if error.kind() == ErrorKind::TooManyValues && text(ContextKind::InvalidArg) == "--recompress" {
        let tip = format!("'--recompress --compression={}' chooses the compression", text(ContextKind::InvalidValue));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    } else if is_container && let Some(tip) = container_tip(error.kind(), text(ContextKind::InvalidArg)) {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// Returns the tip for a word that `oci run` and `oci bundle` do not take.
fn container_tip(kind: ErrorKind, word: &str) -> Option<String> {
    const CONFIG: &str = "no option changes it: edit config.json of a bundle that 'composefs oci bundle' makes";
    match (kind, word) {
        (ErrorKind::TooManyValues, "--user") | (ErrorKind::UnknownArgument, "-u") => Some(user_tip(CONFIG)),
        // `--user 0 IMAGE`: the first word after the option was taken for the image.
        (ErrorKind::UnknownArgument, word) if !word.starts_with('-') && std::env::args().any(|arg| arg == "--user") => {
            Some(user_tip(CONFIG))
        }
        (ErrorKind::UnknownArgument, "-w" | "--workdir") => {
            Some(format!("the command starts in the WorkingDir of the image, and {CONFIG}"))
        }
        (ErrorKind::UnknownArgument, "--entrypoint") => {
            Some(format!("the command follows the Entrypoint of the image, and {CONFIG}"))
        }
        (ErrorKind::UnknownArgument, word) if !word.starts_with('-') => {
            Some(format!("the command of the container follows '--': '-- {word}'"))
        }
        _ => None,
    }
}

fn user_tip(config: &str) -> String {
    format!("'--user' selects the repository of the user; the command runs as the User of the image, and {config}")
}

/// Escapes the words of the command line in an error, so that all line breaks in its text are clap's own.
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
