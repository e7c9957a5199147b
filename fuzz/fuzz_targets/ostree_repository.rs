//! A hostile repository of ostree: its config, a ref, and objects that name each other. A commit becomes an image or an
//! error.
//!
//! The pieces of the input: `c` is the config, `r` the ref, `C` a commit, `T` a dirtree, `M` a dirmeta, `F` a file of
//! an archive. No fuzzer finds a checksum, so 31 bytes `ee` and a number stand for the checksum of the object of that
//! number. Without a ref the last commit is read, without a config the repository is an archive.
#![no_main]

use std::fs;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::Path;

use composefs_fuzz::{Budget, Linear, pieces, scratch};
use flate2::read::DeflateDecoder;
use libcomposefs_content::NoProgress;
use libcomposefs_image::Algorithm;
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_ostree::objects::FileHeader;
use libcomposefs_ostree::{CommitPlan, ContentUse, Error, Id, Payloads, Repo, gather};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha256};

// A small repository may stand for a tree of 16 MiB of names and attributes, and a large one for 32 times its length.
static BUDGET: Budget = Budget::new(
    "ostree_repository",
    Linear { base: 128 << 20, per_byte: 1024 },
    Linear { base: 2_000_000_000, per_byte: 20_000 },
);
const CONFIG: &[u8] = b"[core]\nrepo_version=1\nmode=archive-z2\n";
const MARK: [u8; 31] = [0xee; 31];
/// No content has more bytes.
const MOST_CONTENT: u64 = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let scratch = scratch();
    lay_out(scratch.path(), input).expect("the temporary directory can be written");
    let _ = BUDGET.check(input.len(), || image(scratch.path()));
});

fn image(path: &Path) -> Result<(), Error> {
    let repo = Repo::open(path)?;
    let commit = repo.commit(&repo.resolve("main")?)?;
    let plan = CommitPlan::of(&repo, &commit)?;
    let gathered =
        gather(&repo, plan.contents(), ContentUse::Digest(Algorithm::Sha256), NonZeroUsize::MIN, &NoProgress)?;
    for payloads in [Payloads::Ostree, Payloads::Objects] {
        let tree = plan.tree(&gathered, payloads, Algorithm::Sha256)?;
        if let Ok(image) = Image::plan(&tree, Versions::default()) {
            assert!(!image.is_empty());
        }
    }
    Ok(())
}

fn lay_out(path: &Path, input: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(path.join("objects"))?;
    fs::create_dir_all(path.join("refs/heads"))?;
    fs::write(path.join("config"), CONFIG)?;
    let (mut ids, mut main) = (Vec::new(), None);
    for piece in pieces(input).take(100) {
        let extension = match piece.kind {
            // A config may name another repository, outside of this one.
            b'c' if piece.bytes.windows(6).any(|word| word == b"parent") => continue,
            b'c' => {
                fs::write(path.join("config"), piece.bytes)?;
                continue;
            }
            b'r' => {
                main = Some(piece.bytes.to_vec());
                continue;
            }
            b'C' => "commit",
            b'T' => "dirtree",
            b'M' => "dirmeta",
            b'F' => "filez",
            _ => continue,
        };
        let bytes = with_checksums(piece.bytes, &ids);
        let id: [u8; 32] = match piece.kind {
            b'F' => content_id(&bytes).unwrap_or_default(),
            _ => Sha256::digest(&bytes).into(),
        };
        ids.push(id);
        if piece.kind == b'C' && main.is_none() {
            fs::write(path.join("refs/heads/main"), Id::new(id).to_string())?;
        }
        let object = path.join("objects").join(Id::new(id).path(extension));
        fs::create_dir_all(object.parent().unwrap_or(path))?;
        fs::write(object, bytes)?;
    }
    match main {
        Some(main) => fs::write(path.join("refs/heads/main"), main),
        None => Ok(()),
    }
}

/// The bytes with the checksums of earlier objects.
fn with_checksums(bytes: &[u8], ids: &[[u8; 32]]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(window) = bytes.get_mut(at..at + 32) {
        match ids.get(usize::from(window[31])).filter(|_| window[..31] == MARK) {
            Some(id) => {
                window.copy_from_slice(id);
                at += 32;
            }
            None => at += 1,
        }
    }
    bytes
}

/// The name of a file in an archive: the checksum of its header and its content.
#[expect(clippy::big_endian_bytes, reason = "the numbers of ostree are big-endian")]
fn content_id(bytes: &[u8]) -> Option<[u8; 32]> {
    let len = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    let (header, deflated) = bytes.get(8..)?.split_at_checked(len)?;
    let mut hasher = FileHeader::parse_archived(header).ok()?.0.hasher().ok()?;
    let mut content = Vec::new();
    DeflateDecoder::new(deflated).take(MOST_CONTENT).read_to_end(&mut content).ok()?;
    hasher.update(&content);
    Some(hasher.finalize().into())
}
