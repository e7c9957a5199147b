//! Parses the command line of `mkcomposefs`.

use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use libcomposefs_image::Algorithm;
use libcomposefs_image::erofs::Versions;
use libcomposefs_image::tree::{MAX_INLINE, Timestamp};
use libcomposefs_scan::{Mtime, Patterns, XattrChoice};

use crate::c_tool::{EarlyExit, usage_error, usage_error_with_usage};
use crate::getopt::{self, Argument, HasArg, LongOption, flag, valued};
use crate::rlimits::parse_threads;

#[derive(Clone, Copy, Debug)]
enum BuildOption {
    DigestStore,
    UseEpoch,
    SkipDevices,
    SkipXattrs,
    UserXattrs,
    PrintDigest,
    PrintDigestOnly,
    FromFile,
    MinVersion,
    MaxVersion,
    Threads,
    InlineMax,
    Hardlinks,
    VerifyStore,
    Exclude,
    Include,
    SourceDateEpoch,
    Algorithm,
    Help,
    Version,
}

const OPTIONS: [LongOption<BuildOption>; 20] = [
    valued("digest-store", BuildOption::DigestStore),
    flag("use-epoch", BuildOption::UseEpoch),
    flag("skip-devices", BuildOption::SkipDevices),
    flag("skip-xattrs", BuildOption::SkipXattrs),
    flag("user-xattrs", BuildOption::UserXattrs),
    flag("print-digest", BuildOption::PrintDigest),
    flag("print-digest-only", BuildOption::PrintDigestOnly),
    flag("from-file", BuildOption::FromFile),
    valued("min-version", BuildOption::MinVersion),
    valued("max-version", BuildOption::MaxVersion),
    valued("threads", BuildOption::Threads),
    valued("inline-max", BuildOption::InlineMax),
    flag("hardlinks", BuildOption::Hardlinks),
    flag("verify-store", BuildOption::VerifyStore),
    valued("exclude", BuildOption::Exclude),
    valued("include", BuildOption::Include),
    LongOption { name: "source-date-epoch", value: HasArg::Optional, key: BuildOption::SourceDateEpoch },
    valued("algorithm", BuildOption::Algorithm),
    flag("help", BuildOption::Help),
    flag("version", BuildOption::Version),
];

/// Parsed command line of `mkcomposefs`.
#[derive(Debug)]
pub(super) struct BuildRequest {
    pub(super) source: PathBuf,
    /// Path of the image file; `None` with `--print-digest-only`.
    pub(super) image: Option<PathBuf>,
    pub(super) from_file: bool,
    pub(super) print_digest: bool,
    pub(super) store: Option<PathBuf>,
    /// True to read existing objects that are not verified by fs-verity.
    pub(super) verify_store: bool,
    pub(super) versions: Versions,
    pub(super) scan: libcomposefs_scan::Options,
}

/// Values of the options, before they are checked against each other.
#[derive(Debug, Default)]
struct Given {
    operands: Vec<OsString>,
    print_digest: bool,
    print_digest_only: bool,
    from_file: bool,
    skip_xattrs: bool,
    user_xattrs: bool,
    min_version: Option<u32>,
    max_version: Option<u32>,
    store: Option<PathBuf>,
    verify_store: bool,
    patterns: Vec<(bool, OsString)>,
    scan: libcomposefs_scan::Options,
}

