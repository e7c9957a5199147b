//! Hostile archives of layers: the stream of one that is accepted has exactly its bytes and its entries, whatever the
//! sizes of the pieces in which the archive is read, and entries apply to a tree or are refused.
#![no_main]

use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::sync::Mutex;

use composefs_fuzz::{Budget, Linear};
use libcomposefs_image::verity::Hasher;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_oci::layer::{
    ImageTree, ImportedLayer, LayerReadError, LayerSink, PieceSink, WhiteoutRule, XattrFilter, apply_stream,
    check_stream, import_layer,
};
use libcomposefs_oci::stream::{ContentType, StreamChunk, StreamReader};
use libcomposefs_oci::tar::Limits;
use libcomposefs_oci::{BlobDigest, BlobHasher};
use libcomposefs_store::Error;
use libfuzzer_sys::fuzz_target;

const ALGORITHM: Algorithm = Algorithm::Sha256;
/// Longest archive, and largest sum of expanded sparse files, in bytes. Expanded zeros take time, not memory.
const SIZE_MAX: u64 = 1 << 20;

// The buffer of the archive, the longest extension header and the state of the compressor.
static IMPORT: Budget =
    Budget::new("archive", Linear { base: 2 << 20, per_byte: 16 }, Linear { base: 50_000_000, per_byte: 5_000 });
// A name is a directory for each two of its bytes.
static TREE: Budget =
    Budget::new("tree", Linear { base: 512 << 10, per_byte: 256 }, Linear { base: 20_000_000, per_byte: 10_000 });

fuzz_target!(|archive: &[u8]| {
    let contents = KeptContents::default();
    let whole = IMPORT.check(archive.len(), || {
        contents.clear();
        import(archive, archive.len().max(1), &contents)
    });
    let again = import(archive, 1 + archive.len() % 700, &KeptContents::default());
    let layer = match (whole, again) {
        (Ok(whole), Ok(again)) => {
            assert_eq!(whole.diff_id, again.diff_id);
            assert_eq!((whole.entries, &whole.expanded), (again.entries, &again.expanded));
            whole
        }
        (Err(whole), Err(again)) => return assert_eq!(whole.to_string(), again.to_string()),
        (whole, again) => panic!("pieces of other sizes change the result: {whole:?} and {again:?}"),
    };
    assert_eq!(layer.diff_id, BlobDigest::of(archive));
    assert_eq!(layer.size, archive.len() as u64);
    assert!(layer.entries <= archive.len().div_ceil(512) as u64);
    let expanded = layer.expanded;
    let file = layer.stream.finish(ContentType::LAYER, &[]).expect("memory takes all");
    let contents = contents.take();
    assert!(rebuild(&file, &contents) == archive, "the stream has other bytes than the archive");

    let sizes = contents.iter().map(|(digest, content)| (*digest, content.len() as u64)).collect();
    check_stream(&file, ALGORITHM, &sizes).expect("the stream of an accepted archive is right");
    TREE.check(archive.len(), || {
        let tree = ImageTree::new(ALGORITHM, XattrFilter::User, WhiteoutRule::InOrder);
        let mut tree = tree.expect("a valid algorithm");
        match apply_stream(&mut tree, &file, ALGORITHM, &mut &expanded) {
            Ok(()) => drop(tree.finish()),
            Err(LayerReadError::Entry { .. }) => {}
            Err(error) => panic!("the stream of an accepted archive cannot be read: {error}"),
        }
    });
});

fn import(archive: &[u8], piece: usize, sink: &KeptContents) -> Result<ImportedLayer, LayerReadError> {
    import_layer(&mut PiecesOf { archive, piece, is_interrupted: false }, sink, Limits::default(), SIZE_MAX)
}

fn rebuild(file: &[u8], contents: &HashMap<Digest, Vec<u8>>) -> Vec<u8> {
    let mut stream = StreamReader::new(file, ALGORITHM).expect("what was written is read");
    let (mut bytes, mut hasher) = (Vec::new(), BlobHasher::default());
    while let Some(chunk) = stream.next().expect("what was written is read") {
        let start = bytes.len();
        match chunk {
            StreamChunk::Object(digest) => bytes.extend_from_slice(&contents[&digest]),
            StreamChunk::Inline(len) => {
                bytes.resize(start + len as usize, 0);
                stream.read_inline(&mut bytes[start..]).expect("what was written is read");
            }
        }
        hasher.update(&bytes[start..]);
    }
    assert_eq!((stream.size(), hasher.finish()), (bytes.len() as u64, BlobDigest::of(&bytes)));
    bytes
}

/// Gives an archive in pieces, and is interrupted before each.
struct PiecesOf<'a> {
    archive: &'a [u8],
    piece: usize,
    is_interrupted: bool,
}

impl Read for PiecesOf<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.is_interrupted = !self.is_interrupted;
        if self.is_interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = self.piece.min(buffer.len());
        self.archive.read(&mut buffer[..len])
    }
}

/// Keeps the contents that are stored, except those with holes: they are expanded sparse files.
#[derive(Default)]
struct KeptContents(Mutex<HashMap<Digest, Vec<u8>>>);

impl KeptContents {
    fn clear(&self) {
        self.0.lock().expect("no thread has failed").clear();
    }

    fn take(&self) -> HashMap<Digest, Vec<u8>> {
        std::mem::take(&mut self.0.lock().expect("no thread has failed"))
    }
}

struct ContentPieces {
    hasher: Hasher,
    bytes: Option<Vec<u8>>,
}

impl PieceSink for ContentPieces {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        if let Some(kept) = &mut self.bytes {
            kept.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn zeros(&mut self, len: u64) {
        self.hasher.update_zeros(len);
        if len > 0 {
            self.bytes = None;
        }
    }
}

impl LayerSink for KeptContents {
    fn algorithm(&self) -> Algorithm {
        ALGORITHM
    }

    fn put(&self, size: u64, content: &mut dyn BufRead) -> Result<Digest, Error> {
        self.put_pieces(&mut |sink| {
            let mut left = size;
            while left > 0 {
                let piece = content.fill_buf()?;
                if piece.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let len = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                sink.bytes(&piece[..len])?;
                content.consume(len);
                left -= len as u64;
            }
            Ok(())
        })
    }

    fn put_pieces(&self, write: &mut dyn FnMut(&mut dyn PieceSink) -> io::Result<()>) -> Result<Digest, Error> {
        let mut pieces = ContentPieces { hasher: Hasher::new(ALGORITHM), bytes: Some(Vec::new()) };
        write(&mut pieces)?;
        let digest = pieces.hasher.finish();
        if let Some(bytes) = pieces.bytes {
            self.0.lock().expect("no thread has failed").insert(digest, bytes);
        }
        Ok(digest)
    }
}
