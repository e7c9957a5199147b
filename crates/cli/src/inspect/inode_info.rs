//! What an inode is, for people and as JSON.

use libcomposefs_image::Digest;
use libcomposefs_image::erofs::Form;
use libcomposefs_image::erofs::read::{Backing, Node, RawContent, ReadError, View};
use libcomposefs_image::tree::Kind;
use serde_json::{Map, Value};

use crate::inspect::mode;
use crate::json;
use crate::timestamp;

/// Where the content of a regular file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentForm {
    /// There is none.
    Empty,
    /// In the image.
    Inline,
    /// In an object.
    Object,
    /// Nowhere: the image says that there is an object, but not which.
    Hole,
}

impl ContentForm {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            ContentForm::Empty => "empty",
            ContentForm::Inline => "inline",
            ContentForm::Object => "object",
            ContentForm::Hole => "hole",
        }
    }
}

/// An inode, as far as the image has it in one place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) node: Node,
    pub(crate) size: u64,
    /// Of a symlink; else empty.
    pub(crate) target: &'a [u8],
    /// Of a regular file.
    pub(crate) content: Option<ContentForm>,
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) digest: Option<Digest>,
}

impl<'a> Facts<'a> {
    /// Reads them.
    pub(crate) fn of(view: &View<'_, 'a>, node: Node) -> Result<Self, ReadError> {
        let (reader, raw) = (view.reader(), node.raw());
        let content = if node.kind() == Kind::Regular { Some(reader.content(raw)?) } else { None };
        let Backing { payload, digest } = reader.backing(raw)?.unwrap_or_default();
        let content = content.map(|content| match content {
            RawContent::External { .. } if payload.is_some() => ContentForm::Object,
            RawContent::External { .. } => ContentForm::Hole,
            _ if raw.record().size == 0 => ContentForm::Empty,
            _ => ContentForm::Inline,
        });
        Ok(Self { node, size: raw.record().size, target: view.target(&node)?, content, payload, digest })
    }

    /// The mode in letters.
    pub(crate) fn mode_text(&self) -> String {
        mode::text(self.node.kind(), self.node.mode())
    }

    /// Major and minor number of a device.
    pub(crate) fn device(&self) -> Option<(u32, u32)> {
        let is_device = matches!(self.node.kind(), Kind::CharDevice | Kind::BlockDevice);
        is_device.then(|| mode::device(self.node.raw().rdev()))
    }

    /// Compact or extended.
    pub(crate) fn form(&self) -> &'static str {
        match self.node.raw().form() {
            Form::Compact => "compact",
            Form::Extended => "extended",
        }
    }

    /// All of it as JSON, under a path.
    pub(crate) fn json(&self, path: &[u8]) -> Map<String, Value> {
        let (raw, mut object) = (self.node.raw(), Map::new());
        let record = raw.record();
        json::put_bytes(&mut object, "path", path);
        let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
        put("type", mode::word(self.node.kind()).into());
        put("mode", format!("{:04o}", self.node.mode() & 0o7777).into());
        put("nlink", record.nlink.into());
        put("uid", record.uid.into());
        put("gid", record.gid.into());
        put("size", self.size.into());
        put("mtime", timestamp::exact(record.mtime).into());
        if let Some((major, minor)) = self.device() {
            put("rdev", format!("{major}:{minor}").into());
        }
        if let Some(content) = self.content {
            put("content", content.word().into());
        }
        if let Some(digest) = self.digest {
            put("digest", digest.to_hex().into());
        }
        put("nid", raw.nid().into());
        if self.node.kind() == Kind::Symlink {
            json::put_bytes(&mut object, "target", self.target);
        }
        if let Some(payload) = self.payload {
            json::put_bytes(&mut object, "payload", payload);
        }
        object
    }
}
