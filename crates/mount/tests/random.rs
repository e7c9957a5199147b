//! Images of random trees, as fsck.erofs and the kernel see them: what the kernel shows is what the model says.
//!
//! They are mounted as plain EROFS, without the overlay, at no place at all: a mount that is attached nowhere ends with
//! the descriptor that holds it, whatever becomes of the test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcomposefs_image::Algorithm;
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_sys::loopdev::{DirectIo, LoopDevice};
use libcomposefs_sys::mount::{FsContext, MountAttrFlags, MountFd};
use libcomposefs_testkit::model::{Model, NodeKind};
use libcomposefs_testkit::random::series;
use libcomposefs_testkit::skip;
use libcomposefs_testkit::stats;
use libtest_mimic::Arguments;
use rustix::fs::{Mode, OFlags, lgetxattr, llistxattr, openat};
use rustix::io::Errno;

fn main() {
    let arguments = Arguments::from_args();
    let unmet = unmet();
    let trials = vec![
        skip::trial("the_kernel_shows_random_models", unmet.as_deref(), || {
            the_kernel_shows_random_models();
            Ok(())
        }),
        skip::trial("fsck_erofs_accepts_random_models", no_fsck().as_deref(), || {
            fsck_erofs_accepts_random_models();
            Ok(())
        }),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn unmet() -> Option<String> {
    if !libcomposefs_testkit::privilege::is_root() {
        return Some("mounting needs root".into());
    }
    FsContext::open("erofs").err().map(|error| format!("the kernel lacks CONFIG_EROFS_FS: {error}"))
}

fn no_fsck() -> Option<String> {
    Command::new("fsck.erofs").arg("-V").output().err().map(|error| format!("fsck.erofs: {error}"))
}

/// One hundred models and the format version each is written in.
fn models() -> impl Iterator<Item = (Model, u32)> {
    let small = series(Algorithm::Sha256, 40, 50).chain(series(Algorithm::Sha512, 40, 15));
    small.chain(series(Algorithm::Sha256, 300, 35)).enumerate().map(|(n, model)| (model, n as u32 % 2))
}

fn image(model: &Model, version: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    Image::plan(&model.build(), Versions::exactly(version)).unwrap().write(&mut bytes).unwrap();
    bytes
}

fn fsck_erofs_accepts_random_models() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let (mut accepted, mut crashed) = (0, 0);
    let mut refused = Vec::new();
    for (n, (model, version)) in models().enumerate() {
        fs::write(&path, image(&model, version)).unwrap();
        let fsck = Command::new("fsck.erofs").arg(&path).output().unwrap();
        match (fsck.status.code(), fsck.status.signal()) {
            (Some(0), _) => accepted += 1,
            // A weak oracle: its own end says nothing of the image, which the kernel judges in the other test.
            (_, Some(_)) => crashed += 1,
            _ => refused.push((n, String::from_utf8_lossy(&fsck.stderr).into_owned())),
        }
    }
    stats::show(&format!(
        "fsck.erofs: {accepted} of 100 images accepted, {} refused, crashed on {crashed}",
        refused.len()
    ));
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(accepted >= 50, "it has said too little");
}

fn the_kernel_shows_random_models() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let mut seen = Seen::default();
    for (n, (model, version)) in models().enumerate() {
        let bytes = image(&model, version);
        fs::write(&path, &bytes).unwrap();
        let mount = Mounted::new(&path);
        let expected = expected(&model, version);
        check(&model, &expected, mount.root(), &mut seen)
            .unwrap_or_else(|error| panic!("model {n}, version {version}: {error}"));
        drop(mount);
        fs::remove_file(&path).unwrap();
    }
    stats::show(&format!("the kernel: {seen:?}, all as the model says"));
    let Seen { entries, links, whiteouts, xattrs, contents, targets } = seen;
    assert!(entries > 5000 && links > 100 && whiteouts > 10 && xattrs > 5000 && contents > 200 && targets > 100);
}

struct Mounted {
    mount: MountFd,
    _device: Option<LoopDevice>,
}

impl Mounted {
    /// File-backed, or by a loop device where the kernel cannot do that.
    fn new(image: &Path) -> Self {
        let mount = |source: &Path| {
            let context = FsContext::open("erofs")?;
            context.set_string("source", source)?;
            context.set_flag("ro")?;
            // The models' ACLs are no ACLs, and the kernel would want to obey them.
            context.set_flag("noacl")?;
            context.create()?;
            context.mount(MountAttrFlags::MOUNT_ATTR_RDONLY)
        };
        match mount(image) {
            Err(error) if error.errno == Errno::NOTBLK => {
                let file = File::open(image).unwrap();
                let device = LoopDevice::attach(&file, image, DirectIo::Off).unwrap();
                Self { mount: mount(device.path()).unwrap(), _device: Some(device) }
            }
            mount => Self { mount: mount.unwrap(), _device: None },
        }
    }

