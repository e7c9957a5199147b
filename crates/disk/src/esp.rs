//! The EFI system partition.

use std::os::unix::fs::FileExt as _;

use crate::architecture::Architecture;
use crate::efi_program::EfiProgram;
use crate::error::DiskError;
use crate::fat::{FatDirectory, FatWriter, directory_len};
use crate::target::DiskTarget;

const MIB: u64 = 1 << 20;
/// Length of the partition, unless its programs need more. Updates need room for more kernels.
const DEFAULT_LEN: u64 = 512 * MIB;
/// Longest file of FAT.
const FILE_MAX: u64 = u32::MAX as u64;
const LABEL: [u8; 11] = *b"ESP        ";

/// Returns the files of the partition with their paths. Without a boot loader, the firmware starts the first kernel.
pub(crate) fn files<'p>(
    kernels: &'p [EfiProgram],
    loader: Option<&'p EfiProgram>,
    architecture: Architecture,
) -> Result<Vec<(String, &'p EfiProgram)>, DiskError> {
    let first = loader.or(kernels.first()).map(|program| (format!("EFI/BOOT/{}", architecture.boot_file()), program));
    let mut files: Vec<(String, &EfiProgram)> = first.into_iter().collect();
    for program in kernels {
        let path = format!("EFI/Linux/{}", program.name);
        let wrong = |reason| DiskError::Efi { path: program.path.clone(), reason };
        if files.iter().any(|(other, _)| other.eq_ignore_ascii_case(&path)) {
            return Err(wrong(format!("two files would be {path}")));
        }
        files.push((path, program));
    }
    for (_, program) in &files {
        let wrong = |reason: String| DiskError::Efi { path: program.path.clone(), reason };
        if program.architecture() != architecture {
            return Err(wrong(format!("it is for {}, the disk for {architecture}", program.architecture())));
        }
        if program.size > FILE_MAX {
            return Err(wrong(format!("it has {} bytes, more than FAT can have", program.size)));
        }
    }
    Ok(files)
}

/// Returns the length of the partition: three times that of its files, and not less than the default.
pub(crate) fn partition_len(files: &[(String, &EfiProgram)]) -> u64 {
    let total: u64 = files.iter().map(|(_, program)| program.size).sum();
    (3 * total).max(DEFAULT_LEN).next_multiple_of(MIB)
}

/// Makes the file system with these files. Files have no times, so that the bytes depend on nothing else.
pub(crate) fn write(
    target: &DiskTarget<'_>,
    len: u64,
    volume_id: u32,
    files: &[(String, &EfiProgram)],
) -> Result<(), DiskError> {
    let mut fat = FatWriter::new(target.clone(), len)?;
    let names = |directory: &'static str| {
        files.iter().filter_map(move |(path, program)| Some((path.strip_prefix(directory)?, *program)))
    };
    let mut root = FatDirectory::default();
    let root_at = fat.reserve(0)?;
    let efi_at = fat.reserve(0)?;
    root.push_label(LABEL);
    root.push_directory("EFI", efi_at);
    fat.write_directory(root_at, &root, 0)?;
    let mut efi = FatDirectory::below(root_at, efi_at);
    for (name, prefix) in [("BOOT", "EFI/BOOT/"), ("Linux", "EFI/Linux/")] {
        let directory_len = directory_len(names(prefix).map(|(name, _)| name));
        let at = fat.reserve(directory_len)?;
        efi.push_directory(name, at);
        let mut directory = FatDirectory::below(efi_at, at);
        for (number, (name, program)) in (1..).zip(names(prefix)) {
            let size = u32::try_from(program.size).map_err(|_| DiskError::TooLarge { bytes: program.size })?;
            let first = fat.reserve(program.size)?;
            directory.push_file(name, number, first, size);
            copy(target, &fat, first, program)?;
        }
        fat.write_directory(at, &directory, directory_len)?;
    }
    fat.write_directory(efi_at, &efi, 0)?;
    fat.finish(volume_id, LABEL)
}

fn copy(target: &DiskTarget<'_>, fat: &FatWriter<'_>, first: u32, program: &EfiProgram) -> Result<(), DiskError> {
    let mut buffer = vec![0; MIB as usize];
    let mut offset = 0;
    while offset < program.size {
        target.proceed()?;
        let piece = &mut buffer[..(program.size - offset).min(MIB) as usize];
        let read = |source| DiskError::Read { path: program.path.clone(), source };
        program.file.read_exact_at(piece, offset).map_err(read)?;
        fat.write(first, offset, piece)?;
        offset += piece.len() as u64;
    }
    Ok(())
}
