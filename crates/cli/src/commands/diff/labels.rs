//! Formats values, causes and hints as text.

use std::fmt::Write as _;

use libcomposefs_image::diff::causes::{Cause, CauseSubject, Hint};
use libcomposefs_image::diff::{Field, FieldValue, FileContent, Side, XattrChange};
use libcomposefs_image::dump::{Also, escape};
use libcomposefs_image::tree::Kind;

use crate::inspect::mode;
use crate::timestamp;

/// Number of bytes of a content or value that are printed.
const LONGEST: usize = 80;

/// Formats a path with control characters escaped.
pub(in crate::commands) fn path(path: &[u8]) -> String {
    let mut text = Vec::new();
    escape(path, Also::NotSpaces, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Formats bytes in quotes; only the first of them if there are many.
fn quoted(bytes: &[u8]) -> String {
    // The value of an SELinux label ends in a NUL.
    let shown = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    match shown.len() {
        ..=LONGEST => format!("\"{}\"", path(shown)),
        len => format!("\"{}...\" ({} bytes)", path(&shown[..LONGEST]), number(len)),
    }
}

/// Formats a number in groups of three digits.
pub(in crate::commands) fn number(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a count of entries, or of inodes of one type.
fn counted(count: usize, of: Option<Kind>) -> String {
    let one = of.map_or("entry", mode::word);
    match (count, of) {
        (1, _) => format!("1 {one}"),
        (_, Some(Kind::Directory)) => format!("{} directories", number(count)),
        (_, None) => format!("{} entries", number(count)),
        (_, Some(_)) => format!("{} {one}s", number(count)),
    }
}

/// Returns the letter of a side.
pub(super) const fn letter(side: Side) -> char {
    match side {
        Side::A => 'A',
        Side::B => 'B',
    }
}

/// Formats the value of a field in a few words.
pub(in crate::commands) fn value(field: Field, value: &FieldValue<'_>) -> String {
    match value {
        FieldValue::None => "none".to_owned(),
        FieldValue::Type(of) => mode::word(*of).to_owned(),
        FieldValue::Mode(mode) => format!("{mode:04o}"),
        FieldValue::Number(number) => number.to_string(),
        FieldValue::Time(of) => timestamp::shown(*of),
        FieldValue::Content(content) if field == Field::Storage => match content {
            FileContent::Inline(bytes) => format!("in the image ({} bytes)", number(bytes.len())),
            FileContent::Empty | FileContent::External(_) => "an object".to_owned(),
        },
        FieldValue::Content(FileContent::Empty) => "empty".to_owned(),
        FieldValue::Content(FileContent::Inline(bytes)) => quoted(bytes),
        FieldValue::Content(FileContent::External(Some(digest))) => digest.to_string(),
        FieldValue::Content(FileContent::External(None)) => "an object without digest".to_owned(),
        FieldValue::Path(bytes) => path(bytes),
        FieldValue::Device(device) => {
            // The kernel's `new_decode_dev`.
            format!("{}:{}", (device & 0xfff00) >> 8, (device & 0xff) | ((device >> 12) & 0xfff00))
        }
        FieldValue::Xattrs(count) => format!("{count} xattrs"),
        FieldValue::Names(1) => "no other name".to_owned(),
        FieldValue::Names(count) => format!("one of {} names", number(*count)),
        FieldValue::Place(true) => "the inode's first name".to_owned(),
        FieldValue::Place(false) => "a hard link".to_owned(),
    }
}

/// Formats the change of an xattr.
pub(in crate::commands) fn xattr(change: &XattrChange<'_>) -> String {
    match (change.old, change.new) {
        (Some(old), Some(new)) => format!("{} -> {}", quoted(old), quoted(new)),
        (Some(value), None) | (None, Some(value)) => quoted(value),
        (None, None) => String::new(),
    }
}

/// Formats a cause as one line.
pub(in crate::commands) fn cause(cause: &Cause<'_>) -> String {
    let count = cause.changes.len();
    let entries = counted(count, cause.kind);
    let verb = if count == 1 { "differs" } else { "differ" };
    let of_all = match (cause.is_whole_kind || count == cause.of, count) {
        (true, 2..) => format!("all {entries}"),
        _ if cause.kind.is_none() && count < cause.of => format!("{} of {}", number(count), counted(cause.of, None)),
        _ => entries.clone(),
    };
    let mut text = match &cause.subject {
        CauseSubject::Only(side) => return format!("{entries} only in {}", letter(*side)),
        CauseSubject::XattrOnly(side, name) => {
            return format!("xattr {} only in {}, on {of_all}", path(name), letter(*side));
        }
        CauseSubject::XattrValue(name) => return format!("xattr {} differs on {of_all}", path(name)),
        CauseSubject::Field(Field::Links) => format!("{of_all} {verb} in hard links"),
        CauseSubject::Field(Field::Nlink) => format!("{of_all} {verb} in link count"),
        CauseSubject::Field(Field::Place) => {
            format!("{of_all} {verb} in being the inode's first name, which determines the order of inodes")
        }
        CauseSubject::Field(field) => format!("{of_all} {verb} in {field}"),
    };
    if let CauseSubject::Field(field) = cause.subject
        && count > 1
    {
        match (&cause.old, &cause.new) {
            (Some(old), Some(new)) => _ = write!(text, ": {} -> {}", value(field, old), value(field, new)),
            (Some(old), None) => _ = write!(text, ": all {} in A", value(field, old)),
            (None, Some(new)) => _ = write!(text, ": all {} in B", value(field, new)),
            (None, None) => {}
        }
    }
    text
}

/// Formats a hint as one line.
pub(in crate::commands) fn hint(hint: &Hint) -> String {
    match hint {
        Hint::Epoch(side) => format!("all mtimes of {} are 0: looks like --use-epoch", letter(*side)),
        Hint::OneMtime(side, mtime) => {
            format!("all mtimes of {} are {}: looks like a fixed time was set", letter(*side), timestamp::shown(*mtime))
        }
        Hint::Clamped(side, latest) => format!(
            "no mtime of {} is later than {}: looks like --source-date-epoch={}",
            letter(*side),
            timestamp::shown(*latest),
            latest.sec
        ),
        Hint::WholeSeconds(side) => {
            format!(
                "{} has whole seconds only: looks like a copy through an archive or file system without fractions",
                letter(*side)
            )
        }
        Hint::Shifted(seconds) => format!("all mtimes of B are shifted by {seconds:+} seconds"),
        Hint::DirectoriesOnly => {
            "only directories: their mtimes change when entries are created in them, as by a copy".to_owned()
        }
        Hint::OneUid(side, uid) => format!("all of {} belongs to user {uid}", letter(*side)),
        Hint::OneGid(side, gid) => format!("all of {} belongs to group {gid}", letter(*side)),
        Hint::Masked(side, mask) => format!("{} lacks the bits {mask:04o}: looks like a umask", letter(*side)),
        Hint::NoXattrs(side) => format!("{} has no xattrs at all: looks like --skip-xattrs", letter(*side)),
        Hint::UserXattrs(side) => format!("{} has only user.* xattrs: looks like --user-xattrs", letter(*side)),
        Hint::SecurityLabel => {
            "SELinux labels depend on the machine and its policy: use --ignore xattr:security.selinux".to_owned()
        }
        Hint::WhiteoutMark => "format version 1 adds it to directories that contain whiteouts".to_owned(),
        Hint::NoHardlinks(side) => {
            format!(
                "{} has no hard links, each name is its own inode: looks like built without --hardlinks",
                letter(*side)
            )
        }
        Hint::InlineMax(a, b) => {
            let [a, b] = [a, b].map(|longest| number(*longest));
            format!(
                "the longest content in the image has {a} bytes in A, {b} in B: looks like a different --inline-max"
            )
        }
        Hint::NoDevices(side) => format!("{} has no devices: looks like --skip-devices", letter(*side)),
        Hint::Moved(count) => {
            format!("{} of them have the content of a path only in the other: moved or renamed", number(*count))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let numbers = [0, 12, 999, 1000, 5120, 1_234_567];
        assert_eq!(numbers.map(number), ["0", "12", "999", "1,000", "5,120", "1,234,567"]);
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(path(b"/a b\x1b[2J\n"), "/a b\\x1b[2J\\n");
        assert_eq!(quoted(b"label\0"), "\"label\"");
        assert_eq!(quoted(&[7; 2000]).len(), 4 * LONGEST + "\"...\" (2,000 bytes)".len());
    }
}