    fn root(&self) -> OwnedFd {
        self.mount.root().unwrap()
    }
}

#[derive(Debug, Default)]
struct Seen {
    entries: usize,
    links: usize,
    whiteouts: usize,
    xattrs: usize,
    contents: usize,
    targets: usize,
}

type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// The visible properties of an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    mode: u32,
    owner: (u32, u32),
    links: u64,
    rdev: u64,
    /// Of a directory it is what its entries take.
    size: Option<u64>,
    mtime: (i64, i64),
}

/// The nodes of the model as the image is to have them (`docs/format/image.md`): with the marks of overlayfs.
fn expected(model: &Model, version: u32) -> Vec<(Expected, Xattrs)> {
    const OVERLAY: &[u8] = b"trusted.overlay.";
    const INNER: &str = "trusted.overlay.overlay.";
    let mut nodes: Vec<_> = model
        .nodes
        .iter()
        .enumerate()
        .map(|(index, node)| {
            let escape = |name: &Vec<u8>| match name.strip_prefix(OVERLAY) {
                Some(rest) => [INNER.as_bytes(), rest].concat(),
                None => name.clone(),
            };
            let mut xattrs: Xattrs = node.xattrs.iter().map(|(name, value)| (escape(name), value.clone())).collect();
            let (mut links, mut rdev, mut size) = (u64::from(node.nlink), 0, Some(0));
            let kind = match &node.kind {
                NodeKind::Directory => {
                    let inside = |n: &&libcomposefs_testkit::model::ModelNode| {
                        n.parent == index && n.kind == NodeKind::Directory
                    };
                    links = 2 + model.nodes.iter().skip(1).filter(inside).count() as u64;
                    size = None;
                    0o040_000
                }
                NodeKind::Regular { size: len, content, payload, digest } => {
                    size = Some(*len);
                    if *len > 0 && content.is_none() {
                        let metacopy = digest.map_or_else(Vec::new, |digest| {
                            let raw = digest.as_bytes();
                            [&[0, 4 + raw.len() as u8, 0, digest.algorithm().kernel_number()], raw].concat()
                        });
                        xattrs.insert(b"trusted.overlay.metacopy".to_vec(), metacopy);
                        if let Some(payload) = payload {
                            xattrs.insert(b"trusted.overlay.redirect".to_vec(), [b"/", &payload[..]].concat());
                        }
                    }
                    0o100_000
                }
                NodeKind::Symlink(target) => {
                    size = Some(target.len() as u64);
                    0o120_000
                }
                NodeKind::Device(0o020_000, 0) => {
                    xattrs.insert(format!("{INNER}whiteout").into(), Vec::new());
                    xattrs.insert(b"user.overlay.whiteout".to_vec(), Vec::new());
                    0o100_000
                }
                NodeKind::Device(kind, number) => {
                    rdev = u64::from(*number);
                    *kind
                }
                NodeKind::Special(kind) => *kind,
                NodeKind::Link(_) => 0,
            };
            let (owner, mtime) = ((node.uid, node.gid), (node.mtime.sec, i64::from(node.mtime.nsec)));
            (Expected { mode: kind | node.permissions, owner, links, rdev, size, mtime }, xattrs)
        })
        .collect();
    for node in model.nodes.iter().filter(|node| node.kind == NodeKind::Device(0o020_000, 0)) {
        let parent = &mut nodes[node.parent].1;
        parent.insert(format!("{INNER}whiteouts").into(), Vec::new());
        parent.insert(b"user.overlay.whiteouts".to_vec(), Vec::new());
        if version >= 1 {
            parent.insert(format!("{INNER}opaque").into(), b"x".to_vec());
            parent.insert(b"user.overlay.opaque".to_vec(), b"x".to_vec());
        }
    }
    nodes[0].1.insert(b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
    nodes
}

/// The path of an entry of an open directory, however deep that is.
fn path(directory: &OwnedFd, name: &[u8]) -> PathBuf {
    let name = if name.is_empty() { b"." } else { name };
    Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())).join(std::ffi::OsStr::from_bytes(name))
}

