//! Conditions on a path and its inode.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use composefs_image::erofs::read::Node;
use composefs_image::tree::{Data, Inode, Kind};
use globset::{GlobBuilder, GlobMatcher};

use crate::look::facts::ContentForm;
use crate::look::{moment, size};

/// All of them must hold.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Conditions")]
pub(super) struct Conditions {
    /// The last name matches: * ? [a-z] {a,b}
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    name: Option<GlobMatcher>,
    /// The whole path matches; * and ? match no slash, ** does
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    path: Option<GlobMatcher>,
    /// One of these types, divided by commas: f(ile) d(irectory) (sym)l(ink) c(haracter device) b(lock device) p(ipe) s(ocket)
    #[arg(long = "type", value_name = "TYPES", value_delimiter = ',', value_parser = kind)]
    kinds: Vec<Kind>,
    /// So many bytes, +N more, -N less; with k, M, G, T times 1024 each
    #[arg(long, value_name = "[+-]N", allow_hyphen_values = true, value_parser = size_bound)]
    size: Option<Bound>,
    /// So many links, +N more, -N less
    #[arg(long, value_name = "[+-]N", allow_hyphen_values = true, value_parser = count_bound)]
    links: Option<Bound>,
    /// Owned by this user
    #[arg(long)]
    uid: Option<u32>,
    /// Owned by this group
    #[arg(long)]
    gid: Option<u32>,
    /// The permissions are MODE (octal), have all bits of -MODE, or any of /MODE
    #[arg(long, value_name = "[-/]MODE", allow_hyphen_values = true, value_parser = permissions)]
    perm: Option<Permissions>,
    /// Modified after: @SECONDS, 2024-12-31 or 2024-12-31T23:59:59, in UTC
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time)]
    newer: Option<i64>,
    /// Modified before
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time)]
    older: Option<i64>,
    /// The content is empty, inline, object or hole
    #[arg(long, value_name = "WHERE", value_parser = content)]
    content: Option<ContentForm>,
    /// The digest begins with these hex digits
    #[arg(long, value_name = "HEX", value_parser = hex)]
    digest: Option<String>,
    /// The content is the object of this path below the object directory
    #[arg(long, value_name = "PATH")]
    object: Option<OsString>,
    /// It has this extended attribute, with this value if one is given
    #[arg(long, value_name = "NAME[=VALUE]")]
    xattr: Vec<OsString>,
    /// It is this inode: gives all names of a hard-linked one
    #[arg(long)]
    nid: Option<u64>,
}

/// What conditions are about.
pub(super) struct Candidate<'c> {
    pub(super) path: &'c [u8],
    pub(super) node: &'c Node,
    pub(super) inode: &'c Inode<'c>,
}

impl Conditions {
    /// Whether all of them hold.
    pub(super) fn hold_for(&self, candidate: &Candidate<'_>) -> bool {
        self.hold_for_name(candidate.path) && self.hold_for_inode(candidate) && self.hold_for_content(candidate)
    }

    fn hold_for_name(&self, path: &[u8]) -> bool {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let name = if name.is_empty() { path } else { name };
        let matches = |glob: &GlobMatcher, text: &[u8]| glob.is_match(Path::new(OsStr::from_bytes(text)));
        self.name.as_ref().is_none_or(|glob| matches(glob, name))
            && self.path.as_ref().is_none_or(|glob| matches(glob, path))
    }

    fn hold_for_inode(&self, Candidate { node, inode, .. }: &Candidate<'_>) -> bool {
        let record = node.raw().record();
        let has_xattr = |wanted: &OsString| {
            let wanted = wanted.as_bytes();
            let (name, value) = match wanted.iter().position(|byte| *byte == b'=') {
                Some(at) => (&wanted[..at], Some(&wanted[at + 1..])),
                None => (wanted, None),
            };
            inode.xattrs().any(|xattr| xattr.name == name && value.is_none_or(|value| value == xattr.value))
        };
        (self.kinds.is_empty() || self.kinds.contains(&node.kind()))
            && self.size.is_none_or(|bound| bound.holds_for(record.size))
            && self.links.is_none_or(|bound| bound.holds_for(record.nlink.into()))
            && self.uid.is_none_or(|uid| uid == record.uid)
            && self.gid.is_none_or(|gid| gid == record.gid)
            && self.perm.is_none_or(|permissions| permissions.hold_for(node.mode() & 0o7777))
            && self.newer.is_none_or(|time| (record.mtime.sec, record.mtime.nsec) > (time, 0))
            && self.older.is_none_or(|time| record.mtime.sec < time)
            && self.nid.is_none_or(|nid| nid == node.raw().nid())
            && self.xattr.iter().all(has_xattr)
    }

