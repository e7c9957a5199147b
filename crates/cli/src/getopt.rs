//! Parses long options like `getopt_long`, which scripts written for the C tools rely on: options and operands may be
//! mixed, long options may be abbreviated, and values may be joined by `=` or follow as the next argument.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Rule for the value of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HasArg {
    /// The option takes no value.
    No,
    /// The option requires a value.
    Required,
    /// A value is optional and must be joined by `=`.
    Optional,
}

/// A long option: its name without dashes, the rule for its value, and the key that identifies it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LongOption<K> {
    pub(crate) name: &'static str,
    pub(crate) value: HasArg,
    pub(crate) key: K,
}

/// Defines an option without a value.
pub(crate) const fn flag<K>(name: &'static str, key: K) -> LongOption<K> {
    LongOption { name, value: HasArg::No, key }
}

/// Defines an option that requires a value.
pub(crate) const fn valued<K>(name: &'static str, key: K) -> LongOption<K> {
    LongOption { name, value: HasArg::Required, key }
}

/// One element of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Argument<K> {
    Option(K, Option<OsString>),
    Operand(OsString),
}

/// Reason why a command line is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GetoptError {
    /// Unknown option, ambiguous abbreviation, or a value for an option that takes none.
    Unknown(OsString),
    /// The last argument is an option that requires a value.
    ValueMissing(&'static str),
}

/// Parses a command line, without the program's name.
pub(crate) fn parse<K: Copy>(
    options: &[LongOption<K>],
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Vec<Argument<K>>, GetoptError> {
    let mut parsed = Vec::new();
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let bytes = argument.as_bytes();
        if bytes == b"--" {
            parsed.extend(rest.by_ref().map(Argument::Operand));
        } else if let Some(long) = bytes.strip_prefix(b"--") {
            let (name, joined) = match long.iter().position(|&b| b == b'=') {
                Some(equals) => (&long[..equals], Some(OsStr::from_bytes(&long[equals + 1..]).to_owned())),
                None => (long, None),
            };
            let option = find(options, name).ok_or_else(|| GetoptError::Unknown(argument.clone()))?;
            let value = match (option.value, joined) {
                (HasArg::No, Some(_)) => return Err(GetoptError::Unknown(argument)),
                (HasArg::Required, None) => Some(rest.next().ok_or(GetoptError::ValueMissing(option.name))?),
                (_, joined) => joined,
            };
            parsed.push(Argument::Option(option.key, value));
        } else if bytes.len() > 1 && bytes[0] == b'-' {
            // The tools have no short options.
            return Err(GetoptError::Unknown(argument));
        } else {
            parsed.push(Argument::Operand(OsString::from_vec(bytes.to_vec())));
        }
    }
    Ok(parsed)
}

/// Finds the option with this name, or the only option whose name starts with it.
fn find<'o, K>(options: &'o [LongOption<K>], name: &[u8]) -> Option<&'o LongOption<K>> {
    if let Some(exact) = options.iter().find(|option| option.name.as_bytes() == name) {
        return Some(exact);
    }
    let mut matching = options.iter().filter(|option| option.name.as_bytes().starts_with(name));
    matching.next().filter(|_| matching.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: [LongOption<char>; 4] = [
        LongOption { name: "skip-devices", value: HasArg::No, key: 'd' },
        LongOption { name: "skip-xattrs", value: HasArg::No, key: 'x' },
        LongOption { name: "threads", value: HasArg::Required, key: 't' },
        LongOption { name: "epoch", value: HasArg::Optional, key: 'e' },
    ];

    fn split(line: &str) -> Result<Vec<Argument<char>>, GetoptError> {
        parse(&OPTIONS, line.split(' ').map(OsString::from))
    }

    #[test]
    fn options_and_operands_mix() {
        let option = |key, value: Option<&str>| Argument::Option(key, value.map(OsString::from));
        let operand = |text: &str| Argument::Operand(text.into());
        assert_eq!(
            split("a --thr=3 - --skip-d b --threads 4 --epoch --epoch=7 -- --x"),
            Ok(vec![
                operand("a"),
                option('t', Some("3")),
                operand("-"),
                option('d', None),
                operand("b"),
                option('t', Some("4")),
                option('e', None),
                option('e', Some("7")),
                operand("--x"),
            ])
        );
    }

    #[test]
    fn invalid_options_are_rejected() {
        for unknown in ["--nope", "--skip", "--skip-devices=1", "-x"] {
            assert_eq!(split(unknown), Err(GetoptError::Unknown(unknown.into())));
        }
        assert_eq!(split("--threads"), Err(GetoptError::ValueMissing("threads")));
    }
}
