//! Verification where kernel and file system support it; and correct reports where they do not.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use libcomposefs_image::dump::{self, Parser};
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_mount::{Error, ImageFile, KernelFeatures, Overlayfs, Plan, UnknownOptions, Verity, parse};
use libcomposefs_sys::verity::{Enabled, Measurement, enable, measure};
use libcomposefs_testkit::fuse::Liar;

use crate::Case;
use crate::mounts::ways;
use crate::scratch::{Facts, OBJECT, Scratch, content};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "a_digest_is_refused_without_fs_verity",
        needs: old_overlayfs,
        run: a_digest_is_refused_without_fs_verity,
    },
    Case { name: "old_overlayfs_refuses_to_verify", needs: new_overlayfs, run: old_overlayfs_refuses_to_verify },
    Case { name: "unverified_objects_give_eio", needs: old_overlayfs, run: unverified_objects_give_eio },
    Case { name: "the_right_digest_mounts_the_wrong_one_not", needs: fs_verity, run: only_the_right_digest_mounts },
    Case { name: "a_fuse_server_vouches_for_nothing", needs: fuse, run: a_fuse_server_vouches_for_nothing },
    Case {
        name: "the_header_counts_that_the_digest_vouches_for",
        needs: crate::nothing,
        run: the_header_counts_that_the_digest_vouches_for,
    },
    Case { name: "a_changed_object_gives_eio", needs: fs_verity, run: a_changed_object_gives_eio },
];

fn old_overlayfs(facts: &Facts) -> Option<String> {
    facts.no_overlay_verity.clone()
}

fn new_overlayfs(facts: &Facts) -> Option<String> {
    facts.no_overlay_verity.is_none().then(|| "overlayfs of this kernel can verify".into())
}

fn fs_verity(facts: &Facts) -> Option<String> {
    facts.no_overlay_verity.clone().or_else(|| facts.no_fs_verity.clone())
}

fn fuse(_: &Facts) -> Option<String> {
    libcomposefs_testkit::fuse::unavailable()
}

/// Enables fs-verity and returns the digest that the kernel then measures.
fn enabled(path: &Path, algorithm: Algorithm) -> Digest {
    let file = fs::File::open(path).unwrap();
    assert_eq!(enable(&file, algorithm.kernel_number(), 4096).unwrap(), Enabled::Now);
    assert_eq!(enable(&file, algorithm.kernel_number(), 4096).unwrap(), Enabled::Before);
    let Measurement::Digest(measured) = measure(&file).unwrap() else { panic!("no digest") };
    assert_eq!(measured.algorithm, u16::from(algorithm.kernel_number()));
    Digest::new(algorithm, &measured.digest).unwrap()
}

fn enabled_digest(file: &fs::File) -> String {
    match measure(file).unwrap() {
        Measurement::Digest(measured) => Digest::new(Algorithm::Sha256, &measured.digest).unwrap().to_hex(),
        other => panic!("{other:?}"),
    }
}

fn a_digest_is_refused_without_fs_verity(scratch: &Scratch) {
    for hex in ["ab".repeat(32), "ab".repeat(64)] {
        for allowed in ways() {
            let error = scratch.mount(&format!(",digest={hex}"), allowed).unwrap_err();
            assert!(matches!(error, Error::NoVerity { .. }), "{error}");
            assert!(
                error.to_string().contains("Image has no fs-verity") && error.to_string().contains(&hex),
                "{error}"
            );
        }
    }
    scratch.mount("", KernelFeatures::default()).unwrap();
    scratch.umount();
}

fn old_overlayfs_refuses_to_verify(scratch: &Scratch) {
    // Where the file system has fs-verity, even the right digest of the image does not help.
    let image = fs::File::open(scratch.path("image")).unwrap();
    let digest = match enable(&image, 1, 4096).unwrap() {
        Enabled::Now => enabled_digest(&image),
        _ => "ab".repeat(32),
    };
    for more in [",verity", ",verity_check=1", ",verity_check=2", &format!(",digest={digest}")] {
        for allowed in ways() {
            let error = scratch.mount(more, allowed).unwrap_err();
            assert!(matches!(error, Error::NoOverlayVerity { .. }), "{error}");
            assert!(error.remedy().unwrap().contains("6.6"));
            assert_eq!(scratch.leftovers(), [""; 0]);
        }
    }
    for more in [",tryverity", ",verity_check=0"] {
        let mounted = scratch.mount(more, KernelFeatures::default()).unwrap();
        assert_eq!(mounted.verity, Verity::Off);
        assert_eq!(scratch.read("dir/external").unwrap(), content());
        scratch.umount();
    }
}

