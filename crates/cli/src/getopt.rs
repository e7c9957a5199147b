//! Long options as `getopt_long` takes them, which is what scripts written for the C tools rely on: options and
//! operands may be mixed, long options abbreviated, values joined by `=` or given as the next argument.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Whether an option takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// None is allowed.
    No,
    /// One must be given.
    Needed,
    /// Only after `=`.
    Optional,
}

/// A long option: its name without dashes, whether it takes a value, and what it stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LongOption<K> {
    pub(crate) name: &'static str,
    pub(crate) value: Value,
    pub(crate) key: K,
}

/// An option without a value.
pub(crate) const fn flag<K>(name: &'static str, key: K) -> LongOption<K> {
    LongOption { name, value: Value::No, key }
}

/// An option with a value.
pub(crate) const fn valued<K>(name: &'static str, key: K) -> LongOption<K> {
    LongOption { name, value: Value::Needed, key }
}

/// What a command line holds, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Argument<K> {
    Option(K, Option<OsString>),
    Operand(OsString),
}

/// Why a command line is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No such option, an ambiguous abbreviation, or a value where none is taken.
    Unknown(OsString),
    /// The option needs a value and is the last argument.
    ValueMissing(&'static str),
}

/// Splits a command line, without the program's name.
pub(crate) fn parse<K: Copy>(
    options: &[LongOption<K>],
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Vec<Argument<K>>, Refusal> {
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
            let option = find(options, name).ok_or_else(|| Refusal::Unknown(argument.clone()))?;
            let value = match (option.value, joined) {
                (Value::No, Some(_)) => return Err(Refusal::Unknown(argument)),
                (Value::Needed, None) => Some(rest.next().ok_or(Refusal::ValueMissing(option.name))?),
                (_, joined) => joined,
            };
            parsed.push(Argument::Option(option.key, value));
        } else if bytes.len() > 1 && bytes[0] == b'-' {
            // The tools have no short options.
            return Err(Refusal::Unknown(argument));
        } else {
            parsed.push(Argument::Operand(OsString::from_vec(bytes.to_vec())));
        }
    }
    Ok(parsed)
}

/// The option of this name, or the only one whose name starts so.
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
        LongOption { name: "skip-devices", value: Value::No, key: 'd' },
        LongOption { name: "skip-xattrs", value: Value::No, key: 'x' },
        LongOption { name: "threads", value: Value::Needed, key: 't' },
        LongOption { name: "epoch", value: Value::Optional, key: 'e' },
    ];

    fn split(line: &str) -> Result<Vec<Argument<char>>, Refusal> {
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
    fn refusals() {
        for unknown in ["--nope", "--skip", "--skip-devices=1", "-x"] {
            assert_eq!(split(unknown), Err(Refusal::Unknown(unknown.into())));
        }
        assert_eq!(split("--threads"), Err(Refusal::ValueMissing("threads")));
    }
}
