//! Shell completion, including the names and digests of the repository that the command line names.

mod oci_places;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Command, CommandFactory, FromArgMatches, Parser};
use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter as _};
use clap_complete::env::{EnvCompleter, Shells};
use libcomposefs_repo::{Images, Repository};

pub(crate) use self::oci_places::{oci_destinations, oci_registries};

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
    candidates(begun, |repository| ref_names(&repository.images().ok()?))
}

/// Returns the names of OCI images that start with `begun`.
pub(crate) fn oci_names(begun: &OsStr) -> Vec<CompletionCandidate> {
    candidates(begun, tag_names)
}

/// Returns the sources of OCI images that start with `begun`, and the names of OCI images except for `oci pull`, which
/// takes no name of the repository.
pub(crate) fn oci_sources(begun: &OsStr) -> Vec<CompletionCandidate> {
    let is_pull = words_of_line(std::env::args_os()).iter().any(|word| word == "pull");
    let mut all = if is_pull { Vec::new() } else { oci_names(begun) };
    all.extend(oci_places::sources(begun));
    all
}

/// Returns the names of OCI images that start with `begun`, of the repository that `composefs sync` copies from.
pub(crate) fn oci_names_elsewhere(begun: &OsStr) -> Vec<CompletionCandidate> {
    matching(begun, || tag_names(&Repository::open(&other_repository_of(std::env::args_os())?).ok()?))
}

/// Returns the names of remotes that start with `begun`.
pub(crate) fn remotes(begun: &OsStr) -> Vec<CompletionCandidate> {
    candidates(begun, |repository| {
        Some(repository.remotes().ok()?.into_iter().map(|name| (name.to_string(), "remote")).collect())
    })
}

/// Returns the refs, the names of OCI images and the image digests that start with `begun`.
pub(crate) fn images(begun: &OsStr) -> Vec<CompletionCandidate> {
    candidates(begun, |repository| {
        let images = repository.images().ok()?;
        let digests = images.images.iter().map(|image| (image.digest.to_hex(), "image"));
        Some([ref_names(&images)?, tag_names(repository).unwrap_or_default(), digests.collect()].concat())
    })
}

/// Returns the files, the names and the image digests that start with `begun`, and what follows `oci:` and the like.
/// Without a beginning only files and names are offered.
pub(crate) fn operands(begun: &OsStr) -> Vec<CompletionCandidate> {
    let mut all = PathCompleter::any().complete(begun);
    all.extend(match begun.is_empty() {
        true => candidates(begun, |repository| {
            Some([ref_names(&repository.images().ok()?)?, tag_names(repository).unwrap_or_default()].concat())
        }),
        false => images(begun),
    });
    if begun.as_encoded_bytes().contains(&b':') {
        all.extend(oci_places::sources(begun));
    }
    all
}

/// A word with its kind, which shells other than bash show beside it.
type KindOfWord = (String, &'static str);

fn ref_names(images: &Images) -> Option<Vec<KindOfWord>> {
    let names = images.images.iter().flat_map(|image| &image.refs);
    Some(names.map(|name| (name.to_string(), "ref")).collect())
}

fn tag_names(repository: &Repository) -> Option<Vec<KindOfWord>> {
    let tags = repository.stream_tags().ok()?;
    Some(tags.into_iter().map(|(tag, _)| (tag.to_string(), "OCI image")).collect())
}

/// Returns those words for the repository that the command line names that start with `begun`. Failures are not
/// reported, as the user is typing.
fn candidates(begun: &OsStr, of: impl FnOnce(&Repository) -> Option<Vec<KindOfWord>>) -> Vec<CompletionCandidate> {
    matching(begun, || of(&Repository::open(&repository_of(std::env::args_os())?).ok()?))
}

/// Returns those words that start with `begun`.
fn matching(begun: &OsStr, words: impl FnOnce() -> Option<Vec<KindOfWord>>) -> Vec<CompletionCandidate> {
    let (Some(begun), Some(mut words)) = (begun.to_str(), words()) else { return Vec::new() };
    // Names with control characters are not offered: the shell would print them on the line being typed.
    words.retain(|(text, _)| text.starts_with(begun) && !text.chars().any(output::is_obeyed));
    words.sort();
    words.dedup_by(|a, b| a.0 == b.0);
    let candidate = |(text, kind): KindOfWord| CompletionCandidate::new(text).help(Some(kind.into()));
    words.into_iter().map(candidate).collect()
}

/// Returns the words of the completed command line, which follows `--`.
fn words_of_line(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    arguments.skip_while(|word| word != "--").skip(1).collect()
}

/// Returns the path of the other repository in a line of `composefs sync`: the first word after `sync` that is neither
/// an option nor the value of one.
fn other_repository_of(arguments: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    let mut words = words_of_line(arguments).into_iter().skip_while(|word| word != "sync").skip(1);
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if ["--repo", "--oci", "--threads"].contains(&&*text) {
            words.next();
        } else if !text.starts_with('-') {
            return Some(word.into());
        }
    }
    None
}

/// Returns the path of the repository that the options of the completed command line select. That line follows `--`.
fn repository_of(arguments: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    #[derive(Parser)]
    struct CompletedLine {
        #[command(flatten)]
        repository: RepositoryArgs,
    }
    let mut options = vec![OsString::from("composefs")];
    let mut words = words_of_line(arguments).into_iter();
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

    #[test]
    fn the_other_repository_is_found_in_the_line() {
        let of = |line: &str| {
            other_repository_of(line.split(' ').map(OsString::from)).map(|path| path.display().to_string())
        };
        assert_eq!(of("composefs -- composefs --repo /a sync /b --oci x"), Some("/b".into()));
        assert_eq!(of("composefs -- composefs sync -n --repo /a --oci=x /b --oci y"), Some("/b".into()));
        assert_eq!(of("composefs -- composefs sync --oci x"), None);
    }
}