impl Given {
    fn take(&mut self, key: BuildOption, value: Option<OsString>) -> Result<(), EarlyExit> {
        let text = || value.as_deref().unwrap_or_default();
        match key {
            BuildOption::DigestStore => self.store = Some(PathBuf::from(text())),
            BuildOption::UseEpoch => self.scan.mtime = Mtime::Fixed(Timestamp::default()),
            BuildOption::SkipDevices => self.scan.skip_devices = true,
            BuildOption::SkipXattrs => self.skip_xattrs = true,
            BuildOption::UserXattrs => self.user_xattrs = true,
            BuildOption::PrintDigest => self.print_digest = true,
            BuildOption::PrintDigestOnly => self.print_digest_only = true,
            BuildOption::FromFile => self.from_file = true,
            BuildOption::MinVersion => self.min_version = Some(version(text(), "min")?),
            BuildOption::MaxVersion => self.max_version = Some(version(text(), "max")?),
            BuildOption::Threads => {
                let count = integer(text()).and_then(|n| NonZeroUsize::new(usize::try_from(n).ok()?));
                // Also rejects a number that is too large.
                let count = count.or_else(|| parse_threads(text().to_str()?.trim_ascii_start()).ok());
                let invalid = || usage_error(format!("Invalid threads count {}", text().display()));
                self.scan.threads = Some(count.ok_or_else(invalid)?);
            }
            BuildOption::InlineMax => {
                let max = integer(text()).and_then(|n| u64::try_from(n).ok()).filter(|n| *n <= MAX_INLINE as u64);
                let invalid = || format!("Invalid inline limit {}: expected 0 to {MAX_INLINE}", text().display());
                self.scan.inline_max = max.ok_or_else(|| usage_error(invalid()))?;
            }
            BuildOption::Hardlinks => self.scan.hardlinks = true,
            BuildOption::VerifyStore => self.verify_store = true,
            BuildOption::Exclude => self.patterns.push((false, text().to_owned())),
            BuildOption::Include => self.patterns.push((true, text().to_owned())),
            BuildOption::SourceDateEpoch => self.scan.mtime = Mtime::ClampTo(source_date_epoch(value)?),
            BuildOption::Algorithm => {
                self.scan.algorithm = text().to_string_lossy().parse().map_err(|e| usage_error(format!("{e}")))?;
            }
            BuildOption::Help => return Err(EarlyExit::Help),
            BuildOption::Version => return Err(EarlyExit::Version),
        }
        Ok(())
    }
}

impl BuildRequest {
    /// Parses a command line, without the program's name.
    pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, EarlyExit> {
        let mut given = Given::default();
        let arguments = getopt::parse(&OPTIONS, arguments).map_err(EarlyExit::from)?;
        for argument in arguments {
            match argument {
                Argument::Operand(operand) => given.operands.push(operand),
                Argument::Option(key, value) => given.take(key, value)?,
            }
        }
        Self::check(given)
    }

    fn check(mut given: Given) -> Result<Self, EarlyExit> {
        let mut operands = std::mem::take(&mut given.operands).into_iter();
        let source = operands.next().ok_or_else(|| usage_error_with_usage("No source path specified"))?;
        if source.is_empty() {
            return Err(usage_error("Empty source path specified"));
        }
        let image = operands.next();
        if operands.next().is_some() {
            return Err(usage_error_with_usage("Too many arguments"));
        }
        match (&image, given.print_digest_only) {
            (None, false) => return Err(usage_error_with_usage("No destination path specified")),
            (Some(_), true) => {
                return Err(usage_error_with_usage("Cannot specify destination path with --print-digest-only"));
            }
            _ => {}
        }
        given.scan.xattrs = match (given.skip_xattrs, given.user_xattrs) {
            (true, true) if !given.from_file => {
                let hint = "Invalid argument (--skip-xattrs and --user-xattrs exclude each other)";
                return Err(usage_error(format!("error accessing {}: {hint}", source.display())));
            }
            (true, _) => XattrChoice::None,
            (false, true) => XattrChoice::UserOnly,
            (false, false) => XattrChoice::All,
        };
        let mut patterns = Patterns::default();
        for (include, pattern) in &given.patterns {
            let pattern = pattern.to_str().ok_or_else(|| usage_error(format!("{}: not UTF-8", pattern.display())))?;
            let added = if *include { patterns.include(pattern) } else { patterns.exclude(pattern) };
            added.map_err(|error| usage_error(error.to_string()))?;
        }
        given.scan.patterns = patterns;
        if given.verify_store && given.store.is_none() {
            return Err(usage_error("--verify-store requires --digest-store=DIR"));
        }
        let versions = match (given.min_version, given.max_version) {
            (None, None) => Versions::default(),
            (min, max) => Versions { min: min.unwrap_or(0), max: max.unwrap_or(0) },
        };
        Ok(Self {
            source: source.into(),
            image: image.map(PathBuf::from),
            from_file: given.from_file,
            print_digest: given.print_digest || given.print_digest_only,
            store: given.store,
            verify_store: given.verify_store,
            versions,
            scan: given.scan,
        })
    }

