//! Whole bundles for a repository that holds an image: a bundle that is taken in gives images that can be read, one
//! that is refused publishes nothing, and the image that was there before stays.
#![no_main]

use std::num::NonZeroUsize;
use std::path::Path;

use composefs_fuzz::{Budget, KEPT, Linear, repository, scratch};
use libcomposefs_image::{Algorithm, verity};
use libcomposefs_repo::bundle::{ImportedBundle, Record, RecordReader};
use libcomposefs_repo::{ImageName, ImportOptions, ObjectSource, Repository};
use libfuzzer_sys::fuzz_target;

// A buffer for each thread that hashes, whatever the input is.
static BUDGET: Budget =
    Budget::new("import", Linear { base: 4 << 20, per_byte: 100 }, Linear { base: 100_000_000, per_byte: 5_000 });

fuzz_target!(|bytes: &[u8]| {
    let Ok(reader) = RecordReader::new(bytes) else { return };
    let algorithm = reader.algorithm();
    import(algorithm, bytes);
    if let Some(mended) = mend(bytes) {
        import(algorithm, &mended);
    }
});

fn import(algorithm: Algorithm, bytes: &[u8]) {
    let scratch = scratch();
    let (repository, kept) = repository(&scratch.path().join("repo"), algorithm);
    let before = images(&repository);
    let options =
        ImportOptions { objects: ObjectSource::None, rewrite: true, threads: NonZeroUsize::MIN, progress: &|_| {} };
    let result =
        BUDGET.check(bytes.len(), || repository.import_bundle(bytes, Path::new("bundle"), &|_, names| names, &options));
    match result {
        Ok(ImportedBundle { images, .. }) => {
            for image in images {
                repository.tree_of_image(&image.digest).expect("what was taken in is read");
            }
        }
        Err(_) => assert_eq!(images(&repository), before, "a bundle that is refused changes images or names"),
    }
    repository.tree_of_image(&kept).expect("the image from before stays");
}

/// The images and names, as text.
fn images(repository: &Repository) -> String {
    let images = repository.images().expect("the repository is sound");
    assert!(images.broken.is_empty() && images.dangling.is_empty());
    repository.resolve(&ImageName::Ref(KEPT.parse().expect("a right name"))).expect("the name from before stays");
    format!("{:?}", images.images)
}

/// The bundle with right digests and a right end, as no fuzzer finds a digest; `None` if there is nothing to mend.
fn mend(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut reader = RecordReader::new(bytes).ok()?;
    let (algorithm, mut mended, mut records) = (reader.algorithm(), Vec::new(), 0_u64);
    loop {
        let start = usize::try_from(reader.offset()).ok()?;
        let Ok(Some(record)) = reader.next_record() else { break };
        let at = usize::try_from(reader.offset()).ok()?;
        let (Record::Object { len, .. } | Record::Image { len, .. } | Record::Oci { len, .. }) = record;
        let content = bytes.get(at..at.checked_add(usize::try_from(len).ok()?)?)?;
        std::io::copy(&mut std::io::Read::by_ref(&mut reader), &mut std::io::sink()).ok()?;
        if mended.is_empty() {
            mended.extend_from_slice(&bytes[..start]);
        }
        if matches!(record, Record::Oci { .. }) {
            mended.extend_from_slice(&bytes[start..at]);
        } else {
            let digest = verity::digest(algorithm, content);
            mended.push(bytes[start]);
            mended.extend_from_slice(digest.as_bytes());
            mended.extend_from_slice(&bytes[start + 1 + digest.as_bytes().len()..at]);
        }
        mended.extend_from_slice(content);
        records += 1;
    }
    mended.push(b'E');
    mended.extend_from_slice(&records.to_le_bytes());
    (records > 0 && mended != bytes).then_some(mended)
}
