//! Mounts and directories by descriptor, and mounts that another program makes.

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use libcomposefs_mount::{ImageFile, MountSpec, Options, OverlayMethod, PathOrFd, Plan, UpperDir};
use libcomposefs_sys::loopdev::{DirectIo, LoopDevice};
use libcomposefs_sys::mount::{MountFlags, mount_at_once, unmount};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::mounts::ways;
use crate::scratch::{Scratch, content};
use crate::{Case, nothing};

pub(crate) const CASES: &[Case] = &[
    Case { name: "a_plan_mounts_to_a_descriptor", needs: nothing, run: a_plan_mounts_to_a_descriptor },
    Case { name: "directories_are_taken_by_descriptor", needs: nothing, run: directories_are_taken_by_descriptor },
    Case { name: "the_image_alone_is_mounted", needs: nothing, run: the_image_alone_is_mounted },
    Case { name: "another_program_makes_the_mounts_of_a_spec", needs: nothing, run: specs_are_mountable },
];

fn plan(scratch: &Scratch, options: Options) -> (Plan, ImageFile) {
    let image = ImageFile::open(&scratch.path("image")).unwrap();
    (Plan::new(image.path(), &image.header().unwrap(), options), image)
}

fn objects(scratch: &Scratch) -> Options {
    Options::default().with_basedir(scratch.path("objects"))
}

/// Reads a file below a directory that has a descriptor only.
fn read_below(dir: &OwnedFd, path: &str) -> String {
    let file = rustix::fs::openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    std::io::read_to_string(fs::File::from(file)).unwrap()
}

fn a_plan_mounts_to_a_descriptor(scratch: &Scratch) {
    let (plan, image) = plan(scratch, objects(scratch));
    for allowed in ways() {
        let mount = plan.mount(&image, allowed).unwrap_or_else(|error| panic!("{allowed:?}: {error}"));
        let report = mount.report().to_string();
        // Nothing is attached yet, the files can be read all the same.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(scratch.path("mnt").to_str().unwrap()), "{report}: {mounts}");
        let fd = OwnedFd::from(mount);
        assert_eq!(read_below(&fd, "dir/external"), content(), "{report}");
        // Closing the descriptor unmounts it, and frees a loop device.
        drop(fd);
        assert_eq!(scratch.leftovers(), [""; 0], "{report}");

        let mount = plan.mount(&image, allowed).unwrap();
        mount.attach(&scratch.path("mnt")).unwrap();
        drop(mount);
        assert_eq!(scratch.read("dir/external").unwrap(), content(), "{report}");
        scratch.umount();

        let mount = plan.mount(&image, allowed).unwrap();
        assert!(mount.attach(&scratch.path("nowhere")).unwrap_err().to_string().contains("mount point"), "{report}");
        // The mount still exists after attaching it at a missing target failed.
        mount.attach(&scratch.path("mnt")).unwrap();
        // An open descriptor keeps the mount busy.
        assert!(libcomposefs_mount::umount(&scratch.path("mnt"), false).is_err(), "{report}");
        drop(mount);
        scratch.umount();
    }
}

