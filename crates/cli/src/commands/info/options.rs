//! Parses the command line of `composefs-info`.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::Context;
use rustix::fs::{Mode, OFlags, open};

use crate::c_tool::{Stop, wrong, wrong_with_usage};
use crate::getopt::{self, Argument, LongOption, flag, valued};

#[derive(Clone, Copy, Debug)]
enum Key {
    Basedir,
    Filter,
    Help,
    Version,
}

const OPTIONS: [LongOption<Key>; 4] = [
    valued("basedir", Key::Basedir),
    valued("filter", Key::Filter),
    flag("help", Key::Help),
    flag("version", Key::Version),
];

/// Subcommand of `composefs-info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Ls,
    Dump,
    Objects,
    MissingObjects,
    MeasureFile,
}

const COMMANDS: [(&str, Command); 5] = [
    ("ls", Command::Ls),
    ("dump", Command::Dump),
    ("objects", Command::Objects),
    ("missing-objects", Command::MissingObjects),
    ("measure-file", Command::MeasureFile),
];

/// Parsed command line of `composefs-info`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) command: Command,
    /// Paths of the images, or of any files for `measure-file`.
    pub(super) files: Vec<PathBuf>,
    basedir: Option<PathBuf>,
    filter: Vec<OsString>,
}

impl Request {
    /// Parses a command line, without the program's name.
    pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Stop> {
        let (mut operands, mut basedir, mut filter) = (Vec::new(), None, Vec::new());
        for argument in getopt::parse(&OPTIONS, arguments).map_err(Stop::from)? {
            match argument {
                Argument::Operand(operand) => operands.push(operand),
                Argument::Option(Key::Basedir, value) => basedir = value.map(PathBuf::from),
                Argument::Option(Key::Filter, value) => filter.extend(value),
                Argument::Option(Key::Help, _) => return Err(Stop::Help),
                Argument::Option(Key::Version, _) => return Err(Stop::Version),
            }
        }
        if let Some(path) = filter.iter().find(|name| name.as_bytes().contains(&b'/')) {
            return Err(wrong(format!("Filter must be a single name: {}", path.display())));
        }
        let mut operands = operands.into_iter();
        let name = operands.next().ok_or_else(|| wrong_with_usage("No command specified"))?;
        let command = COMMANDS.iter().find(|(known, _)| name == *known).map(|(_, command)| *command);
        let command = command.ok_or_else(|| wrong(format!("Unknown command '{}'", name.display())))?;
        let files: Vec<PathBuf> = operands.map(PathBuf::from).collect();
        match (files.is_empty(), command) {
            (true, Command::MeasureFile) => Err(wrong_with_usage("No files specified")),
            (true, _) => Err(wrong_with_usage("No image path specified")),
            (false, _) => Ok(Self { command, files, basedir, filter }),
        }
    }

    /// Returns the selected entries of the root; empty to select all.
    pub(super) fn only(&self) -> Vec<&[u8]> {
        self.filter.iter().map(|name| name.as_bytes()).collect()
    }

    /// Opens the object directory.
    pub(super) fn open_basedir(&self) -> anyhow::Result<Option<OwnedFd>> {
        let Some(path) = &self.basedir else { return Ok(None) };
        let fd = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        fd.map(Some).with_context(|| format!("Can't open basedir `{}`", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request, Stop> {
        Request::parse(line.split(' ').filter(|word| !word.is_empty()).map(OsString::from))
    }

    #[test]
    fn messages_are_those_of_the_reference() {
        for (line, words, usage) in [
            ("", "No command specified", true),
            ("--basedir=x", "No command specified", true),
            ("x", "Unknown command 'x'", false),
            ("ls", "No image path specified", true),
            ("measure-file", "No files specified", true),
            ("ls x --filter=a/b", "Filter must be a single name: a/b", false),
            ("ls x --filter", "option needs a value: --filter", false),
            ("ls x --foo", "unknown or ambiguous option --foo", true),
            ("ls x -h", "unknown or ambiguous option -h", true),
        ] {
            assert_eq!(parse(line), Err(Stop::Wrong { message: words.to_owned(), usage }), "{line}");
        }
    }

    #[test]
    fn options_and_operands_can_be_mixed() {
        let request = parse("--base=o ls --filter a x --fil=b y").unwrap();
        assert_eq!((request.command, request.files.len()), (Command::Ls, 2));
        assert_eq!((request.only(), &request.basedir), (vec![&b"a"[..], b"b"], &Some("o".into())));
        assert_eq!(parse("ls x --help"), Err(Stop::Help));
        assert_eq!(parse("--version"), Err(Stop::Version));
    }
}
