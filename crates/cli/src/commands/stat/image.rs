//! Information about an image as a whole.

use std::collections::HashSet;

use libcomposefs_image::erofs::read::{ImageReader, LoadedImage, Order};
use libcomposefs_image::tree::{Data, Kind};
use serde::Serialize;

use crate::image_file::ImageFile;
use crate::timestamp;

/// Information about an image, in the order in which it is printed.
#[derive(Debug, Serialize)]
pub(super) struct ImageInfo {
    format_version: u32,
    size: u64,
    blocks: u32,
    algorithm: &'static str,
    /// fs-verity digest of the file, which a mount compares with its `digest=`.
    digest: String,
    /// True if some inode has an ACL, according to the header.
    acl: bool,
    build_time: String,
    /// Number of inodes in the superblock, including stubs.
    inodes: u64,
    stubs: usize,
    compact: usize,
    /// Number of names in the tree, without the root.
    names: usize,
    types: TypeCounts,
    contents: ContentCounts,
    /// Order of the inodes in the image.
    order: &'static str,
}

/// Numbers of inodes in the tree by type.
#[derive(Debug, Default, Serialize)]
struct TypeCounts {
    file: u64,
    directory: u64,
    symlink: u64,
    char_device: u64,
    block_device: u64,
    fifo: u64,
    socket: u64,
}

/// Numbers of regular files by the storage of their content; each inode is counted once.
#[derive(Debug, Default, Serialize)]
struct ContentCounts {
    empty: u64,
    inline: u64,
    inline_bytes: u64,
    object: u64,
    hole: u64,
    /// Number of distinct payloads.
    objects: usize,
}

impl ImageInfo {
    /// Collects the information about an image.
    pub(super) fn of(file: &ImageFile, reader: &ImageReader<'_>, loaded: &LoadedImage) -> anyhow::Result<Self> {
        let (superblock, tree) = (reader.superblock(), &loaded.tree);
        let (types, contents) = count(loaded);
        let digest = file.digest(tree.algorithm())?;
        Ok(Self {
            format_version: reader.header().format_version,
            size: file.file_len(),
            blocks: superblock.blocks,
            algorithm: tree.algorithm().name(),
            digest: digest.to_hex(),
            acl: reader.header().has_acl(),
            build_time: timestamp::exact(superblock.build_time),
            inodes: superblock.inode_count,
            stubs: loaded.stubs,
            compact: loaded.compact,
            names: tree.entry_count(),
            types,
            contents,
            order: match loaded.order {
                Order::NoLinks => "no hard links",
                Order::BreadthFirst => "breadth first",
                Order::Other => "other",
            },
        })
    }

    /// Formats the information as lines of a key and a value.
    pub(super) fn text(&self) -> String {
        let (types, contents) = (&self.types, &self.contents);
        let lines = [
            ("format", format!("version {}", self.format_version)),
            ("size", format!("{} bytes, {} blocks of 4096", self.size, self.blocks)),
            ("digest", format!("{} {}", self.algorithm, self.digest)),
            ("acl", if self.acl { "some inode may have one" } else { "no inode has one" }.to_owned()),
            ("built", self.build_time.clone()),
            ("inodes", format!("{}, {} of them stubs; {} compact", self.inodes, self.stubs, self.compact)),
            ("order", self.order.to_owned()),
            ("names", self.names.to_string()),
            ("files", types.file.to_string()),
            ("", format!("{} empty", contents.empty)),
            ("", format!("{} inline, {} bytes together", contents.inline, contents.inline_bytes)),
            ("", format!("{} of {} objects", contents.object, contents.objects)),
            ("", format!("{} holes", contents.hole)),
            ("others", format!("{} directories, {} symlinks", types.directory, types.symlink)),
            ("", format!("{} character devices, {} block devices", types.char_device, types.block_device)),
            ("", format!("{} fifos, {} sockets", types.fifo, types.socket)),
        ];
        lines.iter().map(|(key, value)| format!("{key:<9}{value}\n")).collect()
    }
}

fn count(loaded: &LoadedImage) -> (TypeCounts, ContentCounts) {
    let (mut types, mut contents, mut objects) = (TypeCounts::default(), ContentCounts::default(), HashSet::new());
    for inode in loaded.tree.inodes() {
        match inode.kind() {
            Kind::Regular => types.file += 1,
            Kind::Directory => types.directory += 1,
            Kind::Symlink => types.symlink += 1,
            Kind::CharDevice => types.char_device += 1,
            Kind::BlockDevice => types.block_device += 1,
            Kind::Fifo => types.fifo += 1,
            Kind::Socket => types.socket += 1,
        }
        match inode.data() {
            Data::Regular { payload: Some(payload), .. } => {
                contents.object += 1;
                objects.insert(payload.into_owned());
            }
            Data::Regular { content: Some(content), .. } => {
                contents.inline += 1;
                contents.inline_bytes += content.len() as u64;
            }
            Data::Regular { .. } if inode.size() == 0 => contents.empty += 1,
            Data::Regular { .. } => contents.hole += 1,
            _ => {}
        }
    }
    contents.objects = objects.len();
    (types, contents)
}
