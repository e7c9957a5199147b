//! A writer of FAT32 file systems that hold the files of a boot loader: each file and directory in one run of clusters.
//!
//! The crate `fatfs` (0.3.6, the last release) gives `.` and `..` long names, which `fsck.fat` takes for damage. Here
//! every byte is written once, so that new files stay sparse.

use crate::error::DiskError;
use crate::target::DiskTarget;

const SECTOR: u64 = 512;
const CLUSTER: u64 = 4096;
/// Sectors before the first table, as mkfs.fat has it.
const RESERVED: u64 = 32;
/// Fewer clusters would be FAT16.
const CLUSTERS_MIN: u64 = 65525;
const CLUSTERS_MAX: u64 = 0x0fff_fff0;
/// The first cluster: of the root directory.
const ROOT: u32 = 2;
const ENTRY: usize = 32;
const END_OF_CHAIN: u32 = 0x0fff_ffff;
/// Letters of a long name in one entry, and their places.
const LETTERS: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
/// 1 January 1980, the first day of FAT.
const DATE: u16 = 0x21;
const STEP: &str = "the EFI system partition";

const LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
const FILE: u8 = 0x20;

/// Entries of a directory.
#[derive(Debug, Default)]
pub(crate) struct FatDirectory {
    bytes: Vec<u8>,
}

impl FatDirectory {
    /// Begins a directory below another one. The first cluster of the root is called 0 there.
    pub(crate) fn below(parent: u32, own: u32) -> Self {
        let mut directory = Self::default();
        directory.push_short(*b".          ", DIRECTORY, own, 0);
        directory.push_short(*b"..         ", DIRECTORY, if parent == ROOT { 0 } else { parent }, 0);
        directory
    }

    pub(crate) fn push_label(&mut self, label: [u8; 11]) {
        self.push_short(label, LABEL, 0, 0);
    }

    pub(crate) fn push_directory(&mut self, name: &str, first: u32) {
        self.push(name, 0, DIRECTORY, first, 0);
    }

    /// Adds a file. `number` makes the short name of a name that is too long for one.
    pub(crate) fn push_file(&mut self, name: &str, number: usize, first: u32, size: u32) {
        self.push(name, number, FILE, first, size);
    }

    fn push(&mut self, name: &str, number: usize, attributes: u8, first: u32, size: u32) {
        let short = short_name(name);
        let stored = short.unwrap_or_else(|| numbered_name(name, number));
        if short.is_none() {
            self.push_long(name, checksum(&stored));
        }
        self.push_short(stored, attributes, first, size);
    }

    /// The parts of a long name, the last part first.
    fn push_long(&mut self, name: &str, checksum: u8) {
        let mut letters: Vec<u16> = name.encode_utf16().collect();
        let parts = letters.len().div_ceil(LETTERS.len());
        if !letters.len().is_multiple_of(LETTERS.len()) {
            letters.push(0);
        }
        letters.resize(parts * LETTERS.len(), u16::MAX);
        for (index, part) in letters.chunks_exact(LETTERS.len()).enumerate().rev() {
            let mut entry = [0; ENTRY];
            let last = if index + 1 == parts { 0x40 } else { 0 };
            entry[0] = last | (index + 1) as u8;
            entry[11] = 0x0f;
            entry[13] = checksum;
            for (at, letter) in LETTERS.into_iter().zip(part) {
                entry[at..at + 2].copy_from_slice(&letter.to_le_bytes());
            }
            self.bytes.extend_from_slice(&entry);
        }
    }

    fn push_short(&mut self, name: [u8; 11], attributes: u8, first: u32, size: u32) {
        let mut entry = [0; ENTRY];
        entry[..11].copy_from_slice(&name);
        entry[11] = attributes;
        for at in [16, 18, 24] {
            entry[at..at + 2].copy_from_slice(&DATE.to_le_bytes());
        }
        entry[20..22].copy_from_slice(&first.to_le_bytes()[2..]);
        entry[26..28].copy_from_slice(&first.to_le_bytes()[..2]);
        entry[28..].copy_from_slice(&size.to_le_bytes());
        self.bytes.extend_from_slice(&entry);
    }
}

