//! Every rule broken once; beside each stands a change that is accepted.

use libcomposefs_image::erofs::header::HeaderError;
use libcomposefs_image::erofs::read::{Defect, ImageReader, ReadError, load};
use libcomposefs_image::tree::{InodeId, TreeError, XattrError};

use crate::forge::Forge;

/// The name of a forgery, the function that makes it, the path that the error must name, and a test for the right
/// defect.
type Case = (&'static str, fn(&mut Forge), Option<&'static str>, fn(&Defect) -> bool);

macro_rules! refusals {
    ($($name:literal, $path:expr, $pattern:pat, $forge:expr;)*) => {
        &[$(($name, $forge, $path, |defect| matches!(defect, $pattern))),*]
    };
}

fn check(cases: &[Case]) {
    let twin = Forge::new();
    twin.load().unwrap();
    for (name, forge, path, is_right) in cases {
        let mut forged = Forge::new();
        forge(&mut forged);
        let error = forged.load().err().unwrap_or_else(|| panic!("{name}: accepted"));
        let ReadError { defect, path: found, .. } = &error;
        assert!(is_right(defect), "{name}: {error} ({error:?})");
        assert_eq!(found.as_deref(), path.map(str::as_bytes), "{name}: {error}");
        assert!(error.to_string().contains("offset "), "{name}: {error}");
    }
}

#[test]
fn header_and_superblock() {
    check(refusals! {
        "magic", None, Defect::Header(HeaderError::Magic { .. }), |f| f.put(0, b"x");
        "header version", None, Defect::Header(HeaderError::Version { found: 2 }), |f| f.put(4, &[2]);
        "header cut off", None, Defect::Header(HeaderError::TooShort { len: 31 }), |f| f.bytes.truncate(31);
        "format version", None, Defect::FormatVersion(3), |f| f.put(12, &[3]);
        "superblock cut off", None, Defect::NoSuperblock { len: 1151 }, |f| f.bytes.truncate(1151);
        "no superblock", None, Defect::NoSuperblock { len: 32 }, |f| f.bytes.truncate(32);
        "EROFS magic", None, Defect::Magic { .. }, |f| f.put_superblock(0, b"x");
        "block size", None, Defect::BlockSize { bits: 9 }, |f| f.put_superblock(12, &[9]);
        "directory block size", None, Defect::BlockSize { bits: 13 }, |f| f.put_superblock(90, &[1]);
        "features", None, Defect::Features { features: 1 }, |f| f.put_superblock(80, &[5]);
        "blocks", None, Defect::CutOff { .. }, |f| f.put_superblock(38, &[1]);
        "cut off", None, Defect::CutOff { .. }, |f| f.bytes.truncate(f.bytes.len() - 1);
        "inodes outside", None, Defect::AreaOutside { .. }, |f| f.put_superblock(42, &[1]);
        "shared xattrs outside", None, Defect::AreaOutside { .. }, |f| f.put_superblock(46, &[1]);
        "root is a file", None, Defect::RootNotDirectory, |f| {
            let nid = f.nid("/file");
            f.put_superblock(14, &nid[..2]);
        };
        "root outside", None, Defect::InodeOutside { nid: 65535 }, |f| f.put_superblock(14, &[0xff; 2]);
    });
    // What does no harm: a feature that says what is the case anyhow, compatible ones, and padding.
    for (field, bytes) in [(80, [4]), (8, [0xff]), (48, [1]), (4, [1])] {
        let mut forged = Forge::new();
        forged.put_superblock(field, &bytes);
        forged.load().unwrap();
    }
}

#[test]
fn inodes() {
    check(refusals! {
        "outside", Some("/file"), Defect::InodeOutside { .. }, |f| f.put_dirent("/", "file", 3, &[1]);
        "far outside", Some("/file"), Defect::InodeOutside { .. }, |f| f.put_dirent("/", "file", 0, &[0xff; 8]);
        "compressed", Some("/file"), Defect::InodeFormat(3), |f| f.put_inode("/file", 0, &[3]);
        "unknown format bits", Some("/file"), Defect::InodeFormat(_), |f| f.put_inode("/file", 1, &[1]);
        "mode", Some("/file"), Defect::Mode(0o644), |f| f.put_inode("/file", 4, &[0xa4, 1]);
        "xattrs outside", Some("/file"), Defect::XattrsOutside { .. }, |f| f.put_inode("/file", 2, &[0xff, 0xff]);
        "stub with links", Some("/00"), Defect::StubLinks(2), |f| f.put_inode("/00", 6, &[2]);
    });
}

