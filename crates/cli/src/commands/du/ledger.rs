//! Counts the objects that images need, and the images that need them.

use std::collections::HashMap;

use libcomposefs_image::tree::{Data, InodeId, Tree};

/// Objects needed by images, with the sizes of the images.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    objects: HashMap<Vec<u8>, LedgerObject>,
    images: Vec<LedgerImage>,
}

#[derive(Debug)]
struct LedgerObject {
    size: u64,
    /// Indices of the images that need the object, in ascending order.
    images: Vec<u32>,
    /// Disk space that the object uses; `None` if it is missing.
    disk: Option<u64>,
}

#[derive(Debug, Default)]
struct LedgerImage {
    apparent: u64,
    inline: u64,
    file: u64,
}

/// Row of the table, for an image or for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) apparent: u64,
    pub(super) unique: u64,
    pub(super) shared: u64,
    pub(super) exclusive: u64,
    pub(super) objects: u64,
    pub(super) inline: u64,
    pub(super) file: u64,
    pub(super) disk: u64,
    pub(super) freed: u64,
    pub(super) missing: u64,
}

/// A number of a row, with its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) number: u64,
    /// True if the number is a size in bytes.
    pub(super) is_size: bool,
}

impl Sums {
    /// Returns all numbers in the order of the columns.
    pub(super) fn columns(&self, with_disk: bool) -> Vec<Column> {
        let size = |name, number| Column { name, number, is_size: true };
        let count = |name, number| Column { name, number, is_size: false };
        let mut columns = vec![
            size("apparent", self.apparent),
            size("unique", self.unique),
            size("shared", self.shared),
            size("exclusive", self.exclusive),
            count("objects", self.objects),
            size("inline", self.inline),
            size("image", self.file),
        ];
        if with_disk {
            columns.extend([size("disk", self.disk), size("freed", self.freed), count("missing", self.missing)]);
        }
        columns
    }

    fn add_object(&mut self, object: &LedgerObject, is_shared: bool) {
        self.objects += 1;
        add(&mut self.unique, object.size);
        add(if is_shared { &mut self.shared } else { &mut self.exclusive }, object.size);
        match object.disk {
            Some(disk) => {
                add(&mut self.disk, disk);
                add(&mut self.freed, if is_shared { 0 } else { disk });
            }
            None => self.missing += 1,
        }
    }
}

/// Adds sizes with saturation, as images can contain any size.
fn add(sum: &mut u64, size: u64) {
    *sum = sum.saturating_add(size);
}

impl Ledger {
    /// Adds an image with a file of `file_len` bytes.
    pub(super) fn add(&mut self, tree: &Tree, file: u64) {
        let number = self.images.len() as u32;
        let mut image = LedgerImage { file, ..LedgerImage::default() };
        for inode in tree.inodes() {
            if let Data::Regular { content: Some(content), .. } = inode.data() {
                add(&mut image.inline, content.len() as u64);
            }
        }
        for payload in tree.payloads() {
            let new = || LedgerObject { size: payload.size, images: Vec::new(), disk: None };
            let object = self.objects.entry(payload.path().into_owned()).or_insert_with(new);
            // Several inodes of an image may need the same object.
            if object.images.last() != Some(&number) {
                object.images.push(number);
            }
        }
        let mut entries = tree.depth_first_from(InodeId::ROOT, b"");
        while let Some((_, entry)) = entries.step() {
            let inode = tree.inode(entry.inode);
            if matches!(inode.data(), Data::Regular { .. }) {
                add(&mut image.apparent, inode.size());
            }
        }
        self.images.push(image);
    }

    /// Looks up every object; `disk_size` returns the disk space that it uses.
    pub(super) fn look_on_disk(&mut self, mut disk_size: impl FnMut(&[u8]) -> Option<u64>) {
        // Sorted by name, as in directories, so that failures have the same order each time.
        let mut objects: Vec<_> = self.objects.iter_mut().collect();
        objects.sort_unstable_by(|a, b| a.0.cmp(b.0));
        objects.into_iter().for_each(|(payload, object)| object.disk = disk_size(payload));
    }

    /// Returns the rows of the images, and the total.
    pub(super) fn sums(&self) -> (Vec<Sums>, Sums) {
        let row = |image: &LedgerImage| Sums {
            apparent: image.apparent,
            inline: image.inline,
            file: image.file,
            ..Sums::default()
        };
        let mut rows: Vec<_> = self.images.iter().map(row).collect();
        let mut total = Sums::default();
        for image in &rows {
            add(&mut total.apparent, image.apparent);
            add(&mut total.inline, image.inline);
            add(&mut total.file, image.file);
        }
        for object in self.objects.values() {
            let is_shared = object.images.len() > 1;
            total.add_object(object, is_shared);
            object.images.iter().for_each(|image| rows[*image as usize].add_object(object, is_shared));
        }
        (rows, total)
    }
}
