//! Shell completion, including the refs and digests of the repository that the command line names.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Command, CommandFactory, FromArgMatches, Parser};
use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter as _};
use clap_complete::env::{EnvCompleter, Shells};
use libcomposefs_repo::{Images, Repository};

use crate::commands::repository::RepositoryArgs;
use crate::exit::exit_status;
use crate::output;

/// Name of the program whose command lines are completed.
const NAME: &str = "composefs";

/// Completion script for bash; the scripts for other shells come from clap_complete.
const BASH: &str = include_str!("bash.sh");

/// Environment variable that names the shell that requests completions.
const VARIABLE: &str = "COMPLETE";

/// Answers a completion request, if the environment has one, and returns the exit status.
pub(crate) fn answer(command: Command) -> Option<ExitCode> {
    let shell = std::env::var_os(VARIABLE).filter(|shell| !shell.is_empty() && shell != "0")?;
    let shell = Path::new(&shell).file_name().unwrap_or(&shell).to_string_lossy().into_owned();
    let words = std::env::args_os().skip_while(|word| word != "--").skip(1).collect();
    Some(exit_status(write(&shell, command, words)))
}

/// Prints the candidates for the last of `words`; without words, the script that registers completion.
fn write(shell: &str, mut command: Command, words: Vec<OsString>) -> anyhow::Result<()> {
    let completer = completer(shell)?;
    let mut answer = Vec::new();
    if words.is_empty() && completer.name() == "bash" {
        answer.extend_from_slice(BASH.as_bytes());
    } else if words.is_empty() {
        completer.write_registration(VARIABLE, NAME, NAME, NAME, &mut answer)?;
    } else {
        command.build();
        completer.write_complete(&mut command, words, None, &mut answer)?;
    }
    Ok(output::data().write_all(&answer)?)
}

/// Prints the script that registers completion with a shell.
pub(crate) fn write_script(shell: &str, command: Command) -> anyhow::Result<()> {
    write(shell, command, Vec::new())
}

fn completer(shell: &str) -> anyhow::Result<&'static dyn EnvCompleter> {
    const SHELLS: Shells<'static> = Shells::builtins();
    SHELLS.completer(shell).with_context(|| {
        let known: Vec<_> = SHELLS.names().collect();
        format!("no completion script for {shell:?}; supported shells: {}", known.join(", "))
    })
}

/// Returns the refs that start with `begun`.
pub(crate) fn refs(begun: &OsStr) -> Vec<CompletionCandidate> {
    let refs = |images: Images| images.images.into_iter().flat_map(|image| image.refs).map(|name| name.to_string());
    candidates(begun, refs)
}

/// Returns the refs and image digests that start with `begun`.
pub(crate) fn images(begun: &OsStr) -> Vec<CompletionCandidate> {
    let all = |images: Images| {
        images.images.into_iter().flat_map(|image| {
            let names = image.refs.into_iter().map(|name| name.to_string());
            names.chain([image.digest.to_hex()])
        })
    };
    candidates(begun, all)
}

/// Returns the files, refs and image digests that start with `begun`. Without a beginning digests are not offered.
pub(crate) fn operands(begun: &OsStr) -> Vec<CompletionCandidate> {
    let mut all = PathCompleter::any().complete(begun);
    all.extend(if begun.is_empty() { refs(begun) } else { images(begun) });
    all
}

fn candidates<I: Iterator<Item = String>>(begun: &OsStr, of: impl FnOnce(Images) -> I) -> Vec<CompletionCandidate> {
    let (Some(begun), Some(images)) = (begun.to_str(), listed()) else { return Vec::new() };
    // Names with control characters are not offered: the shell would print them on the line being typed.
    let is_offered = |text: &String| text.starts_with(begun) && !text.chars().any(output::is_obeyed);
    let mut all: Vec<String> = of(images).filter(is_offered).collect();
    all.sort();
    all.into_iter().map(CompletionCandidate::new).collect()
}

/// Returns the images of the repository that the command line names. Failures are not reported, as the user is typing.
fn listed() -> Option<Images> {
    Repository::open(&repository_of(std::env::args_os())?).ok()?.images().ok()
}

/// Returns the path of the repository that the options of the completed command line select. That line follows `--`.
fn repository_of(arguments: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    #[derive(Parser)]
    struct CompletedLine {
        #[command(flatten)]
        repository: RepositoryArgs,
    }
    let line: Vec<OsString> = arguments.skip_while(|word| word != "--").skip(1).collect();
    let mut options = vec![OsString::from("composefs")];
    let mut words = line.into_iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy().into_owned();
        if text == "--repo" {
            options.extend([Some(word), words.next()].into_iter().flatten());
        } else if text.starts_with("--repo=") || text == "--user" || text == "--system" {
            options.push(word);
        }
    }
    let matches = CompletedLine::command().try_get_matches_from(options).ok()?;
    CompletedLine::from_arg_matches(&matches).ok()?.repository.path().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_options_are_found_in_the_line() {
        let of = |line: &str| repository_of(line.split(' ').map(OsString::from)).map(|path| path.display().to_string());
        assert_eq!(of("composefs -- composefs --repo /a mount x"), Some("/a".into()));
        assert_eq!(of("composefs -- composefs tag x --repo=/b y"), Some("/b".into()));
        assert_eq!(of("composefs -- composefs --system gc"), Some("/sysroot/composefs".into()));
        assert_eq!(of("composefs -- composefs --repo"), None);
    }
}
