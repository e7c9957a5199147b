//! The option text of `-o`: words divided by commas, each a key or `key=value`.
//!
//! A backslash in a value protects the byte after it: a comma then does not end the value, a colon does not end a path
//! of a list. Quotation marks around a value (`key="a,b"`, which mount(8) hands on as they are) protect its commas. If
//! a key comes twice, the last one counts.

mod take;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use libcomposefs_image::Digest;
use libcomposefs_image::digest::InvalidDigest;

use crate::escape::{split, unescape, unquote, words};
use crate::flags::{self, MountFlags};
use crate::options::{Options, StatfsSource, UpperDir, Verity};
use crate::readahead::ReadAhead;

pub use take::{TakenWords, take_words};

/// The treatment of an unknown option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownOptions {
    /// Return an error for it.
    #[default]
    Refuse,
    /// Pass over it, as `mount -s` wishes.
    Ignore,
}

/// The reason why an option text cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// No such option exists.
    #[error("Unsupported option {0}")]
    Unsupported(String),
    /// The option needs a value and has none.
    #[error("No value specified for {0} option")]
    NoValue(String),
    /// The option takes no value and has one.
    #[error("Option {0} takes no value")]
    Value(String),
    /// The value begins with a quotation mark and does not end with one.
    #[error(
        "Invalid argument for {0} option: no quotation mark ends the value that one begins: \
        write {0}=\"VALUE\", or \\\" for a quotation mark in the value"
    )]
    OpenQuote(String),
    /// An element of `basedir=` is empty.
    #[error("Value for basedir option has incorrect format: an element of the list is empty")]
    BasedirFormat,
    /// There is no `basedir=`.
    #[error("No object dirs specified: give basedir=DIR")]
    NoBasedir,
    /// One of `upperdir=` and `workdir=` without the other.
    #[error("Both workdir and upperdir must be specified if used")]
    HalfUpper,
    /// The value of `digest=` is not a digest.
    #[error("Invalid argument for digest option: {0}")]
    Digest(#[from] InvalidDigest),
    /// The value of `verity_check=` is not 0, 1 or 2.
    #[error(
        "Invalid argument for verity_check option: {0:?} is not 0 (never), 1 (check what has a digest) or 2 (require)"
    )]
    VerityCheck(String),
    /// The value of `readahead=` is no size.
    #[error(
        "Invalid argument for readahead option: {0:?} is not a number of bytes (K, M or G may follow it) and not off"
    )]
    ReadAhead(String),
    /// The value of `statfs=` is not known.
    #[error("Invalid argument for statfs option: {0:?} is not image or objects")]
    Statfs(String),
    /// One option asks to verify every file, another to do less.
    #[error(
        "Option {demand} verifies every file and cannot be used with verity_check={check}: \
         leave one out or use verity_check=2"
    )]
    Contradiction {
        /// The option that demands it.
        demand: &'static str,
        /// The value of `verity_check`.
        check: u8,
    },
}

/// Parses an option text that must name the object directories (`basedir=`).
///
/// # Errors
///
/// As [`Options::parse`], and [`OptionError::NoBasedir`].
pub fn parse(text: &OsStr, unknown: UnknownOptions) -> Result<Options, OptionError> {
    Options::parse(text, unknown)?.require_basedir()
}

impl Options {
    /// Parses an option text. `basedir=` may be missing: the object directories of an image in a repository are those
    /// of the repository.
    ///
    /// # Errors
    ///
    /// The first word that cannot be used, or two options that contradict each other.
    pub fn parse(text: &OsStr, unknown: UnknownOptions) -> Result<Options, OptionError> {
        let mut taken = Words::default();
        for word in self::words(text.as_bytes()).into_iter().filter(|word| !word.is_empty()) {
            match taken.take(word) {
                Err(OptionError::Unsupported(_)) if unknown == UnknownOptions::Ignore => {}
                answer => answer?,
            }
        }
        taken.into_options()
    }

    /// Returns the options if they name an object directory.
    ///
    /// # Errors
    ///
    /// [`OptionError::NoBasedir`]
    pub fn require_basedir(self) -> Result<Self, OptionError> {
        if self.basedirs.is_empty() { Err(OptionError::NoBasedir) } else { Ok(self) }
    }
}

/// The words as they stand, before they are judged together.
#[derive(Default)]
struct Words {
    basedirs: Vec<PathBuf>,
    digest: Option<Digest>,
    signed: bool,
    policy: Option<String>,
    verity: bool,
    try_verity: bool,
    verity_check: Option<u8>,
    upper: Option<PathBuf>,
    work: Option<PathBuf>,
    idmap: Option<PathBuf>,
    flags: MountFlags,
    read_ahead: ReadAhead,
    statfs: StatfsSource,
    nofail: bool,
}

