//! Lists the mounts of a container: the default file systems, generated files, volumes, and what the user asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use oci_spec::runtime::{Mount, MountBuilder};

use super::defaults::{FILE_SYSTEMS, READ_ONLY_TMPFS};
use super::{ContainerNetwork, ContainerPlace, ImageProcess, RunOptions, RuntimeError, VolumeAttributes};

/// The group that owns terminals, in the default options of devpts.
const TTY_GROUP: u32 = 5;

/// Returns the mounts in the order in which the runtime creates them: a directory before what is below it.
pub(super) fn mounts(
    image: &ImageProcess,
    options: &RunOptions,
    place: &ContainerPlace,
) -> Result<Vec<Mount>, RuntimeError> {
    let mut list = MountList::default();
    for (destination, kind, source, flags) in FILE_SYSTEMS {
        list.put(destination.to_owned(), kind, source.into(), words(flags))?;
    }
    list.adapt_to_user_namespace(options, place)?;
    list.put_generated(options, place)?;
    if options.read_only {
        for destination in READ_ONLY_TMPFS {
            list.put_tmpfs(destination.to_owned(), &[])?;
        }
        // The root of the container is a new directory, so a volume needs its own file system only if it is read-only.
        for volume in &image.volumes {
            let path = clean_volume(volume)?;
            let attributes = place.volumes.get(&path).map(|VolumeAttributes { mode, uid, gid }| {
                [format!("mode={mode:04o}"), format!("uid={uid}"), format!("gid={gid}")]
            });
            list.put_tmpfs(path, attributes.as_ref().map_or(&[], |attributes| attributes.as_slice()))?;
        }
    }
    let mut asked = BTreeSet::new();
    let mut once = |destination: String| match asked.insert(destination.clone()) {
        true => Ok(destination),
        false => Err(RuntimeError::MountedTwice(destination)),
    };
    for tmpfs in &options.tmpfs {
        list.put_tmpfs(once(clean_path("--tmpfs", &tmpfs.destination)?)?, &tmpfs.options)?;
    }
    for bind in &options.binds {
        let destination = once(clean_path("--volume", &bind.destination)?)?;
        let mut flags = bind.options.clone();
        let has = |flags: &[String], names: &[&str]| flags.iter().any(|flag| names.contains(&flag.as_str()));
        if !has(&flags, &["ro", "rw"]) {
            flags.push("rw".to_owned());
        }
        if !has(&flags, &["shared", "rshared", "slave", "rslave", "private", "rprivate"]) {
            flags.push("rprivate".to_owned());
        }
        flags.push("rbind".to_owned());
        list.put(destination, "bind", bind.source.clone(), flags)?;
    }
    Ok(list.0.into_values().collect())
}

/// Returns the path of an image's volume without empty and `.` components.
///
/// # Errors
///
/// [`RuntimeError::BadPath`] if it is not absolute or has `..`.
pub fn clean_volume(path: &str) -> Result<String, RuntimeError> {
    clean_path("Volumes", path)
}

/// Returns the path of the working directory without empty and `.` components; the root if the image names none.
///
/// # Errors
///
/// [`RuntimeError::BadPath`] if it is not absolute or has `..`.
pub fn clean_working_dir(image: &ImageProcess) -> Result<String, RuntimeError> {
    match image.working_dir.as_str() {
        "" | "/" => Ok("/".to_owned()),
        path => clean_path("WorkingDir", path),
    }
}

/// Returns the path of a directory in the container without empty and `.` components.
pub(super) fn clean_path(field: &'static str, path: &str) -> Result<String, RuntimeError> {
    if path.contains('\0') {
        return Err(RuntimeError::NulByte { field, value: path.to_owned() });
    }
    let refused = || RuntimeError::BadPath { field, path: path.to_owned() };
    let below = path.strip_prefix('/').ok_or_else(refused)?;
    let mut clean = String::with_capacity(path.len());
    for component in below.split('/').filter(|component| !matches!(*component, "" | ".")) {
        if component == ".." {
            return Err(refused());
        }
        clean.push('/');
        clean.push_str(component);
    }
    if clean.is_empty() { Err(refused()) } else { Ok(clean) }
}

type Put = Result<(), RuntimeError>;

/// Mounts by the depth of their destination and by the destination. The last one put at a destination counts.
#[derive(Default)]
struct MountList(BTreeMap<(usize, String), Mount>);

impl MountList {
    fn put(&mut self, destination: String, kind: &str, source: PathBuf, flags: Vec<String>) -> Put {
        let mount = MountBuilder::default().destination(&destination).typ(kind).source(source).options(flags);
        let mount = mount.build()?;
        self.0.insert((destination.matches('/').count(), destination), mount);
        Ok(())
    }

    /// Changes the default file systems where a user namespace other than the host's may not have them, as podman does.
    fn adapt_to_user_namespace(&mut self, options: &RunOptions, place: &ContainerPlace) -> Put {
        let Some(mapped) = place.user_namespace else { return Ok(()) };
        if options.network == ContainerNetwork::Host {
            // The kernel mounts sysfs only for the owner of the network namespace.
            let flags = ["rprivate", "nosuid", "noexec", "nodev", "ro", "rbind"];
            self.put("/sys".to_owned(), "bind", "/sys".into(), words(&flags))?;
        }
        if mapped.gids <= TTY_GROUP {
            let flags = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
            self.put("/dev/pts".to_owned(), "devpts", "devpts".into(), words(&flags))?;
        }
        Ok(())
    }

    fn put_tmpfs(&mut self, destination: String, flags: &[String]) -> Put {
        let mut flags = flags.to_vec();
        flags.extend(words(&["rw", "rprivate", "nosuid", "nodev", "tmpcopyup"]));
        self.put(destination, "tmpfs", "tmpfs".into(), flags)
    }

    fn put_generated(&mut self, options: &RunOptions, place: &ContainerPlace) -> Put {
        let mut flags = words(&["bind", "rprivate"]);
        if options.read_only {
            flags.extend(words(&["ro", "nosuid", "noexec", "nodev"]));
        }
        let files = &place.files;
        let resolv_conf = files.resolv_conf.as_ref().map(|path| ("/etc/resolv.conf", path));
        let others = [("/etc/hosts", &files.hosts), ("/etc/hostname", &files.hostname)];
        for (destination, path) in others.into_iter().chain(resolv_conf) {
            self.put(destination.to_owned(), "bind", path.clone(), flags.clone())?;
        }
        Ok(())
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_or_refused() {
        for (path, clean) in [("/a", "/a"), ("//a/./b/", "/a/b"), ("/...", "/...")] {
            assert_eq!(clean_path("--tmpfs", path).unwrap(), clean);
        }
        for path in ["", "a", "/", "/.", "/a/../b", "/..", "/a\0"] {
            assert!(clean_path("--tmpfs", path).is_err(), "{path:?}");
        }
    }
}
