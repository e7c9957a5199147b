//! Small repositories that describe huge trees are refused with a clear error, in memory that is a small multiple of
//! the bytes read. Each refused repository has a similar one that is accepted.
//!
//! Memory is counted for the whole process, so the tests take turns.
#![expect(clippy::big_endian_bytes, reason = "the numbers of ostree are big-endian")]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use libcomposefs_content::NoProgress;
use libcomposefs_image::Algorithm;
use libcomposefs_image::tree::Tree;
use libcomposefs_ostree::objects::CommitObject;
use libcomposefs_ostree::{CommitPlan, ContentUse, Error, Id, Payloads, Repo, gather};
use libcomposefs_testkit::stats;
use peak_alloc::PeakAlloc;
use sha2::{Digest as _, Sha256};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;
static TURN: Mutex<()> = Mutex::new(());

type Checksum = [u8; 32];

/// Joins a body and its framing offsets, as wide as they must be.
fn framed(mut body: Vec<u8>, offsets: &[usize]) -> Vec<u8> {
    let fits = |width: &&usize| body.len() + offsets.len() * **width < 1 << (8 * **width);
    let width = *[1, 2, 4].iter().find(fits).unwrap();
    offsets.iter().for_each(|offset| body.extend_from_slice(&offset.to_le_bytes()[..width]));
    body
}

/// Serialises a tuple of members without a fixed size, which may be at any position.
fn tuple(members: &[&[u8]]) -> Vec<u8> {
    let ends: Vec<usize> = (1..members.len()).rev().map(|count| members[..count].concat().len()).collect();
    framed(members.concat(), &ends)
}

fn array(elements: &[Vec<u8>]) -> Vec<u8> {
    let (mut body, mut ends) = (Vec::new(), Vec::new());
    for element in elements {
        body.extend_from_slice(element);
        ends.push(body.len());
    }
    if elements.is_empty() { body } else { framed(body, &ends) }
}