impl Words {
    fn take(&mut self, word: &[u8]) -> Result<(), OptionError> {
        let (key, value) = match word.iter().position(|&byte| byte == b'=') {
            Some(at) => (&word[..at], Some(&word[at + 1..])),
            None => (word, None),
        };
        let name = String::from_utf8_lossy(key).into_owned();
        let value = match value.map(unquote) {
            Some(None) => return Err(OptionError::OpenQuote(name)),
            other => other.flatten(),
        };
        let some = || value.ok_or_else(|| OptionError::NoValue(name.clone()));
        match name.as_str() {
            "basedir" => self.basedirs = basedirs(some()?)?,
            "upperdir" => self.upper = Some(path(some()?)),
            "workdir" => self.work = Some(path(some()?)),
            "idmap" => self.idmap = Some(path(some()?)),
            "digest" => self.digest = Some(Digest::from_hex(unescape(some()?))?),
            "policy" => {
                let value = String::from_utf8(unescape(some()?)).ok().filter(|value| !value.is_empty());
                self.policy = Some(value.ok_or(OptionError::Value(name))?);
            }
            "readahead" => self.read_ahead = read_ahead(some()?)?,
            "statfs" => self.statfs = statfs(some()?)?,
            "verity_check" => self.verity_check = Some(verity_check(some()?)?),
            // mount(8) writes a value after some of these (`comment=`), never after a flag.
            key if value.is_some() && flags::is_passed_over(key) => {}
            key => {
                let known = match key {
                    "verity" => {
                        self.verity = true;
                        true
                    }
                    "tryverity" => {
                        self.try_verity = true;
                        true
                    }
                    "signed" => {
                        self.signed = true;
                        true
                    }
                    "nofail" => {
                        self.nofail = true;
                        true
                    }
                    "fail" => {
                        self.nofail = false;
                        true
                    }
                    _ => self.flags.take(key),
                };
                match (known, value) {
                    (true, None) => {}
                    (true, Some(_)) => return Err(OptionError::Value(name)),
                    (false, _) => return Err(OptionError::Unsupported(name)),
                }
            }
        }
        Ok(())
    }

    fn into_options(self) -> Result<Options, OptionError> {
        let verity = self.verity()?;
        let upper = match (self.upper, self.work) {
            (Some(dir), Some(work)) => Some(UpperDir { dir: dir.into(), work: work.into() }),
            (None, None) => None,
            _ => return Err(OptionError::HalfUpper),
        };
        let mut options = Options::from_text(self.digest, self.signed, verity, self.verity_check);
        if let Some(name) = self.policy {
            options = options.with_policy(name);
        }
        options.basedirs = self.basedirs.into_iter().map(Into::into).collect();
        options.upper = upper;
        options.idmap = self.idmap.map(Into::into);
        options.flags = self.flags;
        options.read_ahead = self.read_ahead;
        options.statfs = self.statfs;
        options.nofail = self.nofail;
        Ok(options)
    }

    /// A digest of the image that vouched for nothing in the files would be a trap, so it demands all of them.
    fn verity(&self) -> Result<Verity, OptionError> {
        let demand = [
            ("digest", self.digest.is_some()),
            ("signed", self.signed),
            ("policy", self.policy.is_some()),
            ("verity", self.verity),
            ("tryverity", self.try_verity),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name));
        match (self.verity_check, demand) {
            (Some(check @ 0..=1), Some(demand)) => Err(OptionError::Contradiction { demand, check }),
            (None, Some("tryverity")) => Ok(Verity::RequireIfSupported),
            (_, Some(_)) | (Some(2..), None) => Ok(Verity::Require),
            (Some(1), None) => Ok(Verity::Check),
            (Some(0) | None, None) => Ok(Verity::Off),
        }
    }
}

fn path(value: &[u8]) -> PathBuf {
    OsString::from_vec(unescape(value)).into()
}

fn basedirs(value: &[u8]) -> Result<Vec<PathBuf>, OptionError> {
    let dirs = split(value, b':');
    if dirs.iter().any(|dir| dir.is_empty()) {
        return Err(OptionError::BasedirFormat);
    }
    Ok(dirs.into_iter().map(path).collect())
}

fn verity_check(value: &[u8]) -> Result<u8, OptionError> {
    match value {
        [digit @ b'0'..=b'2'] => Ok(digit - b'0'),
        other => Err(OptionError::VerityCheck(String::from_utf8_lossy(other).into_owned())),
    }
}

fn statfs(value: &[u8]) -> Result<StatfsSource, OptionError> {
    match value {
        b"image" => Ok(StatfsSource::Image),
        b"objects" => Ok(StatfsSource::Objects),
        other => Err(OptionError::Statfs(String::from_utf8_lossy(other).into_owned())),
    }
}

fn read_ahead(value: &[u8]) -> Result<ReadAhead, OptionError> {
    let text = String::from_utf8_lossy(value);
    ReadAhead::parse(&text).ok_or_else(|| OptionError::ReadAhead(text.into_owned()))
}

#[cfg(test)]
mod tests;
