//! Images in the store of podman.

mod locks;
mod recorded;

use std::path::Path;
use std::process::Command;

use libcomposefs_image::Algorithm;
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::containers_storage::{ContainersStorage, StorageError, import_storage_layer};
use libcomposefs_oci::layer::{HashOnly, ImportedLayer, LayerSink};
use libcomposefs_oci::tar::Limits;
use libcomposefs_oci::tar_split::{OriginSink, Origins};
use libcomposefs_store::Batch;
use serde_json::Value;

fn open(root: &Path) -> Result<ContainersStorage, StorageError> {
    ContainersStorage::open(&[root], || false)
}

/// Imports all layers of an image.
fn import(
    storage: &ContainersStorage,
    name: &str,
    sink: &dyn LayerSink,
    origins: &Origins<'_>,
) -> Result<Vec<ImportedLayer>, StorageError> {
    let image = storage.find(name)?;
    let config: Value = serde_json::from_slice(&storage.blobs(image)?.config).unwrap();
    let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
    let layers = storage.layers(image)?;
    assert_eq!(layers.len(), diff_ids.len());
    let one = |(layer, diff_id): (_, &Value)| {
        let diff_id: BlobDigest = diff_id.as_str().unwrap().parse().unwrap();
        import_storage_layer(storage, layer, diff_id, sink, origins, Limits::default(), u64::MAX)
    };
    layers.into_iter().zip(diff_ids).map(one).collect()
}

fn hash(storage: &ContainersStorage, name: &str) -> Result<Vec<ImportedLayer>, StorageError> {
    import(storage, name, &HashOnly(Algorithm::Sha256), &Origins::default())
}

fn store(storage: &ContainersStorage, name: &str, batch: &Batch<'_>) -> Result<Vec<ImportedLayer>, StorageError> {
    let origins = Origins::stored_in(batch);
    import(storage, name, &OriginSink::new(batch, &origins), &origins)
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