    fn hold_for_content(&self, Candidate { inode, .. }: &Candidate<'_>) -> bool {
        if self.content.is_none() && self.digest.is_none() && self.object.is_none() {
            return true;
        }
        let Data::Regular { content, payload, digest } = inode.data() else { return false };
        let form = match (&content, &payload) {
            (_, Some(_)) => ContentForm::Object,
            (Some(_), None) => ContentForm::Inline,
            (None, None) if inode.size() == 0 => ContentForm::Empty,
            (None, None) => ContentForm::Hole,
        };
        self.content.is_none_or(|wanted| wanted == form)
            && self.digest.as_ref().is_none_or(|hex| digest.is_some_and(|digest| digest.to_hex().starts_with(hex)))
            && self.object.as_ref().is_none_or(|wanted| {
                payload.is_some_and(|payload| without_slashes(&payload) == without_slashes(wanted.as_bytes()))
            })
    }
}

/// Payloads are below their directory with slashes in front or without.
fn without_slashes(path: &[u8]) -> &[u8] {
    let slashes = path.iter().take_while(|byte| **byte == b'/').count();
    &path[slashes..]
}

/// A number with a sign in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
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

    fn holds_for(self, number: u64) -> bool {
        match self {
            Bound::Exactly(bound) => number == bound,
            Bound::More(bound) => number > bound,
            Bound::Less(bound) => number < bound,
        }
    }
}

/// Permission bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Permissions {
    Exactly(u16),
    All(u16),
    Any(u16),
}

impl Permissions {
    fn hold_for(self, mode: u16) -> bool {
        match self {
            Permissions::Exactly(bits) => mode == bits,
            Permissions::All(bits) => mode & bits == bits,
            // As find has it: no bits at all are always there.
            Permissions::Any(bits) => bits == 0 || mode & bits != 0,
        }
    }
}

fn glob(text: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| error.kind().to_string())
}

fn kind(text: &str) -> Result<Kind, String> {
    Ok(match text {
        "f" => Kind::Regular,
        "d" => Kind::Directory,
        "l" => Kind::Symlink,
        "c" => Kind::CharDevice,
        "b" => Kind::BlockDevice,
        "p" => Kind::Fifo,
        "s" => Kind::Socket,
        _ => return Err("the types are f, d, l, c, b, p and s".to_owned()),
    })
}

fn size_bound(text: &str) -> Result<Bound, String> {
    Bound::parse(text, size::parse)
        .ok_or_else(|| "a number, +number or -number, with k, M, G or T behind it".to_owned())
}

fn count_bound(text: &str) -> Result<Bound, String> {
    let number = |text: &str| size::parse(text).filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    Bound::parse(text, number).ok_or_else(|| "a number, +number or -number".to_owned())
}

fn permissions(text: &str) -> Result<Permissions, String> {
    let (digits, make): (_, fn(u16) -> Permissions) = match text.as_bytes().first() {
        Some(b'-') => (&text[1..], Permissions::All),
        Some(b'/') => (&text[1..], Permissions::Any),
        _ => (text, Permissions::Exactly),
    };
    let bits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let bits = bits.and_then(|digits| u16::from_str_radix(digits, 8).ok()).filter(|bits| *bits <= 0o7777);
    bits.map(make).ok_or_else(|| "up to four octal digits, with - or / in front".to_owned())
}

fn time(text: &str) -> Result<i64, String> {
    moment::parse(text).ok_or_else(|| "@SECONDS, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss".to_owned())
}

fn content(text: &str) -> Result<ContentForm, String> {
    let forms = [ContentForm::Empty, ContentForm::Inline, ContentForm::Object, ContentForm::Hole];
    let form = forms.into_iter().find(|form| form.word() == text);
    form.ok_or_else(|| "empty, inline, object or hole".to_owned())
}

fn hex(text: &str) -> Result<String, String> {
    let is_hex = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex { Ok(text.to_ascii_lowercase()) } else { Err("1 to 128 hex digits".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_signs() {
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
    fn permissions_in_octal() {
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
