//! The report about a disk.

use libcomposefs_disk::DiskReport;
use serde_json::json;

use crate::output;

/// Prints what the disk has.
pub(super) fn print(report: &DiskReport, is_json: bool) {
    if is_json {
        output::json(&as_json(report));
        return;
    }
    // One line, for scripts: the word for the kernel command line, and the partition of the root.
    let [_, root] = &report.partitions;
    out!("composefs={} root=PARTUUID={} rw", report.digest.to_hex(), root.id);
}

fn as_json(report: &DiskReport) -> serde_json::Value {
    let partitions = report.partitions.iter().map(|partition| {
        json!({
            "name": partition.name,
            "start": partition.start,
            "size": partition.len,
            "type": partition.type_id,
            "partuuid": partition.id,
            "uuid": partition.file_system_id,
        })
    });
    json!({
        "digest": report.digest.to_hex(),
        "algorithm": report.digest.algorithm().name(),
        "size": report.size,
        "seed": report.seed,
        "arch": report.architecture.name(),
        "partitions": partitions.collect::<Vec<_>>(),
        "efi": report.efi_files,
        "objects": report.objects,
        "object_bytes": report.object_bytes,
    })
}
