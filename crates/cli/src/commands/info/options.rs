//! Parses the command line of `composefs-info`.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::Context;
use rustix::fs::{Mode, OFlags, open};

use crate::c_tool::{EarlyExit, usage_error, usage_error_with_usage};
use crate::getopt::{self, Argument, LongOption, flag, valued};

#[derive(Clone, Copy, Debug)]
enum InfoOption {
    Basedir,
    Filter,
    Help,
    Version,
}

const OPTIONS: [LongOption<InfoOption>; 4] = [
    valued("basedir", InfoOption::Basedir),
    valued("filter", InfoOption::Filter),
    flag("help", InfoOption::Help),
    flag("version", InfoOption::Version),
];

/// Subcommand given on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InfoCommand {
    Ls,
    Dump,
    Objects,
    MissingObjects,
    MeasureFile,
}

const COMMANDS: [(&str, InfoCommand); 5] = [
    ("ls", InfoCommand::Ls),
    ("dump", InfoCommand::Dump),
    ("objects", InfoCommand::Objects),
    ("missing-objects", InfoCommand::MissingObjects),
    ("measure-file", InfoCommand::MeasureFile),
];

/// Parsed command line of `composefs-info`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InfoRequest {
    pub(super) command: InfoCommand,
    /// Paths of the images, or of any files for `measure-file`.
    pub(super) files: Vec<PathBuf>,
    basedir: Option<PathBuf>,
    filter: Vec<OsString>,
}

impl InfoRequest {
    /// Parses a command line, without the program's name.
    pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, EarlyExit> {
        let (mut operands, mut basedir, mut filter) = (Vec::new(), None, Vec::new());
        for argument in getopt::parse(&OPTIONS, arguments).map_err(EarlyExit::from)? {
            match argument {
                Argument::Operand(operand) => operands.push(operand),
                Argument::Option(InfoOption::Basedir, value) => basedir = value.map(PathBuf::from),
                Argument::Option(InfoOption::Filter, value) => filter.extend(value),
                Argument::Option(InfoOption::Help, _) => return Err(EarlyExit::Help),
                Argument::Option(InfoOption::Version, _) => return Err(EarlyExit::Version),
            }
        }
        if let Some(path) = filter.iter().find(|name| name.as_bytes().contains(&b'/')) {
            return Err(usage_error(format!("Filter must be a single name: {}", path.display())));
        }
        let mut operands = operands.into_iter();
        let name = operands.next().ok_or_else(|| usage_error_with_usage("No command specified"))?;
        let command = COMMANDS.iter().find(|(known, _)| name == *known).map(|(_, command)| *command);
        let command = command.ok_or_else(|| usage_error(format!("Unknown command '{}'", name.display())))?;
        let files: Vec<PathBuf> = operands.map(PathBuf::from).collect();
        match (files.is_empty(), command) {
            (true, InfoCommand::MeasureFile) => Err(usage_error_with_usage("No files specified")),
            (true, _) => Err(usage_error_with_usage("No image path specified")),
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

    fn parse(line: &str) -> Result<InfoRequest, EarlyExit> {
        InfoRequest::parse(line.split(' ').filter(|word| !word.is_empty()).map(OsString::from))
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
            assert_eq!(parse(line), Err(EarlyExit::UsageError { message: words.to_owned(), usage }), "{line}");
        }
    }

    #[test]
    fn options_and_operands_can_be_mixed() {
        let request = parse("--base=o ls --filter a x --fil=b y").unwrap();
        assert_eq!((request.command, request.files.len()), (InfoCommand::Ls, 2));
        assert_eq!((request.only(), &request.basedir), (vec![&b"a"[..], b"b"], &Some("o".into())));
        assert_eq!(parse("ls x --help"), Err(EarlyExit::Help));
        assert_eq!(parse("--version"), Err(EarlyExit::Version));
    }
}
