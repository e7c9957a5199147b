//! Mounts that must fail, report why, and leave no mount. Each has a twin that differs in one thing and works.

use std::fs;
use std::path::Path;

use libcomposefs_mount::{Error, KernelFeatures, UmountError, umount};
use libcomposefs_sys::loopdev::{DirectIo, LoopDevice};
use rustix::fs::{FileType, Mode};

use crate::mounts::ways;
use crate::scratch::Scratch;
use crate::{Case, nothing};

pub(crate) const CASES: &[Case] = &[
    Case { name: "missing_directories_are_named", needs: nothing, run: missing_directories_are_named },
    Case { name: "a_refusal_by_overlayfs_leaves_nothing", needs: nothing, run: a_refusal_by_overlayfs_leaves_nothing },
    Case { name: "a_broken_image_is_refused", needs: nothing, run: a_broken_image_is_refused },
    Case { name: "a_superblock_that_breaks_a_rule_is_refused", needs: nothing, run: superblocks_are_checked },
    Case { name: "only_files_are_taken_for_images", needs: nothing, run: only_files_are_taken_for_images },
    Case { name: "only_our_mounts_are_unmounted", needs: nothing, run: only_our_mounts_are_unmounted },
    Case { name: "a_used_mount_stays_unless_lazy", needs: nothing, run: a_used_mount_stays_unless_lazy },
];

fn works(scratch: &Scratch, more: &str) {
    scratch.mount(more, libcomposefs_mount::KernelFeatures::default()).unwrap();
    scratch.umount();
}

fn missing_directories_are_named(scratch: &Scratch) {
    let work = format!(",workdir={}", scratch.path("work").display());
    for (more, named) in [
        (format!(":{}", scratch.path("nowhere").display()), "basedir"),
        (format!(",upperdir={}{work}", scratch.path("nowhere").display()), "upperdir"),
        (format!(",upperdir={}{work}x", scratch.path("upper").display()), "workdir"),
        (format!(":{}", scratch.path("image").display()), "basedir"),
    ] {
        for allowed in ways() {
            let error = scratch.mount(&more, allowed).unwrap_err();
            assert!(matches!(error, Error::Directory { role, .. } if role == named), "{error}");
            assert_eq!(scratch.leftovers(), [""; 0]);
        }
    }
    works(scratch, &format!(",upperdir={}{work}", scratch.path("upper").display()));
    fs::remove_dir(scratch.path("mnt")).unwrap();
    let error = scratch.mount("", libcomposefs_mount::KernelFeatures::default()).unwrap_err();
    assert!(error.to_string().contains("No such file or directory: mount point "), "{error}");
    fs::create_dir(scratch.path("mnt")).unwrap();
    works(scratch, "");
}

/// Work inside upper: overlayfs sees that only when everything else is set up.
fn a_refusal_by_overlayfs_leaves_nothing(scratch: &Scratch) {
    fs::create_dir(scratch.path("upper/work")).unwrap();
    let upper = scratch.path("upper").display().to_string();
    for allowed in ways() {
        let error = scratch.mount(&format!(",upperdir={upper},workdir={upper}/work"), allowed).unwrap_err();
        let Error::Kernel { source, kernel_log, .. } = &error else { panic!("{error}") };
        assert!(error.to_string().contains("Invalid argument"), "{error}");
        let said = source.log.iter().chain(kernel_log).any(|line| line.contains("workdir"));
        assert!(said, "the kernel's reason is missing: {error}");
        assert_eq!(scratch.leftovers(), [""; 0]);
    }
    works(scratch, &format!(",upperdir={upper},workdir={}", scratch.path("work").display()));
}

fn a_broken_image_is_refused(scratch: &Scratch) {
    let image = fs::read(scratch.path("image")).unwrap();
    for (len, what) in [(0, "header"), (31, "header"), (32, "superblock"), (1024, "superblock")] {
        fs::write(scratch.path("image"), &image[..len]).unwrap();
        for allowed in ways() {
            let error = scratch.mount("", allowed).unwrap_err();
            match what {
                "header" => assert!(matches!(error, Error::NotAnImage { .. }), "{error}"),
                _ => assert!(matches!(error, Error::BadImage { .. }), "{error}"),
            }
            assert_eq!(scratch.leftovers(), [""; 0]);
        }
    }
    let mut wrong = image.clone();
    wrong[0] ^= 1;
    fs::write(scratch.path("image"), wrong).unwrap();
    let error = scratch.mount("", libcomposefs_mount::KernelFeatures::default()).unwrap_err();
    assert!(error.to_string().contains("Invalid argument: not a composefs image"), "{error}");
    fs::write(scratch.path("image"), image).unwrap();
    works(scratch, "");
}

