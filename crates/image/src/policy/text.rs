//! A policy as text: `version=0,hash=sha256,xattrs=all,times=keep,...`, every field by its name.

use std::fmt;
use std::str::FromStr;

use super::{Inline, Policy, Times, Transform, XattrPolicy};
use crate::tree::{MAX_INLINE, Timestamp};

/// The text is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no part of a policy: expected {expected}")]
pub struct InvalidPolicy {
    word: String,
    expected: &'static str,
}

const FIELDS: &str =
    "FIELD=VALUE, the field being version, hash, xattrs, times, hardlinks, inline, devices or transform";

const XATTRS: [(&str, XattrPolicy); 5] = [
    ("all", XattrPolicy::All),
    ("user", XattrPolicy::User),
    ("none", XattrPolicy::None),
    ("capability", XattrPolicy::Capability),
    ("capability+user", XattrPolicy::CapabilityAndUser),
];
const TIMES: [(&str, Times); 4] = [
    ("keep", Times::Keep),
    ("zero", Times::Zero),
    ("zero-directories", Times::ZeroDirectories),
    ("keep-directories", Times::KeepDirectories),
];
const TRANSFORMS: [(&str, Transform); 5] = [
    ("none", Transform::Nothing),
    ("root", Transform::Root),
    ("container", Transform::Container),
    ("boot", Transform::Boot),
    ("container+boot", Transform::ContainerAndBoot),
];
const ANSWERS: [(&str, bool); 2] = [("yes", true), ("no", false)];

fn word<T: Copy + PartialEq>(table: &[(&'static str, T)], value: T) -> &'static str {
    table.iter().find(|(_, other)| *other == value).map_or("?", |(word, _)| word)
}

impl XattrPolicy {
    /// Returns the name, as a policy and a recipe have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        word(&XATTRS, self)
    }

    /// Returns the choice of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        XATTRS.into_iter().find(|(known, _)| *known == name).map(|(_, choice)| choice)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Times::ClampTo(latest) => write!(f, "clamp:{}", latest.sec),
            plain => f.write_str(word(&TIMES, *plain)),
        }
    }
}

impl fmt::Display for Inline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Inline::AsGiven => f.write_str("given"),
            Inline::UpTo(max) => write!(f, "{max}"),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Policy { version, algorithm, xattrs, times, hardlinks, inline, devices, transform } = *self;
        write!(f, "version={version},hash={algorithm},xattrs={}", word(&XATTRS, xattrs))?;
        write!(f, ",times={times},hardlinks={},inline={inline}", word(&ANSWERS, hardlinks))?;
        write!(f, ",devices={},transform={}", word(&ANSWERS, devices), word(&TRANSFORMS, transform))
    }
}

impl FromStr for Policy {
    type Err = InvalidPolicy;

    /// Fields that are not named are those of `mkcomposefs` without an option.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut policy = Policy::MKCOMPOSEFS;
        for part in text.split(',') {
            let invalid = |expected| InvalidPolicy { word: part.to_owned(), expected };
            let (field, value) = part.split_once('=').ok_or_else(|| invalid(FIELDS))?;
            policy.set(field, value).map_err(invalid)?;
        }
        Ok(policy)
    }
}

impl Policy {
    /// Sets a field from a word, or returns the words that are allowed.
    fn set(&mut self, field: &str, value: &str) -> Result<(), &'static str> {
        fn choose<T: Copy>(table: &[(&str, T)], value: &str, expected: &'static str) -> Result<T, &'static str> {
            table.iter().find(|(word, _)| *word == value).map(|(_, choice)| *choice).ok_or(expected)
        }
        let answer = || choose(&ANSWERS, value, "yes or no");
        match field {
            "version" => {
                let known = value.parse().ok().filter(|version| *version <= 2);
                self.version = known.ok_or("0, 1 or 2")?;
            }
            "hash" => self.algorithm = value.parse().map_err(|_| "sha256 or sha512")?,
            "xattrs" => self.xattrs = choose(&XATTRS, value, "all, user, none, capability or capability+user")?,
            "times" => {
                const EXPECTED: &str = "keep, zero, zero-directories, keep-directories or clamp:SECONDS";
                self.times = match value.strip_prefix("clamp:") {
                    None => choose(&TIMES, value, EXPECTED)?,
                    Some(sec) => Times::ClampTo(Timestamp { sec: sec.parse().map_err(|_| EXPECTED)?, nsec: 0 }),
                };
            }
            "hardlinks" => self.hardlinks = answer()?,
            "inline" if value == "given" => self.inline = Inline::AsGiven,
            "inline" => {
                let max = value.parse().ok().filter(|max| *max <= MAX_INLINE as u64);
                self.inline = Inline::UpTo(max.ok_or("a number of bytes up to 5000, or given")?);
            }
            "devices" => self.devices = answer()?,
            "transform" => {
                const EXPECTED: &str = "none, root, container, boot or container+boot";
                self.transform = choose(&TRANSFORMS, value, EXPECTED)?;
            }
            _ => return Err(FIELDS),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_both_ways() {
        for text in [
            "version=0,hash=sha256,xattrs=all,times=keep,hardlinks=no,inline=64,devices=yes,transform=none",
            "version=2,hash=sha512,xattrs=user,times=clamp:-5,hardlinks=yes,inline=given,devices=no,\
             transform=container+boot",
            "version=1,hash=sha256,xattrs=none,times=zero-directories,hardlinks=no,inline=0,devices=yes,transform=none",
        ] {
            assert_eq!(text.parse::<Policy>().unwrap().to_string(), text);
        }
        assert_eq!("times=zero".parse(), Ok(Policy { times: Times::Zero, ..Policy::MKCOMPOSEFS }));
        for bad in [
            "",
            "version",
            "version=3",
            "hash=md5",
            "times=clamp:x",
            "inline=-1",
            "inline=5001",
            "transform=",
            "colour=red",
            "devices=1,",
        ] {
            assert!(bad.parse::<Policy>().is_err(), "{bad:?}");
        }
    }
}
