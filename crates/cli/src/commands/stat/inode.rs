//! Information about one inode.

use libcomposefs_image::dump::{Also, escape};
use libcomposefs_image::erofs::read::OwnXattr;
use serde_json::{Map, Value};

use crate::inspect::inode_info::InodeInfo;
use crate::inspect::mode;
use crate::inspect::names::NameFormat;
use crate::json;
use crate::timestamp;

/// Information about the inode at a path.
pub(super) struct InodeReport<'a> {
    pub(super) path: Vec<u8>,
    pub(super) info: InodeInfo<'a>,
    pub(super) xattrs: Vec<OwnXattr<'a>>,
}

impl InodeReport<'_> {
    /// Formats the information as lines of a key and a value. Names and values are always escaped, so that each takes
    /// one line.
    pub(super) fn push_text(&self, text: &mut Vec<u8>) {
        let (info, raw) = (&self.info, self.info.node.raw());
        let record = raw.record();
        let mut line = |key: &str, value: &[u8]| {
            text.extend_from_slice(format!("{key:<9}").as_bytes());
            text.extend_from_slice(value);
            text.push(b'\n');
        };
        line("path", &NameFormat::Escaped.show(&self.path));
        line("type", mode::word(info.node.kind()).as_bytes());
        line("mode", format!("{} ({:04o})", info.mode_text(), info.node.mode() & 0o7777).as_bytes());
        line("links", record.nlink.to_string().as_bytes());
        line("owner", format!("{}:{}", record.uid, record.gid).as_bytes());
        line("size", info.size.to_string().as_bytes());
        let time = record.mtime;
        line("mtime", format!("{} ({}.{})", timestamp::exact(time), time.sec, time.nsec).as_bytes());
        if let Some((major, minor)) = info.device() {
            let whiteout = if info.node.is_restored_whiteout() { " (a whiteout)" } else { "" };
            line("device", format!("{major},{minor}{whiteout}").as_bytes());
        }
        if !info.target.is_empty() {
            line("target", &NameFormat::Escaped.show(info.target));
        }
        if let Some(content) = info.content {
            line("content", content.word().as_bytes());
        }
        if let Some(digest) = info.digest {
            line("digest", format!("{} {digest}", digest.algorithm()).as_bytes());
        }
        if let Some(payload) = info.payload {
            line("payload", &NameFormat::Escaped.show(payload));
        }
        line("inode", format!("{}, {}, at offset {}", raw.nid(), info.form(), raw.offset()).as_bytes());
        for OwnXattr { name, value } in &self.xattrs {
            let mut xattr = Vec::new();
            escape(name, Also::Equals, &mut xattr);
            xattr.push(b'=');
            escape(value, Also::NotSpaces, &mut xattr);
            line("xattr", &xattr);
        }
    }

    /// Returns the information as JSON.
    pub(super) fn json(&self) -> Map<String, Value> {
        let (info, raw) = (&self.info, self.info.node.raw());
        let mut object = info.json(&self.path);
        let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
        put("mtime_sec", raw.mtime().sec.into());
        put("mtime_nsec", raw.mtime().nsec.into());
        put("offset", raw.offset().into());
        put("form", info.form().into());
        put("whiteout", info.node.is_restored_whiteout().into());
        let xattr = |OwnXattr { name, value }: &OwnXattr<'_>| {
            let mut object = Map::new();
            json::put_bytes(&mut object, "name", name);
            json::put_bytes(&mut object, "value", value);
            Value::Object(object)
        };
        put("xattrs", self.xattrs.iter().map(xattr).collect());
        object
    }
}
