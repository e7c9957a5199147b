//! Mounts with the numbers of the objects' file system, made by each method.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use libcomposefs_mount::{Error, ImageFile, KernelFeatures, Mounted, Plan, UnknownOptions, parse};
use libcomposefs_sys::verity::{Enabled, enable};
use rustix::fs::statvfs;

use crate::mounts::ways;
use crate::scratch::{Facts, OBJECT, Scratch, content};
use crate::{Case, nothing};

pub(crate) const CASES: &[Case] = &[
    Case { name: "statfs_is_of_the_objects_in_every_way", needs: nothing, run: every_way },
    Case { name: "statfs_leaves_the_checks_as_they_are", needs: fs_verity, run: checks_stay },
];

fn fs_verity(facts: &Facts) -> Option<String> {
    facts.no_overlay_verity.clone().or_else(|| facts.no_fs_verity.clone())
}

/// Mounts with a directory, given as a path or as a descriptor, that answers `statfs`.
fn mount(scratch: &Scratch, more: &str, is_open: bool, allowed: KernelFeatures) -> Result<Mounted, Error> {
    let image = ImageFile::open(&scratch.path("image"))?;
    let options = parse(&scratch.options(&format!(",statfs=objects{more}")), UnknownOptions::Refuse).unwrap();
    let mut plan = Plan::new(image.path(), &image.header()?, options);
    let directory = scratch.path("statfs");
    plan.statfs_dir = Some(match is_open {
        true => std::os::fd::OwnedFd::from(fs::File::open(directory).unwrap()).into(),
        false => directory.into(),
    });
    plan.mount_at(&image, &scratch.path("mnt"), allowed)
}

fn put_directory(scratch: &Scratch) {
    fs::create_dir(scratch.path("statfs")).unwrap();
    fs::set_permissions(scratch.path("statfs"), fs::Permissions::from_mode(0o751)).unwrap();
}

fn every_way(scratch: &Scratch) {
    put_directory(scratch);
    let size = |name: &str| statvfs(scratch.path(name)).unwrap().f_blocks;
    for allowed in ways() {
        let mounted = scratch.mount("", allowed).unwrap();
        assert_ne!(size("mnt"), size("objects"), "{mounted}: the default is that of the C tool");
        scratch.umount();
        for is_open in [false, true] {
            let mounted = mount(scratch, "", is_open, allowed).unwrap_or_else(|e| panic!("{allowed:?}: {e}"));
            assert_eq!(size("mnt"), size("objects"), "{mounted}");
            assert_eq!(scratch.read("dir/inline").unwrap(), "inline\n", "{mounted}");
            assert_eq!(scratch.read("dir/external").unwrap(), content(), "{mounted}");
            let mut names: Vec<_> =
                fs::read_dir(scratch.path("mnt")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            assert_eq!(names, ["dir", "link"], "{mounted}: the objects' names show through");
            assert_eq!(scratch.path("mnt").metadata().unwrap().mode() & 0o7777, 0o751, "{mounted}");
            let info = scratch.mountinfo();
            assert!(info.contains("metacopy=on") && info.contains("redirect_dir=on"), "{mounted}: {info}");
            scratch.umount();
            assert_eq!(scratch.leftovers(), [""; 0], "{mounted}");
        }
    }
    let error = scratch.mount(",statfs=objects", KernelFeatures::default()).unwrap_err();
    assert_eq!(error.kind(), "statfs", "{error}");
}

/// With `verity` an object is as it must be, or opening its file fails.
fn checks_stay(scratch: &Scratch) {
    put_directory(scratch);
    let object = scratch.path("objects").join(OBJECT);
    let seal = || assert_eq!(enable(fs::File::open(&object).unwrap(), 1, 4096).unwrap(), Enabled::Now);
    let expect = |is_right: bool| {
        for allowed in ways() {
            let mounted = mount(scratch, ",verity", true, allowed).unwrap();
            match scratch.read("dir/external") {
                Ok(read) => assert!(is_right && read == content(), "{mounted}"),
                Err(error) => assert!(!is_right && error.raw_os_error() == Some(5), "{mounted}: {error}"),
            }
            assert!(scratch.mountinfo().contains("verity=require"), "{mounted}");
            scratch.umount();
        }
    };
    // Without fs-verity, with it, and another content.
    expect(false);
    seal();
    expect(true);
    fs::remove_file(&object).unwrap();
    fs::write(&object, content().to_uppercase()).unwrap();
    seal();
    expect(false);
}