#[test]
fn contents() {
    check(refusals! {
        "blocks outside", Some("/block1"), Defect::BlocksOutside { .. }, |f| f.put_inode("/block1", 18, &[1]);
        "size outside", Some("/block1"), Defect::BlocksOutside { .. }, |f| f.put_inode("/block1", 10, &[1]);
        "tail crosses", Some("/d/e/f"), Defect::TailCrosses { len: 4095 }, |f| f.put_inode("/d/e/f", 8, &[0xff, 0x0f]);
        "too long", Some("/block1"), Defect::ContentTooLong(5001), |f| f.put_inode("/block1", 8, &[0x89, 0x13]);
        "shared block", Some("/block2"), Defect::Overlap { .. }, |f| {
            let block = f.inode("/block1").record().union_field.to_le_bytes();
            f.put_inode("/block2", 16, &block);
        };
        "block in the superblock", Some("/block1"), Defect::Overlap { other: 0, other_nid: None }, |f| {
            f.put_inode("/block1", 16, &[0; 4]);
        };
        "inode in another", Some("/block1"), Defect::Overlap { .. }, |f| {
            // The end of an extended inode as a compact one.
            let other = f.inode("/file");
            let nid = (other.nid() + 1).to_le_bytes();
            f.put(other.offset() + 32, &[0, 0, 0, 0, 0xa4, 0x81, 1, 0]);
            f.put(other.offset() + 40, &[0; 24]);
            f.put_dirent("/", "block1", 0, &nid);
        };
        "chunks of a symlink", Some("/sym"), Defect::ChunksOfOther, |f| f.put_inode("/sym", 0, &[8]);
        "chunk format", Some("/ext"), Defect::ChunkFormat(0x2b), |f| f.put_inode("/ext", 16, &[0x2b]);
        "chunk count", Some("/ext"), Defect::ChunkCount(_), |f| f.put_inode("/ext", 16, &[0]);
        "chunk in the image", Some("/ext"), Defect::ChunkInImage(0), |f| {
            let xattr = f.xattr("/ext", "trusted.overlay.redirect");
            // Behind the last attribute: 4 + 16 + 6, padded.
            f.put(xattr + 28, &[0, 0, 0, 0]);
        };
        "symlink without target", Some("/sym"), Defect::Tree(TreeError::SymlinkTarget(0)),
            |f| f.put_inode("/sym", 8, &[0]);
        "symlink in two pieces", Some("/sym"), Defect::SymlinkTarget(4099), |f| {
            let block = f.inode("/block1").record().union_field.to_le_bytes();
            f.put_inode("/block1", 8, &[0; 4]);
            f.put_inode("/sym", 8, &[3, 0x10]);
            f.put_inode("/sym", 16, &block);
        };
        "symlink with NUL", Some("/sym"), Defect::SymlinkNul, |f| {
            let offset = f.inode("/sym").offset() + 32;
            f.put(offset + 3, &[0]);
        };
    });
    let mut twin = Forge::new();
    twin.put_inode("/ext", 16, &[31]);
    twin.put_inode("/sym", 8, &[5]);
    twin.load().unwrap();
}

#[test]
fn tails_at_the_end_of_the_file() {
    // Without data blocks, the last inode is in the last block.
    let text =
        |len: usize| format!("/ 0 40755 2 0 0 0 0.0 - - -\n/zz {len} 120777 1 0 0 0 0.0 {} - -\n", "t".repeat(len));
    let twin = Forge::of(&text(10));
    twin.load().unwrap();
    let last = twin.bytes.len() as u64 - 4096;
    let len = |forge: &Forge| forge.bytes.len() as u64 - forge.inode("/zz").offset();
    let mut forged = Forge::of(&text(10));
    let (offset, room) = (forged.inode("/zz").offset(), len(&forged) - 32);
    if offset >= last {
        forged.put_inode("/zz", 8, &(room as u32 + 1).to_le_bytes());
        let error = forged.load().unwrap_err();
        assert!(matches!(error.defect, Defect::TailOutside { .. }), "{error}");
    } else {
        // The block of the root comes after it.
        forged.put_inode("/zz", 8, &4095u32.to_le_bytes());
        let error = forged.load().unwrap_err();
        assert!(matches!(error.defect, Defect::TailCrosses { .. }), "{error}");
    }
}

