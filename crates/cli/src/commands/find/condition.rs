//! Conditions of `composefs find` on a path and its inode.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::GlobMatcher;
use libcomposefs_image::erofs::read::ViewNode;
use libcomposefs_image::tree::{Data, Inode, Kind};
use libcomposefs_scan::compile_glob;

use super::value::{Bound, Permissions, content, count_bound, hex, kind, permissions, size_bound, time};
use crate::inspect::inode_info::ContentForm;

/// Conditions that must all hold.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Conditions")]
pub(super) struct Conditions {
    /// Match the last component: * ? [a-z] {a,b}
    #[arg(long, value_name = "GLOB", value_parser = compile_glob)]
    name: Option<GlobMatcher>,
    /// Match the whole path; * and ? do not match a slash, ** does
    #[arg(long, value_name = "GLOB", value_parser = compile_glob)]
    path: Option<GlobMatcher>,
    /// One of these types, separated by commas: f(ile) d(irectory) (sym)l(ink) c(haracter device) b(lock device) p(ipe)
    /// s(ocket)
    #[arg(long = "type", value_name = "TYPES", value_delimiter = ',', value_parser = kind)]
    kinds: Vec<Kind>,
    /// Size: N bytes, +N for more, -N for less; k, M, G and T are powers of 1024
    #[arg(long, value_name = "[+-]N", allow_hyphen_values = true, value_parser = size_bound)]
    size: Option<Bound>,
    /// Number of links: N, +N for more, -N for less
    #[arg(long, value_name = "[+-]N", allow_hyphen_values = true, value_parser = count_bound)]
    links: Option<Bound>,
    /// Numeric user ID of the owner
    #[arg(long)]
    uid: Option<u32>,
    /// Numeric group ID of the owner
    #[arg(long)]
    gid: Option<u32>,
    /// Permissions: exactly MODE (octal), all bits of -MODE, or any bit of /MODE
    #[arg(long, value_name = "[-/]MODE", allow_hyphen_values = true, value_parser = permissions)]
    perm: Option<Permissions>,
    /// Modified after this time: @SECONDS, 2024-12-31 or 2024-12-31T23:59:59, in UTC
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time)]
    newer: Option<i64>,
    /// Modified before this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time)]
    older: Option<i64>,
    /// Storage of the content: empty, inline, object or hole
    #[arg(long, value_name = "WHERE", value_parser = content)]
    content: Option<ContentForm>,
    /// Digest that starts with these hex digits
    #[arg(long, value_name = "HEX", value_parser = hex)]
    digest: Option<String>,
    /// Content in the object at this path below the object directory
    #[arg(long, value_name = "PATH")]
    object: Option<OsString>,
    /// Has this xattr, with this value if one is given
    #[arg(long, value_name = "NAME[=VALUE]")]
    xattr: Vec<OsString>,
    /// Inode number: finds all names of a hard-linked file
    #[arg(long)]
    nid: Option<u64>,
}

/// Path and inode that are tested.
pub(super) struct FindEntry<'c> {
    pub(super) path: &'c [u8],
    pub(super) node: &'c ViewNode,
    pub(super) inode: &'c Inode<'c>,
}

impl Conditions {
    /// Returns true if all conditions hold.
    pub(super) fn hold_for(&self, candidate: &FindEntry<'_>) -> bool {
        self.hold_for_name(candidate.path) && self.hold_for_inode(candidate) && self.hold_for_content(candidate)
    }

    fn hold_for_name(&self, path: &[u8]) -> bool {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let name = if name.is_empty() { path } else { name };
        let matches = |glob: &GlobMatcher, text: &[u8]| glob.is_match(Path::new(OsStr::from_bytes(text)));
        self.name.as_ref().is_none_or(|glob| matches(glob, name))
            && self.path.as_ref().is_none_or(|glob| matches(glob, path))
    }

    fn hold_for_inode(&self, FindEntry { node, inode, .. }: &FindEntry<'_>) -> bool {
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

    fn hold_for_content(&self, FindEntry { inode, .. }: &FindEntry<'_>) -> bool {
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

/// Payloads may start with slashes, and are relative to the object directory anyway.
fn without_slashes(path: &[u8]) -> &[u8] {
    let slashes = path.iter().take_while(|byte| **byte == b'/').count();
    &path[slashes..]
}
