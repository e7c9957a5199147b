//! Hostile tables of partial pulls and of the store of podman, each with a reader of its own, chosen by the first byte:
//! `t` for the TOC of a layer, `s` for tar-split data, `f` for a footer, `c` for the table of contents that are here,
//! `i` and `l` for the lists of images and layers.
#![no_main]

use composefs_fuzz::{Budget, Linear};
use libcomposefs_image::Algorithm;
use libcomposefs_oci::containers_storage::{parse_images, parse_layers};
use libcomposefs_oci::tar_split::{TarPiece, TarSplitReader};
use libcomposefs_oci::zstd_chunked::table::ContentTable;
use libcomposefs_oci::zstd_chunked::{ChunkedPositions, Toc};
use libfuzzer_sys::fuzz_target;

const TIME: Linear = Linear { base: 5_000_000, per_byte: 2_000 };

static TOC: Budget = Budget::new("TOC", Linear { base: 64 << 10, per_byte: 16 }, TIME);
static TAR_SPLIT: Budget = Budget::new("tar-split", Linear { base: 64 << 10, per_byte: 16 }, TIME);
static FOOTER: Budget = Budget::new("footer", Linear { base: 16 << 10, per_byte: 0 }, TIME);
static TABLE: Budget = Budget::new("table", Linear { base: 64 << 10, per_byte: 16 }, TIME);
static LISTS: Budget = Budget::new("lists", Linear { base: 64 << 10, per_byte: 64 }, TIME);

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    let (budget, read): (_, fn(&[u8])) = match kind {
        b't' => (&TOC, toc),
        b's' => (&TAR_SPLIT, tar_split),
        b'f' => (&FOOTER, footer),
        b'c' => (&TABLE, table),
        b'i' => (&LISTS, images),
        b'l' => (&LISTS, layers),
        _ => return,
    };
    budget.check(bytes.len(), || read(bytes));
});

fn toc(bytes: &[u8]) {
    let Ok(toc) = Toc::parse(bytes) else { return };
    let mut end = 0;
    for file in toc.files() {
        let chunks = toc.chunks_of(file);
        assert_eq!(chunks.len(), file.chunks.len());
        assert_eq!(chunks.iter().map(|chunk| u128::from(chunk.size)).sum::<u128>(), u128::from(file.size));
        for chunk in chunks {
            assert!(end <= chunk.range.start && chunk.range.start <= chunk.range.end);
            end = chunk.range.end;
        }
    }
    assert_eq!(toc.end(), end);
}

fn tar_split(bytes: &[u8]) {
    for piece in TarSplitReader::new(bytes) {
        match piece {
            Ok(TarPiece::Bytes(piece)) => assert!(piece.len() < bytes.len()),
            Ok(TarPiece::File(file)) => assert!(file.size == 0 || file.crc.is_some()),
            Err(_) => return,
        }
    }
}

fn footer(bytes: &[u8]) {
    if let Ok(positions) = ChunkedPositions::from_footer(bytes, 1 << 40) {
        assert!(positions.range().end <= 1 << 40);
        assert!(positions.range().len() >= positions.toc.range.len() + positions.tar_split.range.len());
    }
}

fn table(bytes: &[u8]) {
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        if let Some(table) = ContentTable::parse(bytes, algorithm) {
            assert!(table.len() <= bytes.len() / 112);
        }
    }
}

fn images(bytes: &[u8]) {
    for image in parse_images(bytes).unwrap_or_default() {
        assert!(!image.id.contains(['/', '.']) && !image.id.is_empty());
    }
}

fn layers(bytes: &[u8]) {
    for layer in parse_layers(bytes).unwrap_or_default() {
        assert!(!layer.id.contains(['/', '.']) && !layer.id.is_empty());
    }
}
