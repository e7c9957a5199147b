//! Layers and streams that are made to mislead: each is refused, and its honest twin is accepted.

use std::collections::HashMap;

use libcomposefs_image::{Algorithm, Digest, verity};
use libcomposefs_oci::layer::{
    FileData, HashOnly, ImageTree, LayerReadError, WhiteoutRule, XattrFilter, apply_stream, check_stream, import_layer,
};
use libcomposefs_oci::stream::{ContentType, StreamWriter};
use libcomposefs_oci::tar::Limits;

const ALGORITHM: Algorithm = Algorithm::Sha256;

/// Returns a header block.
fn header(name: &str, kind: u8, size: usize, mode: u32) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[156] = kind;
    block[257..263].copy_from_slice(b"ustar\0");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    block
}

fn padded(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    data.resize(data.len().next_multiple_of(512), 0);
    data
}

/// Returns a PAX header with these records.
fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = String::new();
    for (key, value) in records {
        let length = key.len() + value.len() + 3;
        let digits = (length + 2).to_string().len();
        data.push_str(&format!("{} {key}={value}\n", length + digits));
    }
    [header("pax", b'x', data.len(), 0o644), padded(data.as_bytes())].concat()
}

fn import(archive: &[u8], size_max: u64) -> Result<Vec<FileData>, LayerReadError> {
    let imported = import_layer(&mut &archive[..], &HashOnly(ALGORITHM), Limits::default(), size_max)?;
    Ok(imported.expanded.into_values().collect())
}

/// A sparse file that is one hole of this size.
fn hole(size: u64) -> Vec<u8> {
    let size = size.to_string();
    let map = format!("{size},0");
    let records = [("GNU.sparse.size", size.as_str()), ("GNU.sparse.map", &map)];
    [pax(&records), header("hole", b'0', 0, 0o644), vec![0; 1024]].concat()
}

#[test]
fn a_file_that_is_one_hole_is_expanded() {
    let expected = FileData::Object(verity::digest(ALGORITHM, &vec![0; 1 << 20]), 1 << 20);
    assert_eq!(import(&hole(1 << 20), 1 << 30).unwrap(), [expected]);
    assert_eq!(import(&hole(10), 1 << 30).unwrap(), [FileData::Inline(vec![0; 10])]);
}

#[test]
fn the_expanded_size_of_sparse_files_counts() {
    let two = [&hole(600)[..hole(600).len() - 1024], &hole(600)].concat();
    assert!(matches!(import(&two, 5000), Ok(files) if files.len() == 2));
    let large = hole(1 << 44);
    assert!(matches!(import(&large, 1 << 30), Err(LayerReadError::TooLarge(_))));
    let two = [&hole(5000)[..hole(5000).len() - 1024], &hole(5000)].concat();
    assert!(matches!(import(&two, 9999), Err(LayerReadError::TooLarge(_))));
    assert!(import(&two, 10_000).is_ok());
}

/// The content of the stream below is the archive, and so its diff ID is right. But the chunk that the header of the
/// first file is followed by is the content of the second.
#[test]
fn a_stream_whose_chunks_are_not_those_of_the_archive_is_refused() {
    let (first, second) = (vec![b'a'; 512], vec![b'b'; 1024]);
    let sizes: HashMap<Digest, u64> =
        [&first, &second].map(|content| (verity::digest(ALGORITHM, content), content.len() as u64)).into();
    let [head, next, end] =
        [header("usr/sudo", b'0', 512, 0o4755), header("usr/bash", b'0', 1024, 0o755), vec![0; 1024]];
    let usr = header("usr/", b'5', 0, 0o755);
    let object = |content: &Vec<u8>| verity::digest(ALGORITHM, content);

    let mut honest = StreamWriter::new(ALGORITHM).unwrap();
    honest.inline(&[&usr[..], &head].concat()).unwrap();
    honest.object(object(&first), 512).unwrap();
    honest.inline(&next).unwrap();
    honest.object(object(&second), 1024).unwrap();
    honest.inline(&end).unwrap();
    let honest = honest.finish(ContentType::LAYER, &[]).unwrap();
    check_stream(&honest, ALGORITHM, &sizes).unwrap();
    let mut tree = ImageTree::new(ALGORITHM, XattrFilter::Allowlist, WhiteoutRule::InOrder).unwrap();
    apply_stream(&mut tree, &honest, ALGORITHM, &mut &HashMap::new()).unwrap();

    let mut forged = StreamWriter::new(ALGORITHM).unwrap();
    forged.inline(&[&usr[..], &head, &first, &next].concat()).unwrap();
    forged.object(object(&second), 1024).unwrap();
    forged.inline(&end).unwrap();
    let forged = forged.finish(ContentType::LAYER, &[]).unwrap();
    assert!(check_stream(&forged, ALGORITHM, &sizes).is_err());
    let mut tree = ImageTree::new(ALGORITHM, XattrFilter::Allowlist, WhiteoutRule::InOrder).unwrap();
    assert!(apply_stream(&mut tree, &forged, ALGORITHM, &mut &HashMap::new()).is_err());

    // An object of another size than the header says: the rest of the archive would be read in another way.
    let mut longer = StreamWriter::new(ALGORITHM).unwrap();
    longer.inline(&[&usr[..], &head].concat()).unwrap();
    longer.object(object(&second), 1024).unwrap();
    longer.inline(&end).unwrap();
    let longer = longer.finish(ContentType::LAYER, &[]).unwrap();
    assert!(check_stream(&longer, ALGORITHM, &sizes).is_err());
}
