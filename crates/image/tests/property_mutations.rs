//! Damaged images: for every changed byte and every cut the reader refuses the image or returns a tree, with bounded
//! time and memory.
//!
//! All in one test, because memory is counted for the whole process.

use libcomposefs_image::Algorithm;
use libcomposefs_image::dump::{self, Parser};
use libcomposefs_image::erofs::check::{Severity, check};
use libcomposefs_image::erofs::read::{ImageReader, LoadedImage, RawContent, ReadError, load};
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_image::tree::{InodeId, Kind, NewInode, TreeBuilder};
use libcomposefs_testkit::stats;
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// A dump with an entry of every kind.
const DUMP: &str = "\
/ 0 40755 2 0 0 0 1.0 - - - trusted.overlay.opaque=y
/d 0 40755 2 0 0 0 1.0 - - - user.a=b user.shared=0123456789abcdef
/d/e 0 40755 2 0 0 0 1.0 - - -
/d/e/f 3 100644 1 0 0 0 1.0 - abc -
/d/link 0 @100644 1 0 0 0 0.0 /file - -
/ext 5000000 100644 1 0 0 0 1.0 aa/bb - \
84ea6f7a76b5e2a6b0d8e9b7e4d3c2b1a0918273645546372819a0b1c2d3e4f5 user.shared=0123456789abcdef
/ext2 50000000000000 100644 1 0 0 0 1.0 - - -
/fifo 0 10644 1 0 0 0 1.0 - - -
/file 5 100644 2 70000 0 0 -1.0 - hello - user.shared=0123456789abcdef lustre.x=1 system.posix_acl_access=
/null 0 20644 1 0 0 259 1.0 - - -
/sym 6 120777 1 0 0 0 1.0 target - -
/wh 0 40755 2 0 0 0 1.0 - - -
/wh/gone 0 20644 1 0 0 0 1.0 - - - user.shared=0123456789abcdef
/wh/link 0 @20644 1 0 0 0 0.0 /wh/gone - -
";

/// An image of that, and, if it may be larger, with contents in blocks.
fn image(version: u32, with_blocks: bool) -> Vec<u8> {
    let mut text = DUMP.to_owned();
    if with_blocks {
        text.push_str(&format!("/block 4100 100644 1 0 0 0 1.0 - {} -\n", "c".repeat(4100)));
        text.push_str(&format!("/target 4095 120777 1 0 0 0 1.0 {} - -\n", "t".repeat(4095)));
    }
    let mut parser = Parser::new(dump::Options::default());
    text.lines().for_each(|line| parser.push_line(line.as_bytes()).unwrap());
    let tree = parser.finish().unwrap().tree;
    let mut bytes = Vec::new();
    Image::plan(&tree, Versions::exactly(version)).unwrap().write(&mut bytes).unwrap();
    bytes
}

#[derive(Default)]
struct Tally {
    /// Only with some images all is done that can be done.
    every: u64,
    tried: u64,
    read: u64,
    /// The most memory taken, as a multiple of the image.
    factor: usize,
    /// The same for checking, and how many had no error.
    check_factor: usize,
    sound: u64,
}

impl Tally {
    /// Does with an image all that can be done.
    fn try_all(&mut self, bytes: &[u8]) {
        let loaded = self.measure(bytes);
        self.read += u64::from(loaded.is_ok());
        if self.tried.is_multiple_of(self.every.min(3)) {
            self.check(bytes, loaded.is_ok());
        }
        if !self.tried.is_multiple_of(self.every) {
            return;
        }
        if let Ok(loaded) = loaded {
            self.use_tree(&ImageReader::new(bytes).unwrap(), &loaded);
        }
        if let Ok(reader) = ImageReader::new(bytes) {
            look_at_all(&reader, self.tried % 16);
        }
    }

    /// Reads an image and the memory that it took.
    fn measure(&mut self, bytes: &[u8]) -> Result<LoadedImage, ReadError> {
        self.tried += 1;
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let loaded = ImageReader::new(bytes).and_then(|reader| load(&reader, &[]));
        let taken = MEMORY.peak_usage().saturating_sub(before);
        self.factor = self.factor.max(taken.div_ceil(bytes.len().max(4096)));
        loaded
    }