fn unverified_objects_give_eio(scratch: &Scratch) {
    for more in [",verity", ",tryverity", ",verity_check=1", ",verity_check=2"] {
        for allowed in ways() {
            let mounted = scratch.mount(more, allowed).unwrap();
            let error = scratch.read("dir/external").unwrap_err();
            assert_eq!(error.raw_os_error(), Some(5), "{mounted}: {error}");
            assert_eq!(scratch.read("dir/inline").unwrap(), "inline\n");
            scratch.umount();
        }
    }
    scratch.mount(",verity_check=0", KernelFeatures::default()).unwrap();
    assert_eq!(scratch.read("dir/external").unwrap(), content());
    scratch.umount();
}

fn only_the_right_digest_mounts(scratch: &Scratch) {
    enabled(&scratch.path("objects").join(OBJECT), Algorithm::Sha256);
    for algorithm in Algorithm::ALL {
        let image = scratch.put_image(&format!("image-{algorithm}")).unwrap();
        let right = enabled(&image, algorithm);
        let mut flipped = right.as_bytes().to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        let wrong = Digest::new(algorithm, &flipped).unwrap();
        // The bytes of one algorithm are never taken for a digest of the other.
        let other = match algorithm {
            Algorithm::Sha256 => Digest::new(Algorithm::Sha512, &[right.as_bytes(), &[0; 32]].concat()).unwrap(),
            Algorithm::Sha512 => Digest::new(Algorithm::Sha256, &right.as_bytes()[..32]).unwrap(),
        };
        for allowed in ways() {
            let mounted = scratch.mount_image(&image, &scratch.options(&format!(",digest={right}")), allowed).unwrap();
            assert_eq!(mounted.verity, Verity::Require);
            assert_eq!(scratch.read("dir/external").unwrap(), content(), "{mounted}");
            scratch.umount();
            for digest in [wrong, other] {
                let options = scratch.options(&format!(",digest={digest}"));
                let error = scratch.mount_image(&image, &options, allowed).unwrap_err();
                assert!(matches!(error, Error::WrongVerity { .. }), "{error}");
                let text = error.to_string();
                assert!(text.contains("Image has wrong fs-verity"), "{text}");
                assert!(text.contains(&format!("{right:?}")) && text.contains(&format!("{digest:?}")), "{text}");
                assert_eq!(scratch.leftovers(), [""; 0]);
            }
        }
    }
}

/// The server answers the requests about fs-verity itself: with the digest that is demanded, while it serves other
/// bytes.
fn a_fuse_server_vouches_for_nothing(scratch: &Scratch) {
    let good = fs::read(scratch.path("image")).unwrap();
    let digest = libcomposefs_image::verity::digest(Algorithm::Sha256, &good);
    let options = scratch.options(&format!(",digest={digest}"));
    let mut evil = good.clone();
    *evil.last_mut().unwrap() ^= 1;
    for bytes in [evil, good] {
        fs::create_dir_all(scratch.path("fuse")).unwrap();
        let liar = Liar::mount(&scratch.path("fuse"), bytes, digest.as_bytes());
        let file = fs::File::open(liar.file()).unwrap();
        assert_eq!(measure(&file).unwrap(), Measurement::Unsupported);
        assert_eq!(liar.lies(), 1, "the server was not asked, so nothing was tested");
        assert_eq!(enable(&file, 1, 4096).unwrap(), Enabled::Unsupported);
        drop(file);
        let image = ImageFile::open(&liar.file()).unwrap();
        let error = image.check_digest(&digest).unwrap_err();
        assert!(matches!(error, Error::NoVerity { supported: false, .. }), "{error}");
        drop(image);
        for allowed in ways() {
            let error = scratch.mount_image(&liar.file(), &options, allowed).unwrap_err();
            assert!(matches!(error, Error::NoVerity { .. } | Error::NoOverlayVerity { .. }), "{error}");
        }
        // Without a demand the image mounts from there.
        let mounted = scratch.mount_image(&liar.file(), &scratch.options(""), KernelFeatures::default()).unwrap();
        assert_eq!(scratch.read("dir/inline").unwrap(), "inline\n", "{mounted}");
        scratch.umount();
    }
    // The same bytes on a disk: the kernel's own digest counts.
    let file = fs::File::open(scratch.path("image")).unwrap();
    if enable(&file, 1, 4096).unwrap() == Enabled::Now {
        ImageFile::open(&scratch.path("image")).unwrap().check_digest(&digest).unwrap();
    }
}