fn string(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

/// Serialises a commit without history, whose metadata is this `a{sv}`.
fn commit(metadata: &[u8], tree: &Checksum, meta: &Checksum) -> Vec<u8> {
    let mut body = metadata.to_vec();
    let first = body.len();
    // No parent, no related objects; an empty subject and body; time 0.
    body.extend_from_slice(b"\0\0");
    let text = body.len();
    body.resize(body.len().next_multiple_of(8) + 8, 0);
    body.extend_from_slice(tree);
    let root = body.len();
    body.extend_from_slice(meta);
    framed(body, &[root, text, text - 1, first, first, first])
}

fn dirmeta(xattrs: &[(&str, &[u8])]) -> Vec<u8> {
    let pairs: Vec<Vec<u8>> = xattrs.iter().map(|(name, value)| tuple(&[&string(name), value])).collect();
    [&0u32.to_be_bytes()[..], &[0; 4], &0o40755u32.to_be_bytes(), &array(&pairs)].concat()
}

/// An archive under construction.
struct Forge {
    dir: tempfile::TempDir,
    /// Total bytes of the objects.
    bytes: usize,
    _turn: MutexGuard<'static, ()>,
}

impl Forge {
    fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("objects")).unwrap();
        fs::write(dir.path().join("config"), "[core]\nrepo_version=1\nmode=archive\n").unwrap();
        Self { dir, bytes: 0, _turn: turn }
    }

    fn put_as(&mut self, checksum: Checksum, object: &[u8], extension: &str) -> Checksum {
        let path = self.dir.path().join("objects").join(Id::new(checksum).path(extension));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, object).unwrap();
        self.bytes += object.len();
        checksum
    }

    fn put(&mut self, object: &[u8], extension: &str) -> Checksum {
        self.put_as(Sha256::digest(object).into(), object, extension)
    }

    fn dirtree(&mut self, files: &[(&str, Checksum)], directories: &[(&str, Checksum, Checksum)]) -> Checksum {
        let files: Vec<_> = files.iter().map(|(name, id)| tuple(&[&string(name), id])).collect();
        let directories: Vec<_> =
            directories.iter().map(|(name, tree, meta)| tuple(&[&string(name), tree, meta])).collect();
        self.put(&tuple(&[&array(&files), &array(&directories)]), "dirtree")
    }

    /// Adds a directory with `count` copies of another one in it.
    fn copies(&mut self, count: usize, of: Checksum, meta: Checksum) -> Checksum {
        let names: Vec<String> = (0..count).map(|number| number.to_string()).collect();
        let directories: Vec<_> = names.iter().map(|name| (name.as_str(), of, meta)).collect();
        self.dirtree(&[], &directories)
    }

    fn meta(&mut self) -> Checksum {
        self.put(&dirmeta(&[]), "dirmeta")
    }

    /// Adds a symlink with this target, or an empty file.
    fn content(&mut self, target: &str) -> Checksum {
        let mode: u32 = if target.is_empty() { 0o100_644 } else { 0o120_777 };
        let fields = [&[0; 8][..], &mode.to_be_bytes(), &[0; 4], &string(target)].concat();
        let header = framed(fields.clone(), &[fields.len()]);
        let named = [&(header.len() as u32).to_be_bytes()[..], &[0; 4], &header].concat();
        // The size is before the other fields.
        let fields = [&[0; 8][..], &fields].concat();
        let header = framed(fields.clone(), &[fields.len()]);
        let object = [&(header.len() as u32).to_be_bytes()[..], &[0; 4], &header, &deflate(b"")].concat();
        self.put_as(Sha256::digest(named).into(), &object, "filez")
    }

    fn plan(&mut self, tree: Checksum) -> Result<(Repo, CommitPlan), Error> {
        let meta = self.meta();
        let id = Id::new(self.put(&commit(b"", &tree, &meta), "commit"));
        let repo = Repo::open(self.dir.path())?;
        let plan = CommitPlan::of(&repo, &repo.commit(&id)?)?;
        Ok((repo, plan))
    }

    fn tree(&mut self, tree: Checksum) -> Result<Tree, Error> {
        let (repo, plan) = self.plan(tree)?;
        let gathered = gather(&repo, plan.contents(), ContentUse::Skip, NonZeroUsize::MIN, &NoProgress)?;
        plan.tree(&gathered, Payloads::Ostree, Algorithm::Sha256)
    }
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::best());
    deflated.write_all(bytes).unwrap();
    deflated.finish().unwrap()
}

/// Calls `run`. Returns its result and the growth of memory meanwhile, in bytes.
fn measured<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let done = run();
    (done, MEMORY.peak_usage().saturating_sub(before))
}

/// Asserts an error with these words, in memory of a few times the objects.
#[track_caller]
fn expect_refused<T>(
    forge: &mut Forge,
    tree: Checksum,
    run: fn(&mut Forge, Checksum) -> Result<T, Error>,
    words: &[&str],
) {
    let (done, grown) = measured(|| run(forge, tree).map(drop));
    let error = done.unwrap_err().to_string();
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
    stats::show(&format!("{} bytes of objects refused in {grown} bytes of memory: {error}", forge.bytes));
    assert!(grown < 16 * forge.bytes + (2 << 20), "{grown} bytes of memory for {} bytes of objects", forge.bytes);
}

#[test]
fn names_that_no_directory_can_have_are_refused() {
    let mut forge = Forge::new();
    let file = forge.content("");
    let meta = forge.meta();
    let empty = forge.dirtree(&[], &[]);
    for (name, words) in [
        (&*"n".repeat(256), "256 bytes, at most 255"),
        (&*"n".repeat(60_000), "60000 bytes, at most 255"),
        (".", "the name \".\""),
        ("..", "the name \"..\""),
        ("", "the name \"\""),
        ("a/b", "a slash"),
        ("/", "a slash"),
    ] {
        for is_file in [true, false] {
            let tree =
                if is_file { forge.dirtree(&[(name, file)], &[]) } else { forge.dirtree(&[], &[(name, empty, meta)]) };
            let path = Id::new(tree).path("dirtree");
            expect_refused(&mut forge, tree, Forge::plan, &[words, &path]);
        }
    }
    let tree = forge.dirtree(&[(&"n".repeat(255), file), ("é", file)], &[("..b", empty, meta)]);
    // Plus the five directories that every image has.
    assert_eq!(forge.tree(tree).unwrap().entry_count(), 3 + 5);
}

