//! Fixture: an image with objects in a directory of its own, mounted by a server in this process.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use libcomposefs_fuse::{
    FuseMount, FuseSession, ImageOptions, ImageServer, MountRequest, MountedBy, ObjectContents, ObjectServer,
    ServeError, ServedMount, StatisticsOf, Trust,
};
use libcomposefs_image::erofs::read::ImageReader;
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_image::tree::{InodeId, NewInode, Tree, TreeBuilder};
use libcomposefs_image::{Algorithm, Digest, verity};

/// A directory for objects and a mount point.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self(tempfile::Builder::new().prefix("composefs-fuse-").tempdir().unwrap());
        fs::create_dir(place.objects()).unwrap();
        fs::create_dir(place.target()).unwrap();
        place
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.0.path().join("objects")
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.0.path().join("mnt")
    }

    /// Stores a content as an object.
    pub(crate) fn store(&self, algorithm: Algorithm, content: &[u8]) -> Digest {
        let digest = verity::digest(algorithm, content);
        let path = self.object(&digest);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        digest
    }

    pub(crate) fn object(&self, digest: &Digest) -> PathBuf {
        self.objects().join(digest.object_path())
    }

    pub(crate) fn mount(&self, tree: &Tree, trust: Trust) -> Mounted {
        let mut image = Vec::new();
        Image::plan(tree, Versions::default()).unwrap().write(&mut image).unwrap();
        self.mount_image(image, trust)
    }

    /// Mounts an image, which may be damaged.
    pub(crate) fn mount_image(&self, image: Vec<u8>, trust: Trust) -> Mounted {
        let request = MountRequest::new(&self.target());
        let (device, mounted_by) = FuseMount::new(&request).unwrap().into_parts();
        let (objects, target, failures) = (self.objects(), self.target(), Failures::default());
        let reported = failures.clone();
        let server = std::thread::spawn(move || {
            let mut options = ImageOptions::default();
            options.lists_trusted = true;
            options.statistics_of = StatisticsOf::Objects;
            let reader = ImageReader::new(&image).unwrap();
            let objects = ObjectContents::open(&[objects], trust).unwrap();
            let server = ImageServer::new(reader, objects, options).unwrap();
            let server = server.with_report(move |damage| reported.push(damage.to_string()));
            FuseSession::begin(device, &server)?.serve(&server, NonZeroUsize::new(3).unwrap())
        });
        Mounted { target, mounted_by, server: Some(server), failures }
    }
}

impl Place {
    /// Mounts the objects themselves.
    pub(crate) fn mount_objects(&self) -> Mounted {
        let (device, mounted_by) = FuseMount::new(&MountRequest::new(&self.target())).unwrap().into_parts();
        let (objects, target, failures) = (self.objects(), self.target(), Failures::default());
        let reported = failures.clone();
        let server = std::thread::spawn(move || {
            let objects = ObjectContents::open(&[objects], Trust::Verify).unwrap();
            let server = ObjectServer::new(objects, move |damage| reported.push(damage.to_string()));
            FuseSession::begin(device, &server)?.serve(&server, NonZeroUsize::new(3).unwrap())
        });
        Mounted { target, mounted_by, server: Some(server), failures }
    }
}

/// The failures that a server reported.
#[derive(Clone, Default)]
pub(crate) struct Failures(Arc<Mutex<Vec<String>>>);

impl Failures {
    fn push(&self, text: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A mounted image. Dropping it unmounts it.
pub(crate) struct Mounted {
    target: PathBuf,
    mounted_by: MountedBy,
    server: Option<JoinHandle<Result<ServedMount, ServeError>>>,
    pub(crate) failures: Failures,
}

impl Mounted {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.target.join(name)
    }

    /// Unmounts, and returns how the session ended.
    pub(crate) fn unmount(mut self) -> Result<ServedMount, ServeError> {
        self.mounted_by.unmount(&self.target, false).unwrap();
        self.server.take().unwrap().join().unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            let _ = self.mounted_by.unmount(&self.target, true);
            let _ = server.join();
        }
    }
}

/// Bytes that differ from block to block.
pub(crate) fn bytes(len: usize, seed: u32) -> Vec<u8> {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A tree with files in its root, of these names and objects.
pub(crate) fn tree_of<'n>(algorithm: Algorithm, files: impl IntoIterator<Item = (&'n str, u64, Digest)>) -> Tree {
    let mut builder = TreeBuilder::new(algorithm, &directory()).unwrap();
    for (name, size, digest) in files {
        let file = NewInode { mode: 0o100_644, size, digest: Some(digest), is_object: true, ..NewInode::default() };
        builder.add(InodeId::ROOT, name.as_bytes(), &file).unwrap();
    }
    builder.finish_with_counted_links()
}

pub(crate) fn directory() -> NewInode<'static> {
    NewInode { mode: 0o040_755, nlink: 1, ..NewInode::default() }
}

/// Reads a file to its end in pieces, or returns the first error number.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, i32> {
    fs::read(path).map_err(|error| error.raw_os_error().unwrap_or(0))
}
