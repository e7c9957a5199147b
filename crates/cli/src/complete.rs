//! What a shell offers when TAB is pressed: refs and digests of the repository that the line is about.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser};
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::CompleteEnv;
use composefs_store::repository::{Images, Repository};

use crate::commands::repository::Which;

/// Answers the shell and ends, if it is the shell that asks.
pub(crate) fn answer<P: CommandFactory>() {
    CompleteEnv::with_factory(P::command).complete();
}

/// Names of images.
pub(crate) fn refs(begun: &OsStr) -> Vec<CompletionCandidate> {
    let refs = |images: Images| images.images.into_iter().flat_map(|image| image.refs).map(|name| name.to_string());
    candidates(begun, refs)
}

/// Names of images, and the digests of all.
pub(crate) fn images(begun: &OsStr) -> Vec<CompletionCandidate> {
    let all = |images: Images| {
        images.images.into_iter().flat_map(|image| {
            let names = image.refs.into_iter().map(|name| name.to_string());
            names.chain([image.digest.to_hex()])
        })
    };
    candidates(begun, all)
}

fn candidates<I: Iterator<Item = String>>(begun: &OsStr, of: impl FnOnce(Images) -> I) -> Vec<CompletionCandidate> {
    let (Some(begun), Some(images)) = (begun.to_str(), listed()) else { return Vec::new() };
    let mut all: Vec<String> = of(images).filter(|text| text.starts_with(begun)).collect();
    all.sort();
    all.into_iter().map(CompletionCandidate::new).collect()
}

/// The images of the repository of the line; a shell is told of no failure.
fn listed() -> Option<Images> {
    Repository::open(&repository_of(std::env::args_os())?).ok()?.images().ok()
}

/// The line stands behind `--`.
fn repository_of(arguments: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        which: Which,
    }
    let line: Vec<OsString> = arguments.skip_while(|word| word != "--").skip(1).collect();
    let mut which = vec![OsString::from("composefs")];
    let mut words = line.into_iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy().into_owned();
        if text == "--repo" {
            which.extend([Some(word), words.next()].into_iter().flatten());
        } else if text.starts_with("--repo=") || text == "--user" || text == "--system" {
            which.push(word);
        }
    }
    let matches = Line::command().try_get_matches_from(which).ok()?;
    Line::from_arg_matches(&matches).ok()?.which.path().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_which_repository() {
        let of = |line: &str| repository_of(line.split(' ').map(OsString::from)).map(|path| path.display().to_string());
        assert_eq!(of("composefs -- composefs --repo /a mount x"), Some("/a".into()));
        assert_eq!(of("composefs -- composefs tag x --repo=/b y"), Some("/b".into()));
        assert_eq!(of("composefs -- composefs --system gc"), Some("/sysroot/composefs".into()));
        assert_eq!(of("composefs -- composefs --repo"), None);
    }
}
