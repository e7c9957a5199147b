//! A layer that podman 5.4.2 has pushed.

use std::io::Read as _;
use std::path::Path;

use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::compression::{LayerDecoder, WINDOW_LOG};
use libcomposefs_oci::zstd_chunked::{ChunkData, ChunkedPositions, NoContents};
use serde_json::Value;

use super::{MemoryContents, pull, sections};

struct Golden {
    blob: Vec<u8>,
    positions: ChunkedPositions,
    diff_id: BlobDigest,
}

fn golden() -> Golden {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/zstd-chunked");
    let json = |name| -> Value { serde_json::from_slice(&std::fs::read(data.join(name)).unwrap()).unwrap() };
    let blob = std::fs::read(data.join("layer.blob")).unwrap();
    let manifest = json("manifest.json");
    let get = |key: &str| manifest["layers"][0]["annotations"][key].as_str();
    let positions = ChunkedPositions::from_annotations(get, blob.len() as u64).unwrap().unwrap();
    let diff_id = json("config.json")["rootfs"]["diff_ids"][0].as_str().unwrap().parse().unwrap();
    Golden { blob, positions, diff_id }
}

#[test]
fn the_footer_says_the_same_as_the_annotations() {
    let Golden { blob, positions, .. } = golden();
    let footer = ChunkedPositions::from_footer(&blob[blob.len() - 100..], blob.len() as u64).unwrap();
    assert_eq!(footer, ChunkedPositions { toc_digest: None, ..positions });
}

#[test]
fn an_empty_repository_fetches_all_but_the_zeros() {
    let Golden { blob, positions, diff_id } = golden();
    let import = pull(&blob, &positions, diff_id, &mut NoContents, 64).unwrap();
    let toc = import.layer.toc();
    assert!(toc.chunks().iter().any(|chunk| chunk.data == ChunkData::Zeros));
    assert!(toc.files().iter().any(|file| file.chunks.len() > 1));
    assert!(import.requests <= 3, "{}", import.requests);
    assert_eq!(import.reused, 0);
    // A file of 38 bytes, whose name is not UTF-8, is no object.
    assert_eq!(import.short.len(), 1);
    assert_eq!(BlobDigest::of(&import.short[0].1), import.short[0].0);
}

#[test]
fn what_is_here_is_not_fetched() {
    let Golden { blob, positions, diff_id } = golden();
    let mut archive = Vec::new();
    LayerDecoder::new(&blob[..], WINDOW_LOG).unwrap().read_to_end(&mut archive).unwrap();
    let import = pull(&blob, &positions, diff_id, &mut NoContents, 64).unwrap();
    // All chunks, found in the archive by their order.
    let (mut local, mut at) = (MemoryContents::default(), 0);
    for file in import.layer.toc().files() {
        let len = usize::try_from(file.size).unwrap();
        while BlobDigest::of(&archive[at..at + len]) != file.digest {
            at += 512;
        }
        for chunk in import.layer.toc().chunks_of(file) {
            let len = usize::try_from(chunk.size).unwrap();
            local.add(&archive[at..at + len]);
            at += len;
        }
        at = at.next_multiple_of(512);
    }
    let again = pull(&blob, &positions, diff_id, &mut local, 64).unwrap();
    assert_eq!((again.requests, again.fetched), (1, sections(&positions)));
    assert!(again.reused > 90_000, "{}", again.reused);
    let noise = local.0.values().filter(|content| content.iter().any(|byte| *byte != 0));
    let largest = noise.max_by_key(|content| content.len()).unwrap().clone();
    local.0.remove(&BlobDigest::of(&largest));
    let more = pull(&blob, &positions, diff_id, &mut local, 64).unwrap();
    assert!(more.requests == 2 && more.fetched > again.fetched, "{} {}", more.requests, more.fetched);
}
