//! Images with a byte changed here and there, where it counts.

use libcomposefs_image::dump::{self, Parser};
use libcomposefs_image::erofs::read::{ImageReader, RawEntry, RawInode, ReadError, load};
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_image::tree::Tree;

/// A tree of all kinds of nodes; every line is there for some forgery.
const DUMP: &str = "\
/ 0 40755 2 0 0 0 1.0 - - -
/d 0 40755 2 0 0 0 1.0 - - - user.a=b user.shared=0123456789abcdef
/d/e 0 40755 2 0 0 0 1.0 - - -
/d/e/f 3 100644 1 0 0 0 1.0 - abc -
/d/link 0 @100644 1 0 0 0 0.0 /file - -
/d2 0 40755 2 0 0 0 1.0 - - -
/ext 5000000 100644 1 0 0 0 1.0 aa/bb - 84ea6f7a76b5e2a6b0d8e9b7e4d3c2b1a0918273645546372819a0b1c2d3e4f5
/ext2 5000000 100644 1 0 0 0 1.0 aa/cc - 94ea6f7a76b5e2a6b0d8e9b7e4d3c2b1a0918273645546372819a0b1c2d3e4f5
/fifo 0 10644 1 0 0 0 1.0 - - -
/file 5 100644 2 70000 0 0 1.0 - hello - user.shared=0123456789abcdef xser.whole=1 \
user.more=\\x01\\x01\\x01\\x00kv\\x00\\x00
/names 0 40755 2 0 0 0 1.0 - - -
/null 0 20644 1 0 0 259 1.0 - - -
/sym 6 120777 1 0 0 0 1.0 target - -
/wh 0 40755 2 0 0 0 1.0 - - -
/wh/gone 0 20644 1 0 0 0 1.0 - - -
";

/// An image being forged.
pub(crate) struct Forge {
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn parse(text: &str) -> Tree {
    let mut parser = Parser::new(dump::Options::default());
    text.lines().for_each(|line| parser.push_line(line.as_bytes()).unwrap());
    parser.finish().unwrap().tree
}

pub(crate) fn write(tree: &Tree, version: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    Image::plan(tree, Versions::exactly(version)).unwrap().write(&mut bytes).unwrap();
    bytes
}

impl Forge {
    /// The image of the tree above, with two files of one block and a directory of long names.
    pub(crate) fn new() -> Self {
        let mut text = DUMP.to_owned();
        for name in ["block1", "block2"] {
            let content = name.chars().next_back().unwrap().to_string().repeat(4096);
            text.push_str(&format!("/{name} 4096 100644 1 0 0 0 1.0 - {content} -\n"));
        }
        for letter in ["a", "b", "c"] {
            text.push_str(&format!("/names/{} 0 100644 1 0 0 0 1.0 - - -\n", letter.repeat(255)));
        }
        Self { bytes: write(&parse(&text), 0) }
    }

    pub(crate) fn of(text: &str) -> Self {
        Self { bytes: write(&parse(text), 0) }
    }

    pub(crate) fn put(&mut self, offset: u64, bytes: &[u8]) {
        self.bytes[offset as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    /// Puts bytes at a field of an inode.
    pub(crate) fn put_inode(&mut self, path: &str, field: u64, bytes: &[u8]) {
        let offset = self.inode(path).offset() + field;
        self.put(offset, bytes);
    }

    /// Puts bytes at a field of the superblock.
    pub(crate) fn put_superblock(&mut self, field: u64, bytes: &[u8]) {
        self.put(1024 + field, bytes);
    }

    /// Puts bytes at a field of a dirent: 0 the nid, 8 the name's offset, 10 the type.
    pub(crate) fn put_dirent(&mut self, directory: &str, name: &str, field: u64, bytes: &[u8]) {
        let offset = self.entry(directory, name).0.offset + field;
        self.put(offset, bytes);
    }

    /// Writes over a name in its directory.
    pub(crate) fn put_name(&mut self, directory: &str, name: &str, new: &str) {
        let offset = self.entry(directory, name).1;
        self.put(offset, new.as_bytes());
    }

    /// Puts bytes at an attribute's entry: 0 length of the name, 1 prefix, 2 length of the value, 4 the name.
    pub(crate) fn put_xattr(&mut self, path: &str, name: &str, field: u64, bytes: &[u8]) {
        let offset = self.xattr(path, name) + field;
        self.put(offset, bytes);
    }

    /// Returns the offset of an attribute's entry.
    pub(crate) fn xattr(&self, path: &str, name: &str) -> u64 {
        let reader = ImageReader::new(&self.bytes).unwrap();
        let inode = self.inode(path);
        let mut xattrs = reader.xattrs(&inode).unwrap().map(Result::unwrap);
        xattrs.find(|xattr| xattr.is_named(name.as_bytes())).unwrap_or_else(|| panic!("{path} has no {name}")).offset
    }

    /// An inode by its path, going down from the root.
    pub(crate) fn inode(&self, path: &str) -> RawInode {
        let reader = ImageReader::new(&self.bytes).unwrap();
        let mut inode = reader.root().unwrap();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let entry = reader.lookup(&inode, name.as_bytes()).unwrap();
            inode = reader.inode(entry.unwrap_or_else(|| panic!("no {path}")).nid).unwrap();
        }
        inode
    }

    /// An entry of a directory, and where its name stands.
    fn entry(&self, directory: &str, name: &str) -> (RawEntry<'_>, u64) {
        let reader = ImageReader::new(&self.bytes).unwrap();
        let inode = self.inode(directory);
        let entry = reader.lookup(&inode, name.as_bytes()).unwrap().unwrap_or_else(|| panic!("no {name}"));
        (entry, entry.name.as_ptr() as u64 - self.bytes.as_ptr() as u64)
    }

    /// The nid of a path, as a dirent has it.
    pub(crate) fn nid(&self, path: &str) -> [u8; 8] {
        self.inode(path).nid().to_le_bytes()
    }

    pub(crate) fn load(&self) -> Result<Tree, ReadError> {
        load(&ImageReader::new(&self.bytes)?, &[]).map(|loaded| loaded.tree)
    }
}