/// Walks the mount beside the model.
fn check(model: &Model, expected: &[(Expected, Xattrs)], root: OwnedFd, seen: &mut Seen) -> Result<(), String> {
    let mut directories = BTreeMap::from([(0, root)]);
    let mut inodes = BTreeMap::new();
    for (index, node) in model.nodes.iter().enumerate() {
        let shown = String::from_utf8_lossy(&model.path(index)).into_owned();
        let failed = |what: &str, error: &dyn std::fmt::Display| format!("{shown}: {what}: {error}");
        let parent = &directories[&node.parent];
        let at = path(parent, &node.name);
        let meta = fs::symlink_metadata(&at).map_err(|e| failed("lstat", &e))?;
        let of = model.resolve(index);
        seen.entries += 1;
        // Names of one inode, and only those, have one number.
        let number = *inodes.entry(of).or_insert(meta.ino());
        if number != meta.ino() {
            return Err(format!("{shown}: inode {}, not {number}", meta.ino()));
        }
        let (want, xattrs) = &expected[of];
        let got = Expected {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            links: meta.nlink(),
            rdev: meta.rdev(),
            size: (!meta.is_dir()).then_some(meta.size()),
            mtime: (meta.mtime(), meta.mtime_nsec()),
        };
        if got != *want {
            return Err(format!("{shown}: {got:?}, not {want:?}"));
        }
        check_xattrs(&at, &meta, xattrs, seen).map_err(|e| failed("attributes", &e))?;
        match &model.nodes[of].kind {
            NodeKind::Directory => {
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
                let open = openat(parent, path(parent, &node.name), flags, Mode::empty());
                let open = open.map_err(|e| failed("open", &e))?;
                check_names(model, index, &path(&open, b"")).map_err(|e| failed("entries", &e))?;
                directories.insert(index, open);
            }
            NodeKind::Regular { content: Some(content), .. } => {
                let read = fs::read(&at).map_err(|e| failed("read", &e))?;
                if read != *content {
                    return Err(failed("content", &"differs"));
                }
                seen.contents += 1;
            }
            NodeKind::Symlink(target) => {
                let read = fs::read_link(&at).map_err(|e| failed("readlink", &e))?;
                if read.as_os_str().as_bytes() != target {
                    return Err(failed("target", &read.display()));
                }
                seen.targets += 1;
            }
            NodeKind::Device(0o020_000, 0) => seen.whiteouts += 1,
            _ => {}
        }
        seen.links += usize::from(of != index);
    }
    let distinct: BTreeSet<_> = inodes.values().collect();
    if distinct.len() != inodes.len() {
        return Err("two inodes have one number".into());
    }
    Ok(())
}

/// Every name a directory is to have, and no other. The root has a device for each object directory as well.
fn check_names(model: &Model, directory: usize, at: &Path) -> Result<(), String> {
    let children = model.nodes.iter().enumerate().skip(1).filter(|(_, node)| node.parent == directory);
    let mut want: BTreeSet<_> = children.map(|(_, node)| node.name.clone()).collect();
    if directory == 0 {
        for stub in 0..=255u8 {
            let name = format!("{stub:02x}");
            if !want.insert(name.clone().into_bytes()) {
                continue;
            }
            let (root, meta) = (fs::metadata(at), fs::symlink_metadata(at.join(&name)));
            let (root, meta) = (root.map_err(|e| e.to_string())?, meta.map_err(|e| format!("{name}: {e}"))?);
            let of = |meta: &fs::Metadata| (meta.uid(), meta.gid(), meta.mtime(), meta.mtime_nsec());
            if (meta.mode(), meta.rdev(), meta.nlink()) != (0o020_644, 0, 1) || of(&meta) != of(&root) {
                return Err(format!("{name} is no stub: {meta:?}"));
            }
        }
    }
    let entries = fs::read_dir(at).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
    let entries = entries.map_err(|e| e.to_string())?;
    let got: BTreeSet<_> = entries.iter().map(|entry| entry.file_name().as_bytes().to_vec()).collect();
    if got != want || entries.len() != want.len() {
        return Err(format!("{entries:?}"));
    }
    Ok(())
}

fn check_xattrs(at: &Path, meta: &fs::Metadata, expected: &Xattrs, seen: &mut Seen) -> Result<(), String> {
    // The kernel shows these classes; others are in the image, but no call returns them.
    let visible = |name: &[u8]| [&b"user."[..], b"trusted.", b"security."].iter().any(|class| name.starts_with(class));
    let want: BTreeSet<_> = expected.keys().filter(|name| visible(name)).cloned().collect();
    let mut buffer = vec![0; 65_536];
    let len = llistxattr(at, &mut buffer[..]).map_err(|e| e.to_string())?;
    let got: Vec<_> =
        buffer[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
    if got.iter().cloned().collect::<BTreeSet<_>>() != want || got.len() != want.len() {
        let text = |name: &Vec<u8>| String::from_utf8_lossy(name).into_owned();
        return Err(format!(
            "{:?}, not {:?}",
            got.iter().map(text).collect::<Vec<_>>(),
            want.iter().map(text).collect::<Vec<_>>()
        ));
    }
    for name in want {
        // On links and devices the kernel returns no value of a user's attribute; of a capability it gives what it
        // understands.
        let kept_back =
            name.starts_with(b"user.") && !meta.is_file() && !meta.is_dir() || name == b"security.capability";
        if kept_back {
            continue;
        }
        let shown = String::from_utf8_lossy(&name);
        let len = lgetxattr(at, &name[..], &mut buffer[..]).map_err(|e| format!("{shown}: {e}"))?;
        if buffer[..len] != expected[&name] {
            return Err(format!("{shown}: {:?}, not {:?}", &buffer[..len], expected[&name]));
        }
        seen.xattrs += 1;
    }
    Ok(())
}
