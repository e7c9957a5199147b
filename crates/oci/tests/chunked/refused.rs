//! Blobs that must be pulled whole.

use libcomposefs_image::Algorithm;
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::layer::HashOnly;
use libcomposefs_oci::tar_split::Origins;
use libcomposefs_oci::zstd_chunked::{
    ChunkedError, ChunkedLimits, ChunkedSource, FileRanges, NoContents, NotPartial, import_chunked,
};

use super::writer::{self, WrittenFile, WrittenLayer};
use super::{MemoryContents, file, pull};

fn files() -> Vec<WrittenFile> {
    let noise = |seed: u8, len: usize| (0..len).map(|i| (i * i / 7) as u8 ^ seed).collect::<Vec<u8>>();
    vec![
        ("one".into(), vec![noise(1, 3000)]),
        ("empty".into(), vec![]),
        ("chunks".into(), vec![noise(2, 5000), vec![0; 4000], noise(3, 100)]),
        ("same".into(), vec![noise(1, 3000)]),
        ("last".into(), vec![noise(4, 70)]),
    ]
}

fn refused(layer: &WrittenLayer) -> NotPartial {
    let positions = match layer.positions() {
        Ok(positions) => positions.expect("annotations"),
        Err(error) => return error,
    };
    match pull(&layer.blob, &positions, layer.diff_id, &mut NoContents, 64).map(|_| ()) {
        Err(ChunkedError::NotPartial(reason)) => {
            let text = ChunkedError::NotPartial(reason).to_string();
            assert!(text.ends_with("pull the whole blob instead"), "{text}");
            match pull(&layer.blob, &positions, layer.diff_id, &mut NoContents, 1) {
                Err(ChunkedError::NotPartial(reason)) => reason,
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_layer_is_pulled_as_it_was_written() {
    let layer = writer::write(&files());
    let positions = layer.positions().unwrap().unwrap();
    let import = pull(&layer.blob, &positions, layer.diff_id, &mut NoContents, 64).unwrap();
    assert_eq!(import.imported.size, layer.archive.len() as u64);
    assert_eq!(import.imported.entries, 5);
}

#[test]
fn repeated_chunks_are_fetched_once() {
    let noise: Vec<u8> = (0..50_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect();
    let once = writer::write(&[("a".into(), vec![noise.clone()])]);
    let many: Vec<WrittenFile> = (0..9).map(|i| (format!("{i}"), vec![noise.clone()])).collect();
    let many = writer::write(&many);
    let fetched = |layer: &WrittenLayer| {
        let positions = layer.positions().unwrap().unwrap();
        pull(&layer.blob, &positions, layer.diff_id, &mut NoContents, 64).unwrap().fetched
    };
    let (one, nine) = (fetched(&once), fetched(&many));
    assert!(one > 170_000 && nine < one + 2000, "{one} {nine}");
}

#[test]
fn missing_trust_is_refused() {
    let layer = writer::write(&files());
    let positions = layer.positions().unwrap().unwrap();
    let limits = ChunkedLimits::default();
    let no_id = ChunkedSource { positions: &positions, diff_id: None, limits };
    let mut blob = FileRanges::new(file(&layer.blob), 64);
    let sink = HashOnly(Algorithm::Sha256);
    let result = import_chunked(&no_id, &mut blob, &mut NoContents, &sink, &Origins::default(), file(b""));
    assert!(matches!(result, Err(ChunkedError::NotPartial(NotPartial::NoDiffId))));
    assert_eq!(blob.requests, 0);

    let mut without = writer::write(&files());
    without.annotations.retain(|key, _| !key.contains("tarsplit"));
    assert!(matches!(refused(&without), NotPartial::NoTarSplit));
    let without = writer::write_changed(&files(), |toc| {
        toc.as_object_mut().unwrap().remove("tarSplitDigest");
    });
    assert!(matches!(refused(&without), NotPartial::NoTarSplitDigest));
}

#[test]
fn another_diff_id_is_refused() {
    let mut layer = writer::write(&files());
    layer.diff_id = BlobDigest::of(b"another");
    assert!(matches!(refused(&layer), NotPartial::DiffId { .. }));
}

#[test]
fn a_table_that_contradicts_the_archive_is_refused() {
    for (name, change) in [
        ("size", (|toc| toc["entries"][0]["size"] = 2999.into()) as fn(&mut serde_json::Value)),
        ("order", |toc| toc["entries"].as_array_mut().unwrap().swap(0, 1)),
        ("a file less", |toc| toc["entries"].as_array_mut().unwrap().truncate(5)),
        ("digest", |toc| toc["entries"][0]["digest"] = BlobDigest::of(b"x").to_string().into()),
        ("chunk digest", |toc| toc["entries"][2]["chunkDigest"] = BlobDigest::of(b"x").to_string().into()),
        ("file of chunks", |toc| toc["entries"][2]["digest"] = BlobDigest::of(b"x").to_string().into()),
        ("offset", |toc| toc["entries"][0]["offset"] = 1.into()),
        ("outside", |toc| toc["entries"][6]["endOffset"] = 1_000_000.into()),
        ("in the TOC", |toc| {
            let end = toc["entries"][6]["endOffset"].as_u64().unwrap();
            toc["entries"][6]["endOffset"] = (end + 1000).into();
        }),
        ("zeros", |toc| toc["entries"][4]["chunkType"] = "zeros".into()),
        ("version", |toc| toc["version"] = 2.into()),
    ] {
        let layer = writer::write_changed(&files(), change);
        // The order of a file without content does not matter.
        if name == "order" {
            let positions = layer.positions().unwrap().unwrap();
            assert!(pull(&layer.blob, &positions, layer.diff_id, &mut NoContents, 64).is_ok());
        } else {
            let reason = refused(&layer);
            println!("{name}: {reason}");
        }
    }
}

#[test]
fn every_changed_byte_of_the_blob_is_noticed() {
    let layer = writer::write(&files());
    let positions = layer.positions().unwrap().unwrap();
    let mut local = MemoryContents::default();
    let (mut refused, mut unread) = (0, 0);
    for at in (0..layer.blob.len()).step_by(7) {
        let mut blob = layer.blob.clone();
        blob[at] ^= 0x10;
        match pull(&blob, &positions, layer.diff_id, &mut local, 64) {
            Ok(import) => {
                // Not fetched, or without effect: the archive is the same.
                assert_eq!(import.imported.diff_id, layer.diff_id);
                unread += 1;
            }
            Err(ChunkedError::NotPartial(_)) => refused += 1,
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(refused > 300 && unread > 20, "{refused} {unread}");
}

#[test]
fn a_wrong_content_of_the_repository_is_noticed() {
    let layer = writer::write(&files());
    let positions = layer.positions().unwrap().unwrap();
    let mut local = MemoryContents::default();
    local.add(&files()[0].1[0]);
    assert!(pull(&layer.blob, &positions, layer.diff_id, &mut local, 64).unwrap().reused == 6000);
    local.0.values_mut().for_each(|content| content[0] ^= 1);
    let result = pull(&layer.blob, &positions, layer.diff_id, &mut local, 64);
    assert!(matches!(result, Err(ChunkedError::NotPartial(NotPartial::TarSplit(_)))), "{result:?}");
}
