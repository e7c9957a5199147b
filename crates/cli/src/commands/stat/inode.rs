//! Information about one inode.

use libcomposefs_image::dump::{Also, escape};
use libcomposefs_image::erofs::read::OwnXattr;
use serde_json::{Map, Value};

use crate::inspect::inode_info::Facts;
use crate::inspect::mode;
use crate::inspect::names::Names;
use crate::json;
use crate::timestamp;

/// Information about the inode at a path.
pub(super) struct InodeFacts<'a> {
    pub(super) path: Vec<u8>,
    pub(super) facts: Facts<'a>,
    pub(super) xattrs: Vec<OwnXattr<'a>>,
}

impl InodeFacts<'_> {
    /// Formats the information as lines of a key and a value. Names and values are always escaped, so that each takes
    /// one line.
    pub(super) fn push_text(&self, text: &mut Vec<u8>) {
        let (facts, raw) = (&self.facts, self.facts.node.raw());
        let record = raw.record();
        let mut line = |key: &str, value: &[u8]| {
            text.extend_from_slice(format!("{key:<9}").as_bytes());
            text.extend_from_slice(value);
            text.push(b'\n');
        };
        line("path", &Names::Escaped.show(&self.path));
        line("type", mode::word(facts.node.kind()).as_bytes());
        line("mode", format!("{} ({:04o})", facts.mode_text(), facts.node.mode() & 0o7777).as_bytes());
        line("links", record.nlink.to_string().as_bytes());
        line("owner", format!("{}:{}", record.uid, record.gid).as_bytes());
        line("size", facts.size.to_string().as_bytes());
        let time = record.mtime;
        line("mtime", format!("{} ({}.{})", timestamp::exact(time), time.sec, time.nsec).as_bytes());
        if let Some((major, minor)) = facts.device() {
            let whiteout = if facts.node.is_restored_whiteout() { " (a whiteout)" } else { "" };
            line("device", format!("{major},{minor}{whiteout}").as_bytes());
        }
        if !facts.target.is_empty() {
            line("target", &Names::Escaped.show(facts.target));
        }
        if let Some(content) = facts.content {
            line("content", content.word().as_bytes());
        }
        if let Some(digest) = facts.digest {
            line("digest", format!("{} {digest}", digest.algorithm()).as_bytes());
        }
        if let Some(payload) = facts.payload {
            line("payload", &Names::Escaped.show(payload));
        }
        line("inode", format!("{}, {}, at offset {}", raw.nid(), facts.form(), raw.offset()).as_bytes());
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
        let (facts, raw) = (&self.facts, self.facts.node.raw());
        let mut object = facts.json(&self.path);
        let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
        put("mtime_sec", raw.mtime().sec.into());
        put("mtime_nsec", raw.mtime().nsec.into());
        put("offset", raw.offset().into());
        put("form", facts.form().into());
        put("whiteout", facts.node.is_restored_whiteout().into());
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
