//! Directories of an OCI bundle: the mounted image, the root of the container, and the files that the runtime reads.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use libcomposefs_oci::runtime::{
    ContainerNetwork, ContainerPlace, ContainerUser, ImageProcess, RunOptions, VolumeAttributes, clean_volume,
    clean_working_dir, runtime_spec,
};
use libcomposefs_sys::in_root::{make_directories_in_root, open_directory_in_root};
use libcomposefs_sys::mount::{FsContext, MountAttrFlags, MountError, unmount};

use rustix::fs::{AtFlags, Gid, Uid, chownat, fstat};
use rustix::io::Errno;

use super::host::HostFacts;
use super::mapped_ids::check_user;
use super::{accounts, generated, terminal_size};

/// Mount point of the bundle in the mount namespace of each container. Nothing is mounted there elsewhere.
const IN_MEMORY: &str = "/run/composefs/oci";

/// Directories of an OCI bundle.
#[derive(Debug)]
pub(super) struct OciBundle {
    path: PathBuf,
    id: String,
}

impl OciBundle {
    /// Makes a bundle in a new file system in memory, which only this mount namespace has. It is mounted below `place`,
    /// or at a directory of the system.
    pub(super) fn in_memory(id: &str, place: Option<&Path>) -> anyhow::Result<Self> {
        let path = &place.map_or_else(|| IN_MEMORY.into(), |place| place.join("bundle"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        mount_tmpfs(path).with_context(|| format!("cannot mount the bundle at {}", path.display()))?;
        Self::at(path, id)
    }

    /// Makes the directories of a bundle in an existing directory.
    pub(super) fn at(path: &Path, id: &str) -> anyhow::Result<Self> {
        let bundle = Self { path: path.to_owned(), id: id.to_owned() };
        for directory in [bundle.lower(), bundle.root()] {
            make_directory(&directory)?;
        }
        Ok(bundle)
    }

    /// Path of the bundle.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Identifier of the container.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Path of the mounted image.
    pub(super) fn lower(&self) -> PathBuf {
        self.path.join("lower")
    }

    /// Path of the container's root.
    pub(super) fn root(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    /// Writes the generated files and the configuration of the runtime, once the root is mounted.
    pub(super) fn write(&self, image: &ImageProcess, options: &RunOptions, host: &HostFacts) -> anyhow::Result<()> {
        let mut options = options.clone();
        options.limits.pids = host.pids;
        let hostname = match options.network {
            ContainerNetwork::None => self.id.clone(),
            ContainerNetwork::Host => host.hostname.clone(),
        };
        let user = accounts::resolve(&image.user, &self.root())?;
        check_user(&user, host.mapped)?;
        let volumes = self.make_directories(image, &user)?;
        let place = ContainerPlace {
            root: self.root(),
            files: generated::write(&self.path, options.network, &hostname)?,
            hostname,
            user,
            limits: host.limits.clone(),
            cgroups_path: host.cgroups_path().map(PathBuf::from),
            seccomp: Some(host.seccomp.clone()),
            terminal_size: terminal_size::of_standard_input().filter(|_| options.terminal),
            volumes,
            user_namespace: host.mapped,
        };
        let spec = runtime_spec(image, &options, &place)?;
        let path = self.path.join("config.json");
        let text = serde_json::to_vec_pretty(&spec).context("cannot write the runtime's configuration as JSON")?;
        File::create(&path)
            .and_then(|mut file| file.write_all(&text))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Makes the working directory and the directories of the image's volumes, as podman does: those that the image
    /// lacks belong to the user. Returns the attributes of the volumes.
    fn make_directories(
        &self,
        image: &ImageProcess,
        user: &ContainerUser,
    ) -> anyhow::Result<BTreeMap<String, VolumeAttributes>> {
        let mut attributes = BTreeMap::new();
        let root = File::open(self.root()).with_context(|| format!("cannot open {}", self.root().display()))?;
        let directory = clean_working_dir(image)?;
        let made = make_user_directory(&root, &directory, user);
        made.with_context(|| format!("cannot create the working directory {directory:?} of the image"))?;
        for volume in &image.volumes {
            let volume = clean_volume(volume)?;
            let made = make_user_directory(&root, &volume, user);
            let made = made.with_context(|| format!("cannot create the volume {volume:?} of the image"))?;
            let stat = fstat(&made).with_context(|| format!("cannot read the volume {volume:?} of the image"))?;
            let mode = stat.st_mode & 0o7777;
            attributes.insert(volume, VolumeAttributes { mode, uid: stat.st_uid, gid: stat.st_gid });
        }
        Ok(attributes)
    }

    /// Unmounts the root of the container and the image.
    pub(super) fn unmount(&self) -> Result<(), MountError> {
        // Both, even if one fails.
        let root = unmount(&self.root(), true);
        unmount(&self.lower(), true).and(root)
    }

    /// Removes the files and directories of a bundle that is not complete.
    pub(super) fn remove(&self) {
        // What stays is visible, and the error that led here is printed.
        let _ = self.unmount();
        for name in ["config.json", "hosts", "hostname", "resolv.conf"] {
            let _ = fs::remove_file(self.path.join(name));
        }
        for directory in [self.lower(), self.root()] {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Makes a directory of the container that is missing, and gives it to the user. Returns its descriptor.
fn make_user_directory(root: &File, path: &str, user: &ContainerUser) -> anyhow::Result<OwnedFd> {
    let failed = |errno| match errno {
        Errno::INVAL => anyhow!("a symlink on its path leads nowhere"),
        Errno::NOTDIR => anyhow!("a part of its path is no directory"),
        errno => anyhow::Error::from(errno),
    };
    match open_directory_in_root(root.as_fd(), path.as_bytes()) {
        Err(Errno::NOENT) => {}
        opened => return opened.map_err(failed),
    }
    let made = make_directories_in_root(root.as_fd(), path.as_bytes()).map_err(failed)?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    chownat(&made, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH).map_err(anyhow::Error::from)?;
    Ok(made)
}

/// Makes a directory that only root can enter.
pub(super) fn make_directory(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new().mode(0o700).create(path).with_context(|| format!("cannot create {}", path.display()))
}

fn mount_tmpfs(target: &Path) -> Result<(), MountError> {
    let context = FsContext::open("tmpfs")?;
    context.set_string("mode", "0700")?;
    context.create()?;
    let mount = context.mount(MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV)?;
    mount.attach(target)
}