/// Returns the most bytes that a directory with these names takes.
pub(crate) fn directory_len<'n>(names: impl Iterator<Item = &'n str>) -> u64 {
    let entries = names.map(|name| 1 + name.len().div_ceil(LETTERS.len())).sum::<usize>();
    ((entries + 2) * ENTRY) as u64
}

/// Returns the name in the form of 8 and 3 letters, if it is one: ASCII capitals and digits.
fn short_name(name: &str) -> Option<[u8; 11]> {
    let (stem, end) = name.split_once('.').unwrap_or((name, ""));
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let fits = (1..=8).contains(&stem.len()) && end.len() <= 3 && is_plain(stem) && is_plain(end);
    fits.then(|| padded(stem, end))
}

/// Returns a short name for a file that has a long one.
fn numbered_name(name: &str, number: usize) -> [u8; 11] {
    if number == 0 {
        return padded(&name.to_ascii_uppercase()[..name.len().min(8)], "");
    }
    padded(&format!("UKI{number:05}"), "EFI")
}

fn padded(stem: &str, end: &str) -> [u8; 11] {
    let mut padded = *b"           ";
    padded[..stem.len()].copy_from_slice(stem.as_bytes());
    padded[8..8 + end.len()].copy_from_slice(end.as_bytes());
    padded
}

fn checksum(name: &[u8; 11]) -> u8 {
    name.iter().fold(0_u8, |sum, &byte| sum.rotate_right(1).wrapping_add(byte))
}

/// A file system in the making.
#[derive(Debug)]
pub(crate) struct FatWriter<'t> {
    target: DiskTarget<'t>,
    len: u64,
    clusters: u64,
    table_sectors: u64,
    /// The table, as far as clusters are used.
    table: Vec<u32>,
}

impl<'t> FatWriter<'t> {
    /// Begins a file system of `len` bytes.
    pub(crate) fn new(target: DiskTarget<'t>, len: u64) -> Result<Self, DiskError> {
        let sectors = len / SECTOR;
        let most = sectors.saturating_sub(RESERVED) * SECTOR / CLUSTER;
        let table_sectors = ((most + 2) * 4).div_ceil(SECTOR);
        let clusters = sectors.saturating_sub(RESERVED + 2 * table_sectors) * SECTOR / CLUSTER;
        if !(CLUSTERS_MIN..=CLUSTERS_MAX).contains(&clusters) || u32::try_from(sectors).is_err() {
            return Err(DiskError::TooLarge { bytes: len });
        }
        Ok(Self { target, len, clusters, table_sectors, table: vec![0x0fff_fff8, END_OF_CHAIN] })
    }

    /// Reserves clusters for `len` bytes and returns the first.
    pub(crate) fn reserve(&mut self, len: u64) -> Result<u32, DiskError> {
        let (first, count) = (self.table.len() as u32, len.div_ceil(CLUSTER).max(1));
        if u64::from(first) + count > self.clusters + 2 {
            return Err(DiskError::TooLarge { bytes: len });
        }
        let end = first + count as u32;
        self.table.extend(first + 1..end);
        self.table.push(END_OF_CHAIN);
        Ok(first)
    }

    fn data_start(&self) -> u64 {
        (RESERVED + 2 * self.table_sectors) * SECTOR
    }

    /// Writes a part of a file or directory that begins at a cluster.
    pub(crate) fn write(&self, first: u32, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let at = self.data_start() + u64::from(first - ROOT) * CLUSTER + offset;
        self.target.write(at, bytes).map_err(DiskError::write(STEP))
    }

    /// Writes a directory to the `len` bytes that were reserved for it.
    pub(crate) fn write_directory(&self, first: u32, directory: &FatDirectory, len: u64) -> Result<(), DiskError> {
        let mut bytes = directory.bytes.clone();
        bytes.resize((len.div_ceil(CLUSTER).max(1) * CLUSTER) as usize, 0);
        self.write(first, 0, &bytes)
    }