#[test]
fn directories() {
    check(refusals! {
        "too short", Some("/d2"), Defect::DirectoryTooShort(5), |f| f.put_inode("/d2", 8, &[5]);
        "empty", Some("/d2"), Defect::DotMissing("."), |f| f.put_inode("/d2", 8, &[0]);
        "first name at 0", Some("/d2"), Defect::FirstName { offset: 0, .. }, |f| f.put_dirent("/d2", ".", 8, &[0]);
        "first name at 25", Some("/d2"), Defect::FirstName { offset: 25, .. }, |f| f.put_dirent("/d2", ".", 8, &[25]);
        "first name outside", Some("/d2"), Defect::FirstName { .. }, |f| f.put_dirent("/d2", ".", 8, &[36]);
        "name before the others", Some("/d2"), Defect::NameOutside { .. }, |f| f.put_dirent("/d2", "..", 8, &[3]);
        "name outside", Some("/d2"), Defect::NameOutside { .. }, |f| f.put_dirent("/d2", "..", 8, &[60]);
        "empty name", Some("/d2"), Defect::NameLength(0), |f| f.put_dirent("/d2", "..", 8, &[27]);
        "name too long", Some("/names"), Defect::NameLength(256), |f| {
            let name = "b".repeat(255);
            let at = 5 * 12 + 3 + 255u16;
            f.put_dirent("/names", &name, 8, &(at + 1).to_le_bytes());
        };
        "slash", Some("/d"), Defect::NameByte(_), |f| f.put_name("/d", "link", "li/k");
        "NUL", Some("/names"), Defect::NameByte(_), |f| f.put_name("/names", &"a".repeat(255), "aa\0a");
        "order", Some("/"), Defect::NameOrder { .. }, |f| f.put_name("/", "ext2", "az");
        "twice", Some("/"), Defect::NameTwice(_), |f| f.put_name("/", "block2", "block1");
        "no .", Some("/d2"), Defect::DotMissing("."), |f| f.put_name("/d2", ".", ",");
        "no ..", Some("/d2"), Defect::DotMissing(".."), |f| f.put_name("/d2", "..", ".x");
        ". elsewhere", Some("/d2"), Defect::DotElsewhere { name: ".", .. }, |f| {
            let nid = f.nid("/d");
            f.put_dirent("/d2", ".", 0, &nid);
        };
        ".. elsewhere", Some("/d2"), Defect::DotElsewhere { name: "..", .. }, |f| {
            let nid = f.nid("/d");
            f.put_dirent("/d2", "..", 0, &nid);
        };
        "type", Some("/file"), Defect::FileType { found: 7, expected: 1 }, |f| f.put_dirent("/", "file", 10, &[7]);
        "type of a link", Some("/d/link"), Defect::FileType { found: 7, expected: 1 }, |f| {
            f.put_dirent("/d", "link", 10, &[7]);
        };
        "loop", Some("/d/e"), Defect::DirectoryTwice, |f| {
            let nid = f.nid("/");
            f.put_dirent("/d", "e", 0, &nid);
        };
        "loop to itself", Some("/d/e"), Defect::DirectoryTwice, |f| {
            let nid = f.nid("/d");
            f.put_dirent("/d", "e", 0, &nid);
        };
        "two parents", Some("/d2"), Defect::DirectoryTwice, |f| {
            let nid = f.nid("/d");
            f.put_dirent("/", "d2", 0, &nid);
        };
        "a stub twice", Some("/01"), Defect::StubTwice, |f| {
            let nid = f.nid("/00");
            f.put_dirent("/", "01", 0, &nid);
        };
        "a stub as a file", Some("/file"), Defect::FileType { found: 1, expected: 3 }, |f| {
            let nid = f.nid("/00");
            f.put_dirent("/", "file", 0, &nid);
        };
    });
    // A second name for what is no directory is a hard link.
    let mut twin = Forge::new();
    let nid = twin.nid("/ext");
    twin.put_dirent("/", "ext2", 0, &nid);
    assert!(twin.load().unwrap().has_links());
    let mut twin = Forge::new();
    twin.put_name("/", "ext2", "extz");
    twin.load().unwrap();
}

