//! Errors while a layer is stored: each is reported as what it is, and not as damage of the archive.

use std::io::{self, BufRead, Read};

use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_oci::layer::{HashOnly, LayerReadError, LayerSink, PieceSink, import_layer};
use libcomposefs_oci::tar::{Limits, TarError};
use libcomposefs_store::Error;
use rustix::io::Errno;

const ALGORITHM: Algorithm = Algorithm::Sha256;
const DATA: usize = 4096;

fn header(name: &str, kind: u8, size: usize) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[156] = kind;
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    block
}

/// An archive of one sparse file: data, then a hole of the same size.
fn sparse_file() -> Vec<u8> {
    let records = format!("26 GNU.sparse.map=0,{DATA:05}\n25 GNU.sparse.size={:05}\n", 2 * DATA);
    let mut data = records.clone().into_bytes();
    data.resize(512, 0);
    [header("pax", b'x', records.len()), data, header("sparse", b'0', DATA), vec![7; DATA], vec![0; 1024]].concat()
}

/// A store that has room for some bytes in each content.
struct FullSink {
    room: usize,
    /// Whether the limit is that of contents with holes, or of those without.
    fails_expanded: bool,
}

struct FullPieces {
    room: usize,
}

impl PieceSink for FullPieces {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.room = self.room.checked_sub(bytes.len()).ok_or(Errno::NOSPC)?;
        Ok(())
    }

    fn zeros(&mut self, _: u64) {}
}

thread_local! {
    /// The number of contents that are being written: the expanded form of a sparse file is begun first.
    static DEPTH: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl LayerSink for FullSink {
    fn algorithm(&self) -> Algorithm {
        ALGORITHM
    }

    fn put(&self, size: u64, content: &mut dyn BufRead) -> Result<Digest, Error> {
        HashOnly(ALGORITHM).put(size, content)
    }

    fn put_pieces(&self, write: &mut dyn FnMut(&mut dyn PieceSink) -> io::Result<()>) -> Result<Digest, Error> {
        let is_expanded = DEPTH.replace(DEPTH.get() + 1) == 0;
        let room = if is_expanded == self.fails_expanded { self.room } else { usize::MAX };
        let written = write(&mut FullPieces { room });
        DEPTH.set(DEPTH.get() - 1);
        written.map_err(|source| Error::Io { step: "write", path: "objects".into(), source })?;
        HashOnly(ALGORITHM).put(0, &mut io::empty())
    }
}

#[test]
fn a_full_store_is_reported_while_a_sparse_file_is_stored() {
    let archive = sparse_file();
    for fails_expanded in [false, true] {
        let import = |archive: &[u8], room| {
            let sink = FullSink { room, fails_expanded };
            import_layer(&mut &archive[..], &sink, Limits::default(), 1 << 30)
        };
        for room in [0, 100, DATA - 1] {
            let error = import(&archive, room).unwrap_err();
            let LayerReadError::Store(Error::Io { source, .. }) = &error else { panic!("{error:?}") };
            assert_eq!(source.raw_os_error(), Some(Errno::NOSPC.raw_os_error()), "{error}");
        }
        assert_eq!(import(&archive, DATA).unwrap().expanded.len(), 1);
        // An archive that does end within the data is reported as such.
        match import(&archive[..archive.len() - 1024 - 100], DATA).unwrap_err() {
            LayerReadError::Tar { source, .. } => assert_eq!(source, TarError::TruncatedData(100)),
            other => panic!("{other:?}"),
        }
    }
}

/// Is interrupted before each piece.
struct Interrupted<'a> {
    archive: &'a [u8],
    is_interrupted: bool,
}

impl Read for Interrupted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.is_interrupted = !self.is_interrupted;
        if self.is_interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = buffer.len().min(700);
        self.archive.read(&mut buffer[..len])
    }
}

#[test]
fn an_interrupted_read_is_repeated() {
    let archive = sparse_file();
    let sink = HashOnly(ALGORITHM);
    let whole = import_layer(&mut &archive[..], &sink, Limits::default(), 1 << 30).unwrap();
    let mut interrupted = Interrupted { archive: &archive, is_interrupted: false };
    let again = import_layer(&mut interrupted, &sink, Limits::default(), 1 << 30).unwrap();
    assert_eq!((again.diff_id, again.entries), (whole.diff_id, 1));
    assert_eq!(again.expanded, whole.expanded);
}
