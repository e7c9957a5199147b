//! A disk from its plan to the last byte.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use libcomposefs_image::Digest;
use libcomposefs_image::tree::Tree;
use libcomposefs_repo::{RefName, Repository};

use crate::architecture::Architecture;
use crate::efi_program::EfiProgram;
use crate::error::DiskError;
use crate::esp;
use crate::ext4::{BLOCK, BLOCKS_MAX, Ext4Identity, Ext4Writer, minimal_len};
use crate::partition_table::{DiskLayout, DiskPartition, volume_id};
use crate::root::RootPlan;
use crate::seed::DiskSeed;
use crate::target::DiskTarget;

const MIB: u64 = 1 << 20;
/// Least free space of the root file system, if no size is given.
const FREE_MIN: u64 = 1 << 30;
/// The root file system is made for whole groups.
const GROUP: u64 = 128 * MIB;
/// Shortest root file system: the smaller ones have no room for a journal.
const ROOT_MIN: u64 = 32 * MIB;

/// What a disk is made of.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct DiskOptions {
    /// Size of the disk in bytes. Without it, the root file system has as much free space as the image takes, and at
    /// least 1 GiB.
    pub size: Option<u64>,
    /// The text that all identifiers follow from. Without it, that is the digest of the image.
    pub seed: Option<String>,
    /// The processor. Without it, that of the first kernel, else that of this program.
    pub architecture: Option<Architecture>,
    /// Unified kernel images.
    pub kernels: Vec<EfiProgram>,
    /// The boot loader.
    pub loader: Option<EfiProgram>,
    /// The name of the image on the disk. A gc there removes an image without a name.
    pub name: Option<RefName>,
    /// Set when the operation is cancelled.
    pub interrupt: Option<Arc<AtomicBool>>,
}

/// A disk that can be written.
#[derive(Debug)]
pub struct DiskPlan<'r> {
    root: RootPlan<'r>,
    inodes: u64,
    options: DiskOptions,
    seed: DiskSeed,
    architecture: Architecture,
    layout: DiskLayout,
}

/// What a disk has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskReport {
    /// Digest of the image.
    pub digest: Digest,
    /// Size of the disk in bytes.
    pub size: u64,
    /// The text that all identifiers follow from.
    pub seed: String,
    /// The processor.
    pub architecture: Architecture,
    /// The partitions.
    pub partitions: [DiskPartition; 2],
    /// Number of objects, with the image.
    pub objects: u64,
    /// Total size of the objects.
    pub object_bytes: u64,
    /// Paths of the files in the EFI system partition.
    pub efi_files: Vec<String>,
}

impl<'r> DiskPlan<'r> {
    /// Plans a disk of an image.
    ///
    /// # Errors
    ///
    /// If the image or an object is missing, the image has no `/etc` or `/var`, an EFI program does not fit to the
    /// image or the processor, or the size is too small.
    pub fn new(repository: &'r Repository, digest: Digest, options: DiskOptions) -> Result<Self, DiskError> {
        for kernel in &options.kernels {
            kernel.expect_image(&digest)?;
        }
        let first = options.kernels.first().or(options.loader.as_ref()).map(EfiProgram::architecture);
        let architecture = options.architecture.or(first).unwrap_or(Architecture::of_this_program());
        let files = esp::files(&options.kernels, options.loader.as_ref(), architecture)?;
        let esp_len = esp::partition_len(&files);
        let root = RootPlan::new(repository, digest, options.name.clone())?;
        let (inodes, blocks) = root.needs();
        let root_min = minimal_len(blocks, inodes)?.max(ROOT_MIN);
        let needed = DiskLayout::size_for(esp_len, root_min);
        let default = || DiskLayout::size_for(esp_len, (root_min + root_min.max(FREE_MIN)).next_multiple_of(GROUP));
        let size = options.size.unwrap_or_else(default);
        let layout = DiskLayout::new(size, esp_len).filter(|layout| layout.root_len >= root_min);
        let layout = layout.ok_or(DiskError::NoRoom { needed, found: size })?;
        if layout.root_len > BLOCK * BLOCKS_MAX {
            return Err(DiskError::TooLarge { bytes: layout.root_len });
        }
        let seed = DiskSeed(options.seed.clone().unwrap_or_else(|| digest.to_hex()));
        Ok(Self { root, inodes, options, seed, architecture, layout })
    }

    /// Returns the size of the disk in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.layout.size
    }

    /// Returns the tree of the image.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.root.tree
    }

    /// Returns the name of the image on the disk.
    #[must_use]
    pub fn name(&self) -> Option<&RefName> {
        self.root.name.as_ref()
    }

    /// Writes the disk to a file. `is_new` means that the file is empty, so that zeros need no write; else all that the
    /// disk needs is overwritten. The partition table comes last. Nothing is synced. `done` gets the sizes of objects.
    ///
    /// # Errors
    ///
    /// If an object is damaged or the file cannot be written: what the file has then is no disk.
    pub fn write(&self, file: &File, is_new: bool, done: &dyn Fn(u64)) -> Result<DiskReport, DiskError> {
        let Self { root, options, seed, layout, .. } = self;
        if is_new {
            file.set_len(layout.size).map_err(DiskError::write("the disk"))?;
        }
        let target = DiskTarget::new(file, is_new, options.interrupt.clone());
        // The old partition table, if there is one, leads to nothing from here on.
        target.zero(0, DiskLayout::ESP_START)?;
        target.zero(
            layout.root_start() + layout.root_len,
            MIB.min(layout.size - layout.root_start() - layout.root_len),
        )?;
        let files = esp::files(&options.kernels, options.loader.as_ref(), self.architecture)?;
        esp::write(&target.from(DiskLayout::ESP_START), layout.esp_len, volume_id(seed), &files)?;
        let identity = Ext4Identity {
            uuid: seed.uuid("root file system").into_bytes(),
            hash_seed: seed.uuid("hashes of names").into_bytes(),
            label: b"composefs",
            time: u32::try_from(root.time.sec).unwrap_or_default(),
        };
        let mut fs = Ext4Writer::new(target.from(layout.root_start()), layout.root_len, self.inodes, identity)?;
        root.write(&mut fs, done)?;
        fs.finish()?;
        target.proceed()?;
        layout.write(file, seed, self.architecture)?;
        Ok(DiskReport {
            digest: root.digest,
            size: layout.size,
            seed: seed.0.clone(),
            architecture: self.architecture,
            partitions: layout.partitions(seed, self.architecture),
            objects: root.objects.len() as u64,
            object_bytes: root.object_bytes(),
            efi_files: files.into_iter().map(|(path, _)| path).collect(),
        })
    }
}
