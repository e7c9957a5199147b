//! A repository into which another program puts files: leases, links, names of images, streams, objects, another
//! `meta.json`. It is listed, checked, collected and repaired, and the image that it holds under a name is there at the
//! end.
//!
//! The pieces of the input: `m` is `meta.json`, `l` a lease, `o` an object, and of a name, a NUL and a target `i` is a
//! link in `images`, `r` one in `images/refs`, `s` one in `streams`, `t` one in `streams/refs`. In objects, leases and
//! targets `%0` to `%9` stand for the digests of the objects so far: in hexadecimal digits in a target (`$0` for the
//! path of the object), as they are in objects and leases.
#![no_main]

use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use composefs_fuzz::{Budget, KEPT, Linear, Piece, pieces, repository, scratch};
use libcomposefs_content::NoProgress;
use libcomposefs_image::{Algorithm, Digest, verity};
use libcomposefs_repo::fsck::FsckOptions;
use libcomposefs_repo::{GcOptions, ImageName, Repository};
use libfuzzer_sys::fuzz_target;

// Each reader has buffers that do not depend on the input.
static BUDGET: Budget =
    Budget::new("repository", Linear { base: 4 << 20, per_byte: 200 }, Linear { base: 200_000_000, per_byte: 50_000 });
const ALGORITHM: Algorithm = Algorithm::Sha256;
/// Each piece makes a file or two.
const MOST_PIECES: usize = 64;

fuzz_target!(|input: &[u8]| {
    let scratch = scratch();
    let path = scratch.path().join("repo");
    let (_, kept) = repository(&path, ALGORITHM);
    let mut objects = vec![kept];
    let mut has_other_meta = false;
    for piece in pieces(input).take(MOST_PIECES) {
        has_other_meta |= piece.kind == b'm';
        // Names that cannot be made are passed over.
        let _ = put(&path, piece, &mut objects);
    }
    BUDGET.check(input.len(), || {
        let Ok(repository) = Repository::open(&path) else {
            assert!(has_other_meta, "a repository with its own meta.json is opened");
            return;
        };
        use_it(&repository, &objects);
        if !has_other_meta {
            let name = ImageName::Ref(KEPT.parse().expect("a right name"));
            assert_eq!(repository.resolve(&name).ok(), Some(kept), "the name stays");
            let tree = repository.tree_of_image(&kept).expect("the named image stays");
            assert!(repository.objects_are_there(&tree), "the objects of the named image stay");
        }
    });
});

/// All that reads what others put there, and removes what is not needed.
fn use_it(repository: &Repository, objects: &[Digest]) {
    let _ = (repository.refs(), repository.images(), repository.usage());
    for object in objects.iter().take(3) {
        let _ = repository.why(object);
    }
    for (repair, dry_run) in [(false, true), (true, false)] {
        let _ = repository.gc(GcOptions { dry_run, grace: Duration::ZERO });
        let options = FsckOptions { repair, sources: Vec::new(), threads: NonZeroUsize::MIN };
        let _ = repository.fsck(None, &options, &NoProgress);
    }
    let _ = repository.gc(GcOptions { dry_run: false, grace: Duration::ZERO });
}

trait ObjectsOfTree {
    fn objects_are_there(&self, tree: &libcomposefs_image::tree::Tree) -> bool;
}

impl ObjectsOfTree for Repository {
    fn objects_are_there(&self, tree: &libcomposefs_image::tree::Tree) -> bool {
        use libcomposefs_image::tree::Data;
        tree.inodes().all(|inode| match inode.data() {
            Data::Regular { content: None, digest: Some(digest), .. } => {
                self.objects().open_object(&digest).is_ok_and(|object| object.is_some())
            }
            _ => true,
        })
    }
}

fn put(path: &Path, piece: Piece<'_>, objects: &mut Vec<Digest>) -> std::io::Result<()> {
    let raw = |digest: &Digest, _| digest.as_bytes().to_vec();
    let directory = match piece.kind {
        b'm' => return fs::write(path.join("meta.json"), piece.bytes),
        b'l' => {
            fs::create_dir_all(path.join("leases"))?;
            return fs::write(path.join(format!("leases/1-{}", objects.len())), filled(piece.bytes, objects, raw));
        }
        b'o' => {
            let content = filled(piece.bytes, objects, raw);
            let digest = verity::digest(ALGORITHM, &content);
            objects.push(digest);
            let object = path.join("objects").join(digest.object_path());
            fs::create_dir_all(object.parent().unwrap_or(path))?;
            return fs::write(object, content);
        }
        b'i' => path.join("images"),
        b'r' => path.join("images/refs"),
        b's' => path.join("streams"),
        b't' => path.join("streams/refs"),
        _ => return Ok(()),
    };
    let Some((name, target)) = piece.name_and_content() else { return Ok(()) };
    let Some(name) = plain(name) else { return Ok(()) };
    let text = |digest: &Digest, mark| if mark == b'$' { digest.object_path() } else { digest.to_hex() }.into_bytes();
    let link = directory.join(name);
    fs::create_dir_all(link.parent().unwrap_or(path))?;
    symlink(std::ffi::OsStr::from_bytes(&filled(target, objects, text)), link)
}

/// A name below a directory that does not lead out of it.
fn plain(name: &[u8]) -> Option<PathBuf> {
    let path = Path::new(std::ffi::OsStr::from_bytes(name));
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    (is_plain && !name.is_empty()).then(|| path.to_owned())
}

/// The text with digests in place of `%0` and `$0`.
fn filled(text: &[u8], objects: &[Digest], show: impl Fn(&Digest, u8) -> Vec<u8>) -> Vec<u8> {
    let mut filled = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let number = after.first().filter(|_| matches!(byte, b'%' | b'$')).map(|digit| digit.wrapping_sub(b'0'));
        match number.and_then(|number| objects.get(usize::from(number))) {
            Some(digest) => {
                filled.extend_from_slice(&show(digest, byte));
                rest = &after[1..];
            }
            None => {
                filled.push(byte);
                rest = after;
            }
        }
    }
    filled
}