/// The owner of the image shows a header without the flag for ACLs, then writes the right one and seals the file: a
/// mount with `noacl` would drop the entries that restrict access.
fn the_header_counts_that_the_digest_vouches_for(scratch: &Scratch) {
    let (path, name) = (scratch.path("acl"), "system.posix_acl_access");
    let with_acl = image_with_acl();
    let mut without = with_acl.clone();
    without[8] = 0;
    for (sealed, has_acl) in [(&without, false), (&with_acl, true)] {
        let _ = fs::remove_file(&path);
        fs::write(&path, &without).unwrap();
        let image = ImageFile::open(&path).unwrap();
        let header = image.header().unwrap();
        assert!(!header.has_acl());
        fs::File::options().write(true).open(&path).unwrap().write_all(sealed).unwrap();
        let overlay_verifies = Overlayfs::probe().unwrap().verity;
        let is_sealed = enable(fs::File::open(&path).unwrap(), 1, 4096).unwrap() == Enabled::Now;
        // Without fs-verity nothing vouches for the header, but it is the last one, too.
        let digest = libcomposefs_image::verity::digest(Algorithm::Sha256, sealed);
        let demand = if is_sealed && overlay_verifies { format!(",digest={digest}") } else { String::new() };
        let options = parse(&scratch.options(&demand), UnknownOptions::Refuse).unwrap();
        let plan = Plan::new(&path, &header, options);
        plan.mount_at(&image, &scratch.path("mnt"), KernelFeatures::default()).unwrap();
        let mut value = [0; 100];
        let found = rustix::fs::getxattr(scratch.path("mnt/file"), name, &mut value);
        assert_eq!(found.is_ok(), has_acl, "{found:?}");
        scratch.umount();
    }
}

/// An image of an empty file that one more user may read.
fn image_with_acl() -> Vec<u8> {
    let entries = [(1_u16, 6_u16, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
        acl.extend(id.to_le_bytes());
    }
    let value: String = acl.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let dump =
        format!("/ 0 40755 2 0 0 0 1.0 - - -\n/file 0 100640 1 0 0 0 1.0 - - - system.posix_acl_access={value}\n");
    let mut parser = Parser::new(dump::Options::default());
    dump.lines().for_each(|line| parser.push_line(line.as_bytes()).unwrap());
    let mut image = Vec::new();
    Image::plan(&parser.finish().unwrap().tree, Versions::default()).unwrap().write(&mut image).unwrap();
    image
}

fn a_changed_object_gives_eio(scratch: &Scratch) {
    let object = scratch.path("objects").join(OBJECT);
    let digest = enabled(&object, Algorithm::Sha256);
    assert_eq!(digest.object_path(), OBJECT);
    for more in [",verity", ",tryverity", ",verity_check=1", ",verity_check=2"] {
        for allowed in ways() {
            let mounted = scratch.mount(more, allowed).unwrap();
            assert_eq!(scratch.read("dir/external").unwrap(), content(), "{mounted}");
            scratch.umount();
        }
    }
    fs::remove_file(&object).unwrap();
    fs::write(&object, content().to_uppercase()).unwrap();
    enabled(&object, Algorithm::Sha256);
    for more in [",verity", ",tryverity", ",verity_check=1", ",verity_check=2"] {
        for allowed in ways() {
            let mounted = scratch.mount(more, allowed).unwrap();
            let error = scratch.read("dir/external").unwrap_err();
            assert_eq!(error.raw_os_error(), Some(5), "{mounted}: {error}");
            scratch.umount();
        }
    }
    scratch.mount("", KernelFeatures::default()).unwrap();
    assert_eq!(scratch.read("dir/external").unwrap(), content().to_uppercase());
    scratch.umount();
}