    /// Returns the algorithm of every digest of the run.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.scan.algorithm
    }
}

/// Parses a whole decimal number, as `strtol` does.
fn integer(text: &OsStr) -> Option<i64> {
    let text = std::str::from_utf8(text.as_bytes()).ok()?.trim_ascii_start();
    text.parse().ok()
}

/// Parses a format version. Any number is accepted here; an unknown version is rejected when the image is written.
fn version(text: &OsStr, which: &str) -> Result<u32, EarlyExit> {
    let number = integer(text).ok_or_else(|| usage_error(format!("Invalid {which} version {}", text.display())))?;
    // A negative number becomes a huge one, which is not a version.
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Returns the time of `--source-date-epoch`: its value, or that of the environment.
fn source_date_epoch(value: Option<OsString>) -> Result<Timestamp, EarlyExit> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let text = value.or_else(|| std::env::var_os(NAME)).ok_or_else(|| {
        usage_error(format!("--source-date-epoch has no value and {NAME} is not set: expected seconds since 1970"))
    })?;
    let sec =
        integer(&text).ok_or_else(|| usage_error(format!("Invalid {NAME} {}: expected seconds", text.display())))?;
    Ok(Timestamp { sec, nsec: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<BuildRequest, EarlyExit> {
        BuildRequest::parse(line.split(' ').filter(|word| !word.is_empty()).map(|w| w.replace('~', "").into()))
    }

    fn message(line: &str) -> (String, bool) {
        match parse(line) {
            Err(EarlyExit::UsageError { message, usage }) => (message, usage),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn messages_are_those_of_the_reference() {
        for (line, words, usage) in [
            ("", "No source path specified", true),
            ("~ x", "Empty source path specified", false),
            ("a b c", "Too many arguments", true),
            ("a", "No destination path specified", true),
            ("a b --print-digest-only", "Cannot specify destination path with --print-digest-only", true),
            ("a b --threads", "option needs a value", false),
            ("a b --threads=0", "Invalid threads count 0", false),
            ("a b --threads=2x", "Invalid threads count 2x", false),
            ("a b --min-version=x", "Invalid min version x", false),
            ("a b --max-version=", "Invalid max version ", false),
            ("a b -C", "unknown or ambiguous option -C", true),
            ("a b --skip", "unknown or ambiguous option --skip", true),
            ("a b --skip-xattrs --user-xattrs", "error accessing a: Invalid argument", false),
            ("a b --inline-max=5001", "Invalid inline limit 5001", false),
            ("a b --algorithm=md5", "unknown hash algorithm", false),
        ] {
            let (got, with_usage) = message(line);
            assert!(got.contains(words), "{line}: {got}");
            assert_eq!(with_usage, usage, "{line}");
        }
        for line in ["a b --skip-xattrs --user-xattrs --from-file", "a b --inline-max=5000", "a --print-digest-only"] {
            parse(line).unwrap_or_else(|stop| panic!("{line}: {stop:?}"));
        }
    }

    #[test]
    fn version_defaults_are_those_of_the_reference() {
        let versions = |line| parse(line).unwrap().versions;
        assert_eq!(versions("a b"), Versions { min: 0, max: 1 });
        assert_eq!(versions("a b --max-version=1"), Versions { min: 0, max: 1 });
        assert_eq!(versions("a b --min-version=1"), Versions { min: 1, max: 0 });
        assert_eq!(versions("a b --min-version=0"), Versions { min: 0, max: 0 });
        assert_eq!(versions("a b --min-version=-1").min, u32::MAX);
    }
}
