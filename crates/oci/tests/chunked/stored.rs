//! Updates in an object store, with the table of contents that are here.

use std::path::Path;
use std::sync::Arc;

use libcomposefs_image::Algorithm;
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::tar_split::{OriginSink, Origins};
use libcomposefs_oci::zstd_chunked::table::{ContentPlace, ContentTable, StoredContents, TABLE_NAME, load, save};
use libcomposefs_oci::zstd_chunked::{ChunkedImport, ChunkedLimits, ChunkedSource, FileRanges, import_chunked};
use libcomposefs_store::{ObjectDir, StorePolicy, Summary, VerifyExisting};
use libcomposefs_testkit::numbers::noise;

use super::writer::{self, WrittenFile, WrittenLayer};
use super::{file, sections};

fn store(dir: &Path) -> ObjectDir {
    let policy = StorePolicy::default().with_verify_existing(VerifyExisting::Contents);
    ObjectDir::create(&dir.join("objects"), Algorithm::Sha256, policy).unwrap()
}

/// Pulls a layer into a store and completes the table.
fn pull(layer: &WrittenLayer, store: &ObjectDir, table: &mut ContentTable) -> (ChunkedImport, Summary) {
    let positions = layer.positions().unwrap().unwrap();
    let source =
        ChunkedSource { positions: &positions, diff_id: Some(layer.diff_id), limits: ChunkedLimits::default() };
    let batch = store.batch();
    let (import, stored) = {
        let origins = Origins::stored_in(&batch);
        let sink = OriginSink::new(&batch, &origins);
        let mut local = StoredContents::new(table, store);
        let mut blob = FileRanges::new(file(&layer.blob), 64);
        let import = import_chunked(&source, &mut blob, &mut local, &sink, &origins, file(b"")).unwrap();
        (import, origins.take_stored())
    };
    let summary = batch.finish().unwrap();
    table.add_layer(&import, &stored);
    (import, summary)
}

fn version(number: u64) -> Vec<WrittenFile> {
    let mut files: Vec<WrittenFile> = (0..50).map(|i| (format!("{i}"), vec![noise(i, 200 + i as usize)])).collect();
    files.push(("large".into(), vec![noise(1000, 3 << 20)]));
    files.push(("tiny".into(), vec![b"tiny".to_vec()]));
    files.push(("chunks".into(), vec![noise(2000, 9000), noise(2001 + number, 9000), vec![0; 5000]]));
    files.push(("new".into(), vec![noise(3000 + number, 300)]));
    files
}

#[test]
fn an_update_fetches_only_what_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut table = ContentTable::new(Algorithm::Sha256);
    let (first, summary) = pull(&writer::write(&version(0)), &store, &mut table);
    assert_eq!((first.reused, summary.new), (0, 53));
    // 53 objects, 2 chunks of one that are not zeros, and a content of 4 bytes.
    assert_eq!(table.len(), 53 + 2 + 1);

    let directory = Arc::new(std::fs::File::open(dir.path()).unwrap().into());
    save(&directory, &table).unwrap();
    let mut table = load(&directory, Algorithm::Sha256).unwrap();
    let layer = writer::write(&version(1));
    let (second, summary) = pull(&layer, &store, &mut table);
    let positions = sections(&layer.positions().unwrap().unwrap());
    assert!(second.fetched < positions + 9000 + 300 + 200, "{} {positions}", second.fetched);
    assert_eq!(summary.new, 2);
    assert_eq!(summary.bytes_written, 23_000 + 300);

    let (third, summary) = pull(&layer, &store, &mut table);
    assert_eq!((third.fetched, third.requests, summary.new), (positions, 1, 0));
}

#[test]
fn a_table_without_its_objects_costs_nothing_but_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(&dir.path().join("1"));
    let mut table = ContentTable::new(Algorithm::Sha256);
    let layer = writer::write(&version(0));
    let (all, _) = pull(&layer, &first, &mut table);

    let second = store(&dir.path().join("2"));
    let (again, summary) = pull(&layer, &second, &mut table.clone());
    assert_eq!((again.reused, summary.new), (4, 53));
    table.retain(&mut |object| second.try_stat(object).is_err());
    assert_eq!(table.len(), 1);
    assert!(again.fetched <= all.fetched);
}

#[test]
fn a_damaged_object_is_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut table = ContentTable::new(Algorithm::Sha256);
    let layer = writer::write(&version(0));
    pull(&layer, &store, &mut table);
    let large = noise(1000, 3 << 20);
    let Some(ContentPlace::Object { object, .. }) = table.get(&BlobDigest::of(&large)) else { panic!() };
    let path = store.path_of(&object);
    // With fs-verity, it cannot be written, only replaced.
    let mut damaged = large.clone();
    damaged[5] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, damaged).unwrap();
    let (again, summary) = pull(&layer, &store, &mut table);
    assert!(again.fetched > large.len() as u64);
    assert_eq!(summary.repaired, [object]);
    assert_eq!(std::fs::read(&path).unwrap(), large);
    let (last, _) = pull(&layer, &store, &mut table);
    assert!(last.requests == 1);
}

#[test]
fn a_damaged_table_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Arc::new(std::fs::File::open(dir.path()).unwrap().into());
    let load = || load(&directory, Algorithm::Sha256).unwrap();
    assert!(load().is_empty());
    let mut table = ContentTable::new(Algorithm::Sha256);
    table.insert(BlobDigest::of(b"a"), ContentPlace::Inline(b"a".to_vec()));
    save(&directory, &table).unwrap();
    assert_eq!(load().len(), 1);
    let path = dir.path().join(TABLE_NAME);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(load().is_empty());
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(load().is_empty());
}
