//! Tests mounts: builds an image, enables fs-verity on it, mounts it and reads a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_image::tree::{NewInode, TreeBuilder};
use libcomposefs_image::{Algorithm, Digest, verity};
use libcomposefs_mount::{ImageFile, KernelFeatures, Mounted, Options, Plan};
use libcomposefs_store::{ObjectDir, ObjectVerity, StorePolicy};
use libcomposefs_sys::mount::unmount;

use super::finding::{DoctorFinding, Status};
use crate::commands::mount::with_remedy;
use crate::error_text;

/// Content of the test file: too long to be stored in the image.
const CONTENT: [u8; 9000] = [b'c'; 9000];

/// Scratch directory, removed when this is dropped.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new(below: &Path) -> std::io::Result<Self> {
        let path = below.join(format!(".composefs-doctor-{}", std::process::id()));
        fs::create_dir(&path)?;
        let scratch = Self { path };
        fs::create_dir(scratch.path.join("mnt"))?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = unmount(&self.path.join("mnt"), true);
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Returns the findings on an unverified and a verified mount.
pub(super) fn look(below: &Path) -> [DoctorFinding; 2] {
    let unverified = attempt(below, false);
    let verified = attempt(below, true);
    let plain = match &unverified {
        Ok(mounted) => DoctorFinding::new("mount", Status::Ok, mounted.to_string(), "an image can be mounted"),
        Err(error) => failed("mount", error, "images in this directory cannot be mounted"),
    };
    let checked = match &verified {
        Ok(mounted) => DoctorFinding::new(
            "verified mount",
            Status::Ok,
            mounted.to_string(),
            "mounts with a verified image and verified files work",
        ),
        Err(error) => failed("verified mount", error, "mounts from this directory cannot be verified by the kernel"),
    };
    [plain, checked]
}

fn failed(name: &'static str, error: &anyhow::Error, means: &'static str) -> DoctorFinding {
    let mut finding = DoctorFinding::new(name, Status::Missing, error_text::message(error), means);
    finding.remedy = error_text::remedy(error).map(str::to_owned);
    finding
}

fn attempt(below: &Path, verified: bool) -> anyhow::Result<Mounted> {
    let scratch = Scratch::new(below).context("cannot create a directory")?;
    let objects = scratch.path.join("objects");
    let verity = if verified { ObjectVerity::Required } else { ObjectVerity::Off };
    let policy = StorePolicy::default().with_verity(verity);
    let store = ObjectDir::create(&objects, Algorithm::Sha256, policy)?;
    let batch = store.batch();
    let (digest, _) = batch.put_bytes(&CONTENT)?;
    batch.finish()?;
    let bytes = image(&digest)?;
    let path = scratch.path.join("image");
    fs::write(&path, &bytes)?;
    if verified {
        let enabled = libcomposefs_sys::verity::enable(File::open(&path)?, Algorithm::Sha256.kernel_number(), 4096)?;
        ensure!(enabled != libcomposefs_sys::verity::Enabled::Unsupported, "cannot enable fs-verity on the image");
    }
    let expected = verified.then(|| verity::digest(Algorithm::Sha256, &bytes));
    let mut options = Options::default().with_basedir(objects);
    if let Some(digest) = expected {
        options = options.with_digest(digest);
    }
    let target = scratch.path.join("mnt");
    let mount = || {
        let image = ImageFile::open(&path)?;
        Plan::new(&path, &image.header()?, options).mount_at(&image, &target, KernelFeatures::default())
    };
    let mounted = mount().map_err(|error| with_remedy(&error))?;
    let read = fs::read(target.join("file")).context("cannot read a file of the mount")?;
    ensure!(read == CONTENT, "a file of the mount has the wrong content");
    Ok(mounted)
}

fn image(digest: &Digest) -> anyhow::Result<Vec<u8>> {
    let root = NewInode { mode: 0o040755, nlink: 2, ..NewInode::default() };
    let mut builder = TreeBuilder::new(Algorithm::Sha256, &root)?;
    let file = NewInode {
        mode: 0o100644,
        nlink: 1,
        size: CONTENT.len() as u64,
        digest: Some(*digest),
        is_object: true,
        ..NewInode::default()
    };
    builder.add(libcomposefs_image::tree::InodeId::ROOT, b"file", &file)?;
    let mut bytes = Vec::new();
    Image::plan(&builder.finish(), Versions::default())?.write(&mut bytes)?;
    Ok(bytes)
}