/// The kernel mounts most of these, and fails when a file is opened.
fn superblocks_are_checked(scratch: &Scratch) {
    let image = fs::read(scratch.path("image")).unwrap();
    let with = |offset: usize, byte: u8| {
        let mut bytes = image.clone();
        bytes[offset] = byte;
        bytes
    };
    for (bytes, rule) in [
        (with(1024, 0), "the EROFS magic number"),
        (with(1024 + 80 + 1, 0x80), "the EROFS features 0x8000 are needed"),
        (with(1024 + 83, 0x80), "the EROFS features 0x80000000 are needed"),
        (with(1024 + 12, 9), "blocks of 2^9 bytes"),
        (with(1024 + 90, 1), "blocks of 2^13 bytes"),
        (with(1024 + 43, 1), "the area begins at block"),
        (image[..image.len() - 1].to_vec(), "it was cut off"),
        (image[..1152].to_vec(), "it was cut off"),
        (image[..1151].to_vec(), "before its EROFS superblock"),
    ] {
        fs::write(scratch.path("image"), bytes).unwrap();
        for allowed in ways() {
            let error = scratch.mount("", allowed).unwrap_err();
            assert!(matches!(error, Error::BadImage { .. }) && error.to_string().contains(rule), "{rule}: {error}");
            assert!(error.remedy().unwrap().contains("composefs check"), "{rule}");
        }
    }
    // Features that may be ignored, the feature of chunks, and bytes after the end.
    for bytes in [with(1024 + 11, 0x80), with(1024 + 80, 4), [&image[..], &[7; 5000]].concat()] {
        fs::write(scratch.path("image"), bytes).unwrap();
        works(scratch, "");
    }
    fs::write(scratch.path("image"), image).unwrap();
    works(scratch, "");
}

fn only_files_are_taken_for_images(scratch: &Scratch) {
    let options = scratch.options("");
    let fifo = scratch.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let socket = scratch.path("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, kind) in [
        (&*fifo, "a FIFO"),
        (&*socket, "a socket"),
        (Path::new("/dev/zero"), "a character device"),
        (&*scratch.path("objects"), "a directory"),
    ] {
        let error = scratch.mount_image(path, &options, KernelFeatures::default()).unwrap_err();
        assert!(matches!(error, Error::NotAFile { .. }) && error.to_string().contains(kind), "{error}");
    }
    // A block device is one that the kernel can mount.
    let image = fs::read(scratch.path("image")).unwrap();
    fs::write(scratch.path("image"), [&image[..], &vec![0; image.len().next_multiple_of(4096) - image.len()]].concat())
        .unwrap();
    let file = fs::File::open(scratch.path("image")).unwrap();
    let device = LoopDevice::attach(&file, &scratch.path("image"), DirectIo::Off).unwrap();
    scratch.mount_image(device.path(), &options, KernelFeatures::default()).unwrap();
    scratch.umount();
    std::os::unix::fs::symlink("image", scratch.path("link")).unwrap();
    scratch.mount_image(&scratch.path("link"), &options, KernelFeatures::default()).unwrap();
    scratch.umount();
}

fn only_our_mounts_are_unmounted(scratch: &Scratch) {
    let error = umount(&scratch.path("mnt"), false).unwrap_err();
    assert!(matches!(error, UmountError::NotComposefs { found: None, .. }), "{error}");
    scratch.mount("", libcomposefs_mount::KernelFeatures::default()).unwrap();
    let flags = libcomposefs_sys::mount::MountFlags::empty();
    libcomposefs_sys::mount::mount_at_once("other".as_ref(), &scratch.path("mnt"), "tmpfs", flags, c"").unwrap();
    let error = umount(&scratch.path("mnt"), false).unwrap_err();
    assert!(
        matches!(&error, UmountError::NotComposefs { found: Some(found), .. } if found == "tmpfs other"),
        "{error}"
    );
    libcomposefs_sys::mount::unmount(&scratch.path("mnt"), false).unwrap();
    scratch.umount();
}

fn a_used_mount_stays_unless_lazy(scratch: &Scratch) {
    scratch.mount("", libcomposefs_mount::KernelFeatures::default()).unwrap();
    let mut open = fs::File::open(scratch.path("mnt/dir/inline")).unwrap();
    let error = umount(&scratch.path("mnt"), false).unwrap_err();
    assert!(error.to_string().contains("busy") && error.remedy().unwrap().contains("fuser"), "{error}");
    umount(&scratch.path("mnt"), true).unwrap();
    assert!(scratch.read("dir/inline").is_err());
    let mut text = String::new();
    std::io::Read::read_to_string(&mut open, &mut text).unwrap();
    assert_eq!(text, "inline\n");
}