fn open_path(path: PathBuf) -> OwnedFd {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn directories_are_taken_by_descriptor(scratch: &Scratch) {
    for allowed in ways() {
        for dir in ["upper", "work"] {
            fs::remove_dir_all(scratch.path(dir)).unwrap();
            fs::create_dir(scratch.path(dir)).unwrap();
        }
        let by_fd = |name: &str| PathOrFd::from(open_path(scratch.path(name)));
        let options = Options::default()
            .with_basedir(by_fd("objects"))
            .with_upper(UpperDir { dir: by_fd("upper"), work: by_fd("work") });
        // The path leads to another directory by now: the descriptor counts.
        fs::rename(scratch.path("objects"), scratch.path("moved")).unwrap();
        fs::create_dir(scratch.path("objects")).unwrap();
        let (plan, image) = plan(scratch, options);
        let mounted =
            plan.mount_at(&image, &scratch.path("mnt"), allowed).unwrap_or_else(|error| panic!("{allowed:?}: {error}"));
        assert_eq!(scratch.read("dir/external").unwrap(), content(), "{mounted}");
        fs::write(scratch.path("mnt/new"), "new").unwrap();
        assert_eq!(fs::read_to_string(scratch.path("upper/new")).unwrap(), "new", "{mounted}");
        scratch.umount();
        fs::remove_dir(scratch.path("objects")).unwrap();
        fs::rename(scratch.path("moved"), scratch.path("objects")).unwrap();
    }
}

fn the_image_alone_is_mounted(scratch: &Scratch) {
    let mut options = Options::default();
    options.flags.nosuid = true;
    let (plan, image) = plan(scratch, options);
    for allowed in ways() {
        let mount = plan.mount_image(&image, allowed).unwrap_or_else(|error| panic!("{allowed:?}: {error}"));
        assert_eq!(mount.report().overlay, OverlayMethod::ImageOnly);
        mount.attach(&scratch.path("mnt")).unwrap();
        assert_eq!(scratch.read("dir/inline").unwrap(), "inline\n");
        // The content of this file is an object: the image has its size only.
        assert_eq!(scratch.path("mnt/dir/external").metadata().unwrap().len(), content().len() as u64);
        assert_ne!(scratch.read("dir/external").ok(), Some(content()));
        let info = scratch.mountinfo();
        assert!(info.contains(" - erofs ") && info.contains("ro,"), "{info}");
        assert_eq!(info.contains("nosuid"), allowed.contexts, "{info}");
        drop(mount);
        unmount(&scratch.path("mnt"), false).unwrap();
    }
}

fn specs_are_mountable(scratch: &Scratch) {
    let (plan, _) = plan(scratch, objects(scratch));
    let target = scratch.path("mnt");
    let specs = plan.specs(&target).unwrap();
    let _image = mount_spec(&specs[0]);
    if let Err(errno) = mount_with(specs[1].source.as_os_str(), &specs[1]) {
        // Data-only layers came with Linux 6.5.
        assert_eq!((errno, old_overlayfs()), (Errno::INVAL, true));
        unmount(&target, false).unwrap();
        return;
    }
    assert_eq!(scratch.read("dir/external").unwrap(), content());
    assert_eq!(scratch.read("link").unwrap(), "inline\n");
    // `composefs umount` knows the overlay; the image below it is another mount.
    scratch.umount();
    assert!(scratch.mountinfo().contains(" - erofs "));
    unmount(&target, false).unwrap();

    let _image = mount_spec(&plan.image_spec(&target).unwrap());
    assert_eq!(scratch.read("dir/inline").unwrap(), "inline\n");
    unmount(&target, false).unwrap();
}

fn old_overlayfs() -> bool {
    !libcomposefs_mount::Overlayfs::probe().unwrap().contexts
}

/// Mounts the image as other programs do: from its file, else through a loop device.
fn mount_spec(spec: &MountSpec) -> Option<LoopDevice> {
    match mount_with(&spec.source, spec) {
        Ok(()) => None,
        Err(errno) => {
            assert_eq!(errno, Errno::NOTBLK);
            let file = fs::File::open(&spec.source).unwrap();
            let device = LoopDevice::attach(&file, spec.source.as_ref(), DirectIo::Off).unwrap();
            mount_with(device.path().as_os_str(), spec).unwrap();
            Some(device)
        }
    }
}

fn mount_with(source: &OsStr, spec: &MountSpec) -> Result<(), Errno> {
    let (read_only, data): (Vec<_>, Vec<_>) = spec.options.iter().partition(|option| *option == "ro");
    let flags = if read_only.is_empty() { MountFlags::empty() } else { MountFlags::RDONLY };
    let data = data.iter().map(|option| option.as_bytes()).collect::<Vec<_>>().join(&b',');
    let data = CString::new(data).unwrap();
    mount_at_once(source, &spec.target, spec.fs_type, flags, &data).map_err(|error| error.errno)
}
