//! The partition table (GPT).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition::Partition;
use gpt::partition_types::{EFI, Type};
use uuid::Uuid;

use crate::architecture::Architecture;
use crate::error::DiskError;
use crate::seed::DiskSeed;

const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;
const STEP: &str = "the partition table";

/// A partition of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskPartition {
    /// Its name in the table.
    pub name: &'static str,
    /// Offset on the disk.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// Identifier of its type.
    pub type_id: String,
    /// Its own identifier, for `root=PARTUUID=`.
    pub id: String,
    /// Identifier of its file system.
    pub file_system_id: String,
}

/// The places of the partitions: the EFI system partition, then the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskLayout {
    pub(crate) size: u64,
    pub(crate) esp_len: u64,
    pub(crate) root_len: u64,
}

impl DiskLayout {
    /// The first MiB has the table, and the last one its copy.
    pub(crate) const ESP_START: u64 = MIB;

    /// Divides a disk of `size` bytes; `None` if nothing is left for the root.
    pub(crate) fn new(size: u64, esp_len: u64) -> Option<Self> {
        let end = (size / MIB).checked_sub(1)? * MIB;
        let root_len = end.checked_sub(Self::ESP_START + esp_len).filter(|len| *len > 0)?;
        Some(Self { size, esp_len, root_len })
    }

    /// Returns the size of a disk whose root has this length.
    pub(crate) fn size_for(esp_len: u64, root_len: u64) -> u64 {
        Self::ESP_START + esp_len + root_len.next_multiple_of(MIB) + MIB
    }

    pub(crate) fn root_start(&self) -> u64 {
        Self::ESP_START + self.esp_len
    }

    /// Returns the partitions with their identifiers.
    pub(crate) fn partitions(&self, seed: &DiskSeed, architecture: Architecture) -> [DiskPartition; 2] {
        let one = |name: &'static str, start, len, kind: Type, file_system_id: String| DiskPartition {
            name,
            start,
            len,
            type_id: kind.guid.to_string().to_lowercase(),
            id: seed.uuid(&format!("partition {name}")).to_string(),
            file_system_id,
        };
        let volume = volume_id(seed);
        let volume = format!("{:04X}-{:04X}", volume >> 16, volume & 0xffff);
        let root = seed.uuid("root file system").to_string();
        [
            one("esp", Self::ESP_START, self.esp_len, EFI, volume),
            one("root", self.root_start(), self.root_len, architecture.root_type(), root),
        ]
    }

    /// Writes the table at both ends of the disk.
    pub(crate) fn write(&self, file: &File, seed: &DiskSeed, architecture: Architecture) -> Result<(), DiskError> {
        let failed =
            |error: &dyn ToString| DiskError::Write { step: STEP, source: io::Error::other(error.to_string()) };
        let mut file = file.try_clone().map_err(DiskError::write(STEP))?;
        let sectors = u32::try_from(self.size / SECTOR - 1).unwrap_or(u32::MAX);
        ProtectiveMBR::with_lb_size(sectors).overwrite_lba0(&mut file).map_err(|error| failed(&error))?;
        let config = GptConfig::new().writable(true).logical_block_size(LogicalBlockSize::Lb512);
        let mut table = config.create_from_device(file, Some(seed.uuid("disk"))).map_err(|error| failed(&error))?;
        let types = [EFI, architecture.root_type()];
        let mut entries = BTreeMap::new();
        for ((number, part), part_type_guid) in (1..).zip(self.partitions(seed, architecture)).zip(types) {
            let part_guid = Uuid::parse_str(&part.id).map_err(|error| failed(&error))?;
            let (first_lba, last_lba) = (part.start / SECTOR, (part.start + part.len) / SECTOR - 1);
            let name = part.name.to_owned();
            entries.insert(number, Partition { part_type_guid, part_guid, first_lba, last_lba, flags: 0, name });
        }
        table.update_partitions(entries).map_err(|error| failed(&error))?;
        table.write().map_err(|error| failed(&error))?;
        Ok(())
    }
}

/// Returns the identifier of the file system of the EFI system partition.
pub(crate) fn volume_id(seed: &DiskSeed) -> u32 {
    let bytes = *seed.uuid("volume").as_bytes();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_gets_what_is_left() {
        let layout = DiskLayout::new(100 * MIB + 5, 10 * MIB).unwrap();
        assert_eq!((layout.root_start(), layout.root_len), (11 * MIB, 88 * MIB));
        assert_eq!(DiskLayout::new(DiskLayout::size_for(MIB, 7), MIB).unwrap().root_len, MIB);
        for small in [0, MIB, 2 * MIB, 3 * MIB - 1] {
            assert_eq!(DiskLayout::new(small, MIB), None);
        }
    }
}