/// A case that took 3.5 GB of memory: 138 kB of objects with 60,000 entries whose names have 60,000 bytes. Then the
/// same with valid names, and without files.
#[test]
fn directories_in_many_places_are_counted_before_they_are_made() {
    let mut forge = Forge::new();
    let (meta, file) = (forge.meta(), forge.content(""));
    let long = forge.dirtree(&[(&"n".repeat(60_000), file)], &[]);
    let inner = forge.copies(1000, long, meta);
    let bomb = forge.copies(60, inner, meta);
    expect_refused(&mut forge, bomb, Forge::plan, &["60000 bytes, at most 255"]);

    let leaf = forge.dirtree(&[(&"n".repeat(255), file)], &[]);
    let inner = forge.copies(1000, leaf, meta);
    let bomb = forge.copies(60, inner, meta);
    let named = Id::new(bomb).path("dirtree");
    expect_refused(&mut forge, bomb, Forge::plan, &[&named, "32 times as many", "bytes of names and attributes"]);

    let empty = forge.dirtree(&[], &[]);
    let inner = forge.copies(4090, empty, meta);
    let bomb = forge.copies(4090, inner, meta);
    let named = Id::new(bomb).path("dirtree");
    expect_refused(&mut forge, bomb, Forge::plan, &[&named, "32 times as many"]);

    // Nearly as much as is always accepted, from a hundredth of the bytes.
    let inner = forge.copies(450, empty, meta);
    let twin = forge.copies(450, inner, meta);
    let (tree, grown) = measured(|| forge.tree(twin));
    let entries = tree.unwrap().entry_count();
    assert_eq!(entries, 450 * 451 + 5);
    stats::show(&format!("a tree of {entries} entries in {grown} bytes of memory"));
    assert!(grown < 64 << 20, "{grown}");
}

#[test]
fn directories_that_double_at_each_level_are_refused() {
    let mut forge = Forge::new();
    let meta = forge.meta();
    let mut tree = forge.dirtree(&[], &[]);
    for level in 1..=200 {
        tree = forge.copies(2, tree, meta);
        if level == 12 {
            assert_eq!(forge.tree(tree).unwrap().entry_count(), 2 + (1 << 13) - 4 + 5);
        }
    }
    expect_refused(&mut forge, tree, Forge::plan, &["objects/", ".dirtree"]);
}

#[test]
fn attributes_in_many_places_are_counted() {
    let mut forge = Forge::new();
    let meta = forge.put(&dirmeta(&[("user.long", &[7; 30_000])]), "dirmeta");
    let empty = forge.dirtree(&[], &[]);
    let (bomb, twin) = (forge.copies(2000, empty, meta), forge.copies(200, empty, meta));
    let named = Id::new(bomb).path("dirtree");
    expect_refused(&mut forge, bomb, Forge::plan, &[&named, "32 times as many"]);
    assert_eq!(forge.tree(twin).unwrap().entry_count(), 200 + 5);
    // More than a megabyte of xattrs for one directory.
    let large = forge.put(&dirmeta(&[("user.long", &[7; 1 << 20])]), "dirmeta");
    let bomb = forge.copies(1, empty, large);
    let named = Id::new(large).path("dirmeta");
    expect_refused(&mut forge, bomb, Forge::plan, &[&named, "more than 1048576 bytes"]);
}

#[test]
fn targets_in_many_places_are_counted() {
    let mut forge = Forge::new();
    let link = forge.content(&"t".repeat(4000));
    let names: Vec<String> = (0..10_000).map(|number| number.to_string()).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), link)).collect();
    let (bomb, twin) = (forge.dirtree(&files, &[]), forge.dirtree(&files[..100], &[]));
    let named = Id::new(link).path("file");
    expect_refused(&mut forge, bomb, Forge::tree, &[&named, "32 times as many"]);
    assert_eq!(forge.tree(twin).unwrap().entry_count(), 100 + 5);
    let long = forge.content(&"t".repeat(4096));
    let bomb = forge.dirtree(&[("link", long)], &[]);
    expect_refused(&mut forge, bomb, Forge::tree, &[&Id::new(long).path("filez"), "4096 bytes: 1 to 4095"]);
}

