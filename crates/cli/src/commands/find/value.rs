//! Parses the values of conditions.

use libcomposefs_image::tree::Kind;

use crate::inspect::inode_info::ContentForm;
use crate::inspect::size;
use crate::timestamp;

/// A number with a sign that selects larger, smaller or equal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Exactly(u64),
    More(u64),
    Less(u64),
}

impl Bound {
    fn parse(text: &str, number: impl Fn(&str) -> Option<u64>) -> Option<Self> {
        match text.split_at_checked(1)? {
            ("+", rest) => number(rest).map(Bound::More),
            ("-", rest) => number(rest).map(Bound::Less),
            _ => number(text).map(Bound::Exactly),
        }
    }

    /// Returns true if a number matches.
    pub(super) fn holds_for(self, number: u64) -> bool {
        match self {
            Bound::Exactly(bound) => number == bound,
            Bound::More(bound) => number > bound,
            Bound::Less(bound) => number < bound,
        }
    }
}

/// Permission bits, and the way to compare them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permissions {
    Exactly(u16),
    All(u16),
    Any(u16),
}

impl Permissions {
    /// Returns true if a mode matches.
    pub(super) fn hold_for(self, mode: u16) -> bool {
        match self {
            Permissions::Exactly(bits) => mode == bits,
            Permissions::All(bits) => mode & bits == bits,
            // As in find(1): an empty set of bits always matches.
            Permissions::Any(bits) => bits == 0 || mode & bits != 0,
        }
    }
}

pub(super) fn kind(text: &str) -> Result<Kind, String> {
    Ok(match text {
        "f" => Kind::Regular,
        "d" => Kind::Directory,
        "l" => Kind::Symlink,
        "c" => Kind::CharDevice,
        "b" => Kind::BlockDevice,
        "p" => Kind::Fifo,
        "s" => Kind::Socket,
        _ => return Err("expected f, d, l, c, b, p or s".to_owned()),
    })
}

pub(super) fn size_bound(text: &str) -> Result<Bound, String> {
    Bound::parse(text, size::parse)
        .ok_or_else(|| "expected N, +N or -N, optionally followed by k, M, G or T".to_owned())
}

pub(super) fn count_bound(text: &str) -> Result<Bound, String> {
    let number = |text: &str| size::parse(text).filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    Bound::parse(text, number).ok_or_else(|| "expected N, +N or -N".to_owned())
}

pub(super) fn permissions(text: &str) -> Result<Permissions, String> {
    let (digits, make): (_, fn(u16) -> Permissions) = match text.as_bytes().first() {
        Some(b'-') => (&text[1..], Permissions::All),
        Some(b'/') => (&text[1..], Permissions::Any),
        _ => (text, Permissions::Exactly),
    };
    let bits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let bits = bits.and_then(|digits| u16::from_str_radix(digits, 8).ok()).filter(|bits| *bits <= 0o7777);
    bits.map(make).ok_or_else(|| "expected up to four octal digits, optionally after - or /".to_owned())
}

pub(super) fn time(text: &str) -> Result<i64, String> {
    timestamp::parse(text).ok_or_else(|| "expected @SECONDS, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss".to_owned())
}

pub(super) fn content(text: &str) -> Result<ContentForm, String> {
    let forms = [ContentForm::Empty, ContentForm::Inline, ContentForm::Object, ContentForm::Hole];
    let form = forms.into_iter().find(|form| form.word() == text);
    form.ok_or_else(|| "expected empty, inline, object or hole".to_owned())
}

pub(super) fn hex(text: &str) -> Result<String, String> {
    let is_hex = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex { Ok(text.to_ascii_lowercase()) } else { Err("expected 1 to 128 hex digits".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_signs_are_parsed() {
        assert_eq!(size_bound("+1k"), Ok(Bound::More(1024)));
        assert_eq!(size_bound("-2"), Ok(Bound::Less(2)));
        assert_eq!(size_bound("3"), Ok(Bound::Exactly(3)));
        assert_eq!(count_bound("+1"), Ok(Bound::More(1)));
        for text in ["", "+", "-", "++1", "ß", "+ß"] {
            assert!(size_bound(text).is_err() && count_bound(text).is_err(), "{text}");
        }
        assert!(count_bound("1k").is_err());
    }

    #[test]
    fn octal_permissions_are_parsed() {
        assert_eq!(permissions("-222"), Ok(Permissions::All(0o222)));
        assert_eq!(permissions("/6000"), Ok(Permissions::Any(0o6000)));
        assert_eq!(permissions("0755"), Ok(Permissions::Exactly(0o755)));
        for text in ["", "-", "8", "10000", "+7", "-+7", "u+x"] {
            assert!(permissions(text).is_err(), "{text}");
        }
        assert!(Permissions::Any(0).hold_for(0) && Permissions::All(0o22).hold_for(0o33));
        assert!(!Permissions::All(0o22).hold_for(0o20) && !Permissions::Any(0o22).hold_for(0o44));
    }
}