#[test]
fn attributes() {
    check(refusals! {
        "count", Some("/file"), Defect::SharedCount { count: 200, .. }, |f| f.put_inode("/file", 64 + 4, &[200]);
        "reference outside", Some("/file"), Defect::SharedOutside { .. }, |f| f.put_inode("/file", 64 + 12, &[0xff; 4]);
        "value too long", Some("/file"), Defect::XattrLength { .. }, |f| f.put_xattr("/file", "user.more", 2, &[200]);
        "padding too long", Some("/d"), Defect::XattrLength { .. }, |f| f.put_xattr("/d", "user.a", 2, &[4]);
        "prefix", Some("/d"), Defect::XattrPrefix(7), |f| f.put_xattr("/d", "user.a", 1, &[7]);
        "long prefix", Some("/d"), Defect::XattrPrefix(0x81), |f| f.put_xattr("/d", "user.a", 1, &[0x81]);
        "prefix unused", Some("/file"), Defect::XattrPrefixUnused(_), |f| f.put_xattr("/file", "xser.whole", 4, b"u");
        "NUL in the name", Some("/file"), Defect::XattrName(9), |f| f.put_xattr("/file", "user.more", 5, &[0]);
        "no name", Some("/d"), Defect::XattrName(0), |f| f.put_xattr("/d", "user.a", 0, &[0, 0]);
        "hidden", Some("/d"), Defect::XattrHidden(_), |f| f.put_inode("/d", 32, &[0xff; 4]);
        "shared in shared", None, Defect::Overlap { .. }, |f| {
            // An entry within the value of another.
            let shared = f.xattr("/d", "user.shared");
            f.put(shared + 12, &[1, 1, 0, 0, b'k', 0, 0, 0]);
            let reference = f.inode("/d").offset() + 32 + 12;
            let found = u32::from_le_bytes(f.bytes[reference as usize..][..4].try_into().unwrap());
            f.put(reference, &(found + 3).to_le_bytes());
            f.put_inode("/d", 32, &[0; 4]);
        };
        "shared in an inode", None, Defect::Overlap { .. }, |f| {
            // An entry in the value of an inode's own.
            let inner = f.xattr("/file", "user.more") + 8;
            let reference = f.inode("/d").offset() + 32 + 12;
            let area = u64::from(u32::from_le_bytes(f.bytes[1024 + 44..][..4].try_into().unwrap())) * 4096;
            f.put_superblock(44, &[0; 4]);
            f.put(reference, &(inner as u32 / 4).to_le_bytes());
            f.put_inode("/d", 32, &[0; 4]);
            // The other reference has to be counted from the beginning as well.
            let other = f.inode("/file").offset() + 64 + 12;
            let found = u32::from_le_bytes(f.bytes[other as usize..][..4].try_into().unwrap());
            f.put(other, &(found + area as u32 / 4).to_le_bytes());
        };
    });
}

#[test]
fn overlay() {
    check(refusals! {
        "redirect without slash", Some("/ext"), Defect::Redirect(6), |f| {
            f.put_xattr("/ext", "trusted.overlay.redirect", 20, b"x");
        };
        "redirect with NUL", Some("/ext"), Defect::Redirect(6), |f| {
            f.put_xattr("/ext", "trusted.overlay.redirect", 22, b"\0");
        };
        "metacopy version", Some("/ext"), Defect::Metacopy(36),
            |f| f.put_xattr("/ext", "trusted.overlay.metacopy", 20, &[1]);
        "metacopy length", Some("/ext"), Defect::Metacopy(36),
            |f| f.put_xattr("/ext", "trusted.overlay.metacopy", 21, &[35]);
        "metacopy flags", Some("/ext"), Defect::Metacopy(36),
            |f| f.put_xattr("/ext", "trusted.overlay.metacopy", 22, &[1]);
        "metacopy algorithm", Some("/ext"), Defect::Metacopy(36),
            |f| f.put_xattr("/ext", "trusted.overlay.metacopy", 23, &[2]);
        "no metacopy", Some("/ext"), Defect::NoMetacopy, |f| {
            f.put_xattr("/ext", "trusted.overlay.metacopy", 4, b"overlay.metacopx");
            f.put_inode("/ext", 32, &[0; 4]);
        };
        "redirect of a file in the image", Some("/ext"), Defect::NotExternal("trusted.overlay.metacopy"), |f| {
            f.put_inode("/ext", 0, &[0]);
            f.put_inode("/ext", 8, &[0; 4]);
        };
    });
    // Other names of overlayfs's are no concern of ours.
    let mut twin = Forge::new();
    twin.put_xattr("/ext", "trusted.overlay.redirect", 4, b"overlay.redirecx");
    twin.put_inode("/ext", 32, &[0; 4]);
    twin.load().unwrap();
}

