//! Information about an inode, as text and as JSON.

use libcomposefs_image::Digest;
use libcomposefs_image::erofs::RecordForm;
use libcomposefs_image::erofs::read::{Backing, RawContent, ReadError, View, ViewNode};
use libcomposefs_image::tree::Kind;
use serde_json::{Map, Value};

use crate::inspect::mode;
use crate::json;
use crate::timestamp;

/// Storage of the content of a regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentForm {
    /// The file is empty.
    Empty,
    /// The content is stored in the image.
    Inline,
    /// The content is stored in an object.
    Object,
    /// The image refers to an object without naming it, so the content cannot be read.
    Hole,
}

impl ContentForm {
    /// Returns the name that the commands print.
    pub(crate) fn word(self) -> &'static str {
        match self {
            ContentForm::Empty => "empty",
            ContentForm::Inline => "inline",
            ContentForm::Object => "object",
            ContentForm::Hole => "hole",
        }
    }
}

/// Information about an inode from its record, content and xattrs in the image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InodeInfo<'a> {
    pub(crate) node: ViewNode,
    pub(crate) size: u64,
    /// Target of a symlink; empty for other types.
    pub(crate) target: &'a [u8],
    /// Storage of the content, if this is a regular file.
    pub(crate) content: Option<ContentForm>,
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) digest: Option<Digest>,
}

impl<'a> InodeInfo<'a> {
    /// Reads the information of an inode.
    pub(crate) fn of(view: &View<'_, 'a>, node: ViewNode) -> Result<Self, ReadError> {
        let (reader, raw) = (view.reader(), node.raw());
        let content = if node.kind() == Kind::Regular { Some(reader.content(raw)?) } else { None };
        let Backing { payload, digest, .. } = reader.backing(raw)?.unwrap_or_default();
        let content = content.map(|content| match content {
            RawContent::External { .. } if payload.is_some() => ContentForm::Object,
            RawContent::External { .. } => ContentForm::Hole,
            _ if raw.record().size == 0 => ContentForm::Empty,
            _ => ContentForm::Inline,
        });
        Ok(Self { node, size: raw.record().size, target: view.target(&node)?, content, payload, digest })
    }

    /// Returns the type and mode in letters, as `ls -l` prints them.
    pub(crate) fn mode_text(&self) -> String {
        mode::text(self.node.kind(), self.node.mode())
    }

    /// Returns the major and minor number, if this is a device.
    pub(crate) fn device(&self) -> Option<(u32, u32)> {
        let is_device = matches!(self.node.kind(), Kind::CharDevice | Kind::BlockDevice);
        is_device.then(|| mode::device(self.node.raw().rdev()))
    }

    /// Returns the form of the inode record: `compact` or `extended`.
    pub(crate) fn form(&self) -> &'static str {
        match self.node.raw().form() {
            RecordForm::Compact => "compact",
            RecordForm::Extended => "extended",
        }
    }

    /// Returns all information as a JSON object whose `path` is the given one.
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