    /// Checks an image. Whatever the reader refuses is an error; an image that no writer would write is at least not
    /// canonical.
    fn check(&mut self, bytes: &[u8], is_read: bool) {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let report = check(bytes);
        let taken = MEMORY.peak_usage().saturating_sub(before);
        self.check_factor = self.check_factor.max(taken.div_ceil(bytes.len().max(4096)));
        assert!(is_read || report.count(Severity::Error) > 0, "what is refused is sound to the check");
        self.sound += u64::from(report.count(Severity::Error) == 0);
    }

    fn use_tree(&self, reader: &ImageReader<'_>, loaded: &LoadedImage) {
        let mut text = Vec::new();
        loaded.emit_dump(reader, &mut text).unwrap();
        // What was read can be written, where it can be written at all, and is the same when it is read again.
        let version = Versions::exactly(reader.header().format_version);
        let Ok(image) = Image::plan(&loaded.tree, version) else { return };
        let mut bytes = Vec::new();
        image.write(&mut bytes).unwrap();
        let again = load(&ImageReader::new(&bytes).unwrap(), &[]).unwrap();
        let (was, is) = (comparable(loaded), comparable(&again));
        let differing = was.iter().zip(&is).find(|(was, is)| was != is);
        assert!(was.len() == is.len() && differing.is_none(), "{differing:?}");
    }
}

/// The dump of a tree, without the link counts of directories, which the writer counts, the sizes of what has none, and
/// the objects of empty files.
fn comparable(loaded: &LoadedImage) -> Vec<String> {
    let mut text = Vec::new();
    dump::emit(&loaded.tree, &mut text).unwrap();
    let line = |line: &str| {
        let mut fields: Vec<_> = line.split(' ').collect();
        let mode = u32::from_str_radix(fields[2].trim_start_matches('@'), 8).unwrap();
        match Kind::from_mode(mode).unwrap() {
            Kind::Regular if fields[1] == "0" && fields[2].starts_with('@') => fields[10] = "-",
            Kind::Regular if fields[1] == "0" => (fields[8], fields[10]) = ("-", "-"),
            Kind::Regular | Kind::Symlink => {}
            Kind::Directory => (fields[1], fields[3]) = ("", ""),
            _ => fields[1] = "",
        }
        fields.join(" ")
    };
    String::from_utf8(text).unwrap().lines().map(line).collect()
}

/// Asks for everything that can be asked of single inodes, whether they are inodes or not; of one in 16 of them.
fn look_at_all(reader: &ImageReader<'_>, first: u64) {
    let slots = reader.bytes().len() as u64 / 32;
    for inode in (first..=slots).step_by(16).filter_map(|nid| reader.inode(nid).ok()) {
        if let Ok(entries) = reader.entries(&inode) {
            entries.take(1000).for_each(|entry| drop(entry.map(|entry| reader.lookup(&inode, entry.name))));
        }
        let _ = reader.lookup(&inode, b"ext");
        if let Ok(xattrs) = reader.xattrs(&inode) {
            xattrs.for_each(|xattr| drop(xattr.map(|xattr| xattr.name())));
        }
        let _ = reader.backing(&inode);
        if let Ok(RawContent::Flat(flat)) = reader.content(&inode) {
            assert_eq!((flat.blocks.len() + flat.tail.len()) as u64, inode.record().size);
        }
    }
}