#[test]
fn digests_of_two_algorithms() {
    let digest = |digit: &str| digit.repeat(64);
    let text = format!(
        "/ 0 40755 2 0 0 0 0.0 - - -\n/a 100 100644 1 0 0 0 0.0 - - {}\n\
         /b 100 100644 1 0 0 0 0.0 - - - user.x={}\n",
        digest("1"),
        "x".repeat(31)
    );
    let twin = Forge::of(&text);
    twin.load().unwrap();
    let mut forged = Forge::of(&text);
    // The room of the other attribute and the empty record is enough for a SHA-512 record.
    let at = forged.xattr("/b", "trusted.overlay.metacopy");
    let mut entry = vec![16, 4, 68, 0];
    entry.extend(b"overlay.metacopy");
    entry.extend([0, 68, 0, 2]);
    entry.extend([7; 64]);
    let inode = forged.inode("/b");
    let area = 12 + 4 * (u64::from(inode.record().xattr_icount) - 1);
    let end = inode.offset() + 32 + area;
    assert!(end - at < entry.len() as u64, "the entry is longer, so the inode gets more attributes");
    forged.put_inode("/b", 32, &[0; 4]);
    forged.put_inode("/b", 2, &((at - inode.offset() - 32 - 12 + entry.len() as u64) as u16 / 4 + 1).to_le_bytes());
    // What follows is overwritten: the chunk pointer, and then zeros up to the next inode or beyond.
    entry.extend([0xff; 4]);
    forged.put(at, &entry);
    let error = forged.load().unwrap_err();
    assert!(matches!(error.defect, Defect::Algorithm { .. }), "{error}");
}

#[test]
fn attributes_of_more_than_a_tree_takes() {
    // Shared, they are only references.
    let value = "v".repeat(10_000);
    let line = |name: &str, count: usize| {
        let xattrs: Vec<_> = (0..count).map(|i| format!("user.{i}={value}")).collect();
        format!("/{name} 0 100644 1 0 0 0 0.0 - - - {}\n", xattrs.join(" "))
    };
    let root = "/ 0 40755 2 0 0 0 0.0 - - -\n";
    let twin = Forge::of(&[root, &line("a", 3), &line("b", 3)].concat());
    twin.load().unwrap();
    let one = |name: &str| {
        let xattrs: Vec<_> = (3..4).map(|i| format!("user.{i}={value}")).collect();
        format!("/{name} 0 100644 1 0 0 0 0.0 - - - {} user.o={name} user.oo={name}\n", xattrs.join(" "))
    };
    let mut forged = Forge::of(&[root, &line("a", 3), &line("b", 3), &one("c"), &one("d")].concat());
    forged.load().unwrap();
    // The attributes of c are made references to those of a and its own.
    let references = |f: &Forge, path: &str, count: usize| {
        let offset = f.inode(path).offset() as usize + 32 + 12;
        f.bytes[offset..][..4 * count].to_vec()
    };
    let mut all = references(&forged, "/a", 3);
    all.extend(references(&forged, "/c", 1));
    let own = forged.inode("/c").offset() + 32;
    forged.put(own, &[0, 0, 0, 0, 4]);
    forged.put(own + 12, &all);
    forged.put_inode("/c", 2, &5u16.to_le_bytes());
    let error = forged.load().unwrap_err();
    assert!(matches!(error.defect, Defect::Tree(TreeError::Xattr(XattrError::Total { .. }))), "{error}");
}

#[test]
fn a_name_looked_for_is_checked_as_all_are() {
    let mut forged = Forge::new();
    // In the middle of the names, where the search begins: it starts within the dirents.
    forged.put_dirent("/d", "e", 8, &20u16.to_le_bytes());
    let reader = ImageReader::new(&forged.bytes).unwrap();
    let error = reader.lookup(&forged.inode("/d"), b"e").unwrap_err();
    assert!(matches!(error.defect, Defect::NameOutside { start: 20, .. }), "{error}");
    let twin = Forge::new();
    let reader = ImageReader::new(&twin.bytes).unwrap();
    assert!(reader.lookup(&twin.inode("/d"), b"e").unwrap().is_some());
}

#[test]
fn of_two_attributes_with_one_name_the_first_counts() {
    let mut forged = Forge::of(
        "/ 0 40755 2 0 0 0 0.0 - - -\n/f 0 100644 1 0 0 0 0.0 - - - user.aa=first user.ab=second user.b=x\n\
         /g 0 100644 1 0 0 0 0.0 - - - user.b=x\n",
    );
    forged.put_xattr("/f", "user.ab", 4, b"aa");
    let reader = ImageReader::new(&forged.bytes).unwrap();
    let inode = forged.inode("/f");
    assert_eq!(reader.xattr(&inode, b"user.aa").unwrap(), Some(&b"first"[..]));
    let loaded = load(&reader, &[]).unwrap();
    let file = loaded.tree.child(InodeId::ROOT, b"f").unwrap().inode;
    let xattrs: Vec<_> = loaded.tree.inode(file).xattrs().map(|x| (x.name, x.value)).collect();
    assert_eq!(xattrs, [(&b"user.aa"[..], &b"first"[..]), (b"user.b", b"x")]);
    // The dump does not say it twice.
    let mut text = Vec::new();
    loaded.emit_dump(&reader, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains(" user.aa=first user.b=x\n"), "{text}");
}