/// Paths are built only for errors: 2,000 nested directories once took a path each.
#[test]
fn deep_directories_are_read() {
    let mut forge = Forge::new();
    let meta = forge.meta();
    let mut tree = forge.dirtree(&[], &[]);
    for _ in 0..2000 {
        tree = forge.copies(1, tree, meta);
    }
    assert_eq!(forge.tree(tree).unwrap().entry_count(), 2000 + 5);
}

/// Serialises an `a{sv}` with keys of `len` bytes and a byte as value, with these framing offsets or the right ones.
fn metadata(len: usize, count: usize, offsets: Option<&dyn Fn(usize) -> usize>) -> Vec<u8> {
    let mut entry = string(&"k".repeat(len));
    let key = entry.len();
    entry.resize(entry.len().next_multiple_of(8), 0);
    entry.extend_from_slice(b"\x01\0y");
    let entry = framed(entry, &[key]);
    let (mut body, mut ends) = (Vec::new(), Vec::new());
    for index in 0..count {
        if offsets.is_none() || index == 0 {
            body.resize(body.len().next_multiple_of(8), 0);
            body.extend_from_slice(&entry);
        }
        ends.push(offsets.map_or(body.len(), |offsets| offsets(entry.len() * usize::from(index % 2 == 0))));
    }
    framed(body, &ends)
}

/// Offsets that go back and forth make every second entry the same long one: its key was once read for each.
#[test]
fn a_commit_whose_offsets_go_backwards_is_refused() {
    let (len, count) = (300_000, 75_001);
    let bomb = commit(&metadata(len, count, Some(&|offset| offset)), &[1; 32], &[2; 32]);
    let error = CommitObject::parse(&bomb).unwrap_err();
    assert!(error.contains("offsets must not decrease"), "{error}");
    let twin = commit(&metadata(10, 20_000, None), &[1; 32], &[2; 32]);
    let twin = CommitObject::parse(&twin).unwrap();
    assert_eq!((twin.tree, twin.meta, twin.digest), (Id::new([1; 32]), Id::new([2; 32]), None));
}

#[test]
fn an_archive_is_inflated_as_far_as_it_says() {
    let mut forge = Forge::new();
    let fields = [&1u64.to_be_bytes()[..], &[0; 8], &0o100_644u32.to_be_bytes(), &[0; 4], b"\0"].concat();
    let header = framed(fields.clone(), &[fields.len()]);
    let with_len = |len: u32| [&len.to_be_bytes()[..], &[0; 4], &header, &deflate(&vec![0; 4 << 20])].concat();
    let mut read = |object: &[u8]| {
        let id = forge.put_as([9; 32], object, "filez");
        let repo = Repo::open(Path::new(forge.dir.path())).unwrap();
        let mut shown = 0;
        let read = |content: libcomposefs_ostree::ContentObject| {
            content.read(&mut [0; 4096], |piece| {
                shown += piece.len();
                Ok(())
            })
        };
        let error = repo.content(&Id::new(id)).and_then(read).unwrap_err();
        (error.to_string(), shown)
    };
    let (error, shown) = read(&with_len(header.len() as u32));
    assert!(error.contains("more than the expected 1 bytes"), "{error}");
    assert_eq!(shown, 0);
    let (error, _) = read(&with_len(u32::MAX));
    assert!(error.contains("a header of 4294967295 bytes"), "{error}");
}

#[test]
fn the_forge_writes_valid_objects() {
    let mut forge = Forge::new();
    let (file, link, meta) = (forge.content(""), forge.content("target"), forge.meta());
    let below = forge.dirtree(&[("link", link)], &[]);
    let tree = forge.dirtree(&[("file", file)], &[("dir", below, meta)]);
    let tree = forge.tree(tree).unwrap();
    let mut paths = String::new();
    tree.inodes().for_each(|inode| write!(paths, "{} ", String::from_utf8_lossy(&tree.path_of(inode.id()))).unwrap());
    for path in ["/file ", "/dir ", "/dir/link ", "/usr "] {
        assert!(paths.contains(path), "{paths}");
    }
}