/// A generator of numbers that are the same in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[test]
fn damaged_images_are_refused_or_read() {
    let full = std::env::var_os("COMPOSEFS_FULL").is_some();
    let mut tally = Tally { every: if full { 1 } else { 7 }, ..Tally::default() };
    let versions = if full { &[0, 1][..] } else { &[1] };
    for &version in versions {
        let (whole, large) = (image(version, full), image(version, true));
        tally.try_all(&whole);
        flip_every_byte(&whole, if full { 8 } else { 1 }, &mut tally);
        cut_everywhere(&whole, &mut tally);
        mutate(&large, if full { 200_000 } else { 6_000 }, &mut tally);
    }
    for image in images_of_little() {
        tally.measure(&image).unwrap();
        tally.check(&image, true);
    }
    let Tally { tried, read, factor, check_factor, sound, .. } = tally;
    assert!(read > tried / 10 && read < tried / 10 * 9, "{read} of {tried} were read");
    assert!(factor <= 8, "{factor} times the image's length was taken");
    // What the kernel alone refuses is rare: a checksum, an ACL that is denied.
    assert!(sound <= read && sound > read / 8, "{sound} of {read} that were read were sound");
    assert!(check_factor <= 8, "{check_factor} times the image's length was taken to check it");
    stats::show(&format!(
        "damaged images: {tried} tried, {read} of them read; at most {factor} times the length of the image in \
         memory, {check_factor} to check it"
    ));
}

/// Large images in which everything is as small as can be, so that the tree's tables outweigh it.
fn images_of_little() -> [Vec<u8>; 3] {
    let file = NewInode { mode: 0o100644, nlink: 1, ..NewInode::default() };
    let directory = NewInode { mode: 0o040755, ..file };
    let new = || TreeBuilder::new(Algorithm::Sha256, &directory).unwrap();
    let (mut files, mut links, mut directories) = (new(), new(), new());
    let mut parent = InodeId::ROOT;
    let linked: Vec<_> =
        (0..1000).map(|n| links.add(InodeId::ROOT, format!("{n}-").as_bytes(), &file).unwrap()).collect();
    for n in 0..50_000 {
        let name = format!("{n:x}");
        files.add(InodeId::ROOT, name.as_bytes(), &file).unwrap();
        links.add_link(InodeId::ROOT, name.as_bytes(), linked[n % 1000]).unwrap();
        parent = directories.add(parent, b"d", &directory).unwrap();
    }
    [files, links, directories].map(|builder| {
        let mut bytes = Vec::new();
        Image::plan(&builder.finish(), Versions::exactly(0)).unwrap().write(&mut bytes).unwrap();
        bytes
    })
}

/// Every byte changed in turn, in one of its bits or in each.
fn flip_every_byte(whole: &[u8], bits: usize, tally: &mut Tally) {
    let mut bytes = whole.to_vec();
    for index in 0..whole.len() {
        for bit in 0..bits {
            bytes[index] ^= 1 << ((index + bit) % 8);
            tally.try_all(&bytes);
            bytes[index] = whole[index];
        }
    }
}

/// Cut off at every length; once as it is, which the superblock gives away, and once with a superblock that does not.
fn cut_everywhere(whole: &[u8], tally: &mut Tally) {
    let mut silent = whole.to_vec();
    silent[1024 + 36..][..4].fill(0);
    for len in 0..whole.len() {
        assert!(ImageReader::new(&whole[..len]).is_err());
        tally.try_all(&silent[..len]);
    }
}

/// Several bytes at once: values that matter, pieces of the image in other places.
fn mutate(whole: &[u8], times: usize, tally: &mut Tally) {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut bytes = whole.to_vec();
    for _ in 0..times {
        bytes.copy_from_slice(whole);
        for _ in 0..1 + numbers.below(6) {
            let at = 1024 + numbers.below(whole.len() - 1024 - 8);
            match numbers.below(4) {
                0 => bytes[at] = numbers.below(256) as u8,
                1 => bytes[at] = [0, 1, 12, 0x7f, 0x80, 0xff][numbers.below(6)],
                2 => bytes[at & !3..][..4].copy_from_slice(&[0, 0xff, 1, 0x7f].map(|b| [b; 4])[numbers.below(4)]),
                _ => {
                    let from = (1024 + numbers.below(whole.len() - 1024 - 64)) & !3;
                    let len = (1 + numbers.below(16)) * 4;
                    let to = (at & !3).min(whole.len() - len);
                    bytes.copy_within(from..from + len, to);
                }
            }
        }
        tally.try_all(&bytes);
    }
}