    /// Writes the tables and the boot sectors.
    pub(crate) fn finish(self, volume_id: u32, label: [u8; 11]) -> Result<(), DiskError> {
        let write = |at: u64, bytes: &[u8]| self.target.write(at, bytes).map_err(DiskError::write(STEP));
        self.target.zero(0, self.data_start())?;
        let table: Vec<u8> = self.table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        for copy in 0..2 {
            write((RESERVED + copy * self.table_sectors) * SECTOR, &table)?;
        }
        let mut head = self.boot_sector(volume_id, label).to_vec();
        head.extend_from_slice(&self.information());
        // The copy of both is at sector 6.
        for sector in [0, 6] {
            write(sector * SECTOR, &head)?;
        }
        Ok(())
    }

    fn boot_sector(&self, volume_id: u32, label: [u8; 11]) -> [u8; SECTOR as usize] {
        let mut bytes = [0; SECTOR as usize];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &[0xeb, 0x58, 0x90]);
        put(3, b"mkfs.fat");
        put(11, &(SECTOR as u16).to_le_bytes());
        put(13, &[(CLUSTER / SECTOR) as u8]);
        put(14, &(RESERVED as u16).to_le_bytes());
        put(16, &[2]);
        put(21, &[0xf8]);
        // A geometry of 63 sectors and 255 heads, and the sectors before the partition.
        put(24, &63_u16.to_le_bytes());
        put(26, &255_u16.to_le_bytes());
        put(28, &((self.target.start() / SECTOR) as u32).to_le_bytes());
        put(32, &((self.len / SECTOR) as u32).to_le_bytes());
        put(36, &(self.table_sectors as u32).to_le_bytes());
        put(44, &ROOT.to_le_bytes());
        put(48, &1_u16.to_le_bytes());
        put(50, &6_u16.to_le_bytes());
        put(64, &[0x80, 0, 0x29]);
        put(67, &volume_id.to_le_bytes());
        put(71, &label);
        put(82, b"FAT32   ");
        put(510, &[0x55, 0xaa]);
        bytes
    }

    /// The sector with the number of free clusters.
    fn information(&self) -> [u8; SECTOR as usize] {
        let mut bytes = [0; SECTOR as usize];
        let mut put = |at: usize, field: u32| bytes[at..at + 4].copy_from_slice(&field.to_le_bytes());
        put(0, 0x4161_5252);
        put(484, 0x6141_7272);
        put(488, (self.clusters + 2 - self.table.len() as u64) as u32);
        put(492, self.table.len() as u32);
        put(508, 0xaa55_0000);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_short_form() {
        assert_eq!(short_name("BOOTX64.EFI"), Some(*b"BOOTX64 EFI"));
        assert_eq!(short_name("EFI"), Some(*b"EFI        "));
        for long in ["Linux", "a.EFI", "TOOLONGNAME.EFI", "A.B.C", "A+1.EFI", ""] {
            assert_eq!(short_name(long), None, "{long}");
        }
        assert_eq!(numbered_name("Linux", 0), *b"LINUX      ");
        assert_eq!(numbered_name("composefs-1+3.efi", 7), *b"UKI00007EFI");
    }

    #[test]
    fn long_names_take_an_entry_for_13_letters() {
        for (len, entries) in [(13, 2), (14, 3), (26, 3), (27, 4)] {
            let name = "a".repeat(len);
            let mut directory = FatDirectory::default();
            directory.push_file(&name, 1, 3, 0);
            assert_eq!(directory.bytes.len(), entries * ENTRY, "{len}");
            assert_eq!(directory_len([&*name].into_iter()), ((entries + 2) * ENTRY) as u64);
            assert_eq!(directory.bytes[0], 0x40 | (entries - 1) as u8);
        }
    }
}
