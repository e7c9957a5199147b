//! The content of a mount, made by each method.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};

use libcomposefs_mount::{
    ErofsMethod, ImageFile, KernelFeatures, OverlayMethod, Plan, UmountError, UnknownOptions, parse, umount,
};
use libcomposefs_sys::mount::{MountFlags, mount_at_once, unmount};

use crate::scratch::{OBJECT, Scratch, content};
use crate::{Case, nothing};

pub(crate) const CASES: &[Case] = &[
    Case { name: "every_way_gives_the_files", needs: nothing, run: every_way_gives_the_files },
    Case { name: "the_callers_mount_point_for_the_image_stays", needs: nothing, run: the_callers_mount_point_stays },
    Case { name: "without_upper_dir_nothing_is_writable", needs: nothing, run: read_only },
    Case { name: "upper_dir_takes_the_changes", needs: nothing, run: upper_dir_takes_the_changes },
    Case { name: "attributes_reach_the_mount", needs: nothing, run: attributes_reach_the_mount },
    Case { name: "odd_paths", needs: nothing, run: odd_paths },
    Case { name: "long_paths", needs: nothing, run: long_paths },
    Case { name: "basedirs_are_searched_in_order", needs: nothing, run: basedirs_are_searched_in_order },
    Case { name: "umount_judges_the_mount_that_is_seen", needs: nothing, run: umount_judges_the_mount_that_is_seen },
    Case { name: "owners_are_mapped", needs: |_| no_unshare(), run: owners_are_mapped },
];

/// From the newest kernel to the oldest.
pub(crate) fn ways() -> Vec<KernelFeatures> {
    let without = |features: &[fn(&mut KernelFeatures) -> &mut bool]| {
        let mut allowed = KernelFeatures::default();
        features.iter().for_each(|feature| *feature(&mut allowed) = false);
        allowed
    };
    vec![
        KernelFeatures::default(),
        without(&[|f| &mut f.file_backed]),
        without(&[|f| &mut f.detached]),
        without(&[|f| &mut f.overlay_contexts]),
        without(&[|f| &mut f.overlay_contexts, |f| &mut f.file_backed]),
        without(&[|f| &mut f.contexts]),
        without(&[|f| &mut f.contexts, |f| &mut f.file_backed]),
    ]
}

fn every_way_gives_the_files(scratch: &Scratch) {
    for allowed in ways() {
        let mounted = scratch.mount("", allowed).unwrap_or_else(|error| panic!("{allowed:?}: {error}"));
        if !allowed.file_backed {
            assert!(matches!(mounted.erofs, ErofsMethod::Loop(_)), "{mounted}");
        }
        if !allowed.detached {
            assert_ne!(mounted.overlay, OverlayMethod::Detached);
        }
        if !allowed.contexts || !allowed.overlay_contexts {
            assert!(matches!(mounted.overlay, OverlayMethod::OneText | OverlayMethod::OrdinaryLayers), "{mounted}");
        }
        assert_eq!(scratch.read("dir/inline").unwrap(), "inline\n", "{mounted}");
        assert_eq!(scratch.read("dir/external").unwrap(), content(), "{mounted}");
        assert_eq!(scratch.read("link").unwrap(), "inline\n", "{mounted}");
        let mut names: Vec<_> = fs::read_dir(scratch.path("mnt")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["dir", "link"], "{mounted}: the objects' names show through");
        let meta = scratch.path("mnt/dir/external").metadata().unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o7777, meta.mtime()), (1000, 0o644, 1_700_000_002), "{mounted}");
        scratch.umount();
        assert_eq!(scratch.leftovers(), [""; 0], "{mounted}");
    }
}

/// An empty directory of the caller's for the image: used where a path is needed, and after success and failure as it
/// was.
fn the_callers_mount_point_stays(scratch: &Scratch) {
    let own = scratch.path("own");
    fs::create_dir(&own).unwrap();
    let is_mounted = || fs::read_to_string("/proc/self/mountinfo").unwrap().contains(own.to_str().unwrap());
    for allowed in ways() {
        let image = ImageFile::open(&scratch.path("image")).unwrap();
        let options = parse(&scratch.options(""), UnknownOptions::Refuse).unwrap();
        let target = scratch.path("mnt");
        let mut plan = Plan::new(image.path(), &image.header().unwrap(), options.clone());
        plan.mountpoint = Some(own.clone());
        let mounted = plan.mount_at(&image, &target, allowed).unwrap_or_else(|error| panic!("{allowed:?}: {error}"));
        assert_eq!(scratch.read("dir/external").unwrap(), content(), "{mounted}");
        let info = scratch.mountinfo();
        assert_eq!(
            info.contains(own.to_str().unwrap()),
            mounted.overlay != OverlayMethod::Detached,
            "{mounted}: {info}"
        );
        scratch.umount();
        // The same directory twice: overlayfs refuses it when the image is mounted already.
        let twice = options.with_basedir(plan.options().basedirs[0].clone());
        let mut plan = Plan::new(image.path(), &image.header().unwrap(), twice);
        plan.mountpoint = Some(own.clone());
        if let Ok(mounted) = plan.mount_at(&image, &target, allowed) {
            scratch.umount();
            assert!(matches!(mounted.overlay, OverlayMethod::OneText | OverlayMethod::OrdinaryLayers), "{mounted}");
        }
        assert!(own.is_dir() && !is_mounted(), "{allowed:?}");
        assert_eq!(scratch.leftovers(), [""; 0], "{allowed:?}");
    }
    fs::remove_dir(&own).unwrap();
}

fn read_only(scratch: &Scratch) {
    for allowed in ways() {
        scratch.mount(",rw", allowed).unwrap();
        let error = fs::write(scratch.path("mnt/new"), "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
        scratch.umount();
    }
}

fn upper_dir_takes_the_changes(scratch: &Scratch) {
    for allowed in ways() {
        for dir in ["upper", "work"] {
            fs::remove_dir_all(scratch.path(dir)).unwrap();
            fs::create_dir(scratch.path(dir)).unwrap();
        }
        let upper = format!(",upperdir={},workdir={}", scratch.path("upper").display(), scratch.path("work").display());
        let mounted = scratch.mount(&upper, allowed).unwrap();
        fs::write(scratch.path("mnt/new"), "new").unwrap();
        fs::remove_file(scratch.path("mnt/link")).unwrap();
        let external = scratch.path("mnt/dir/external");
        let mut file = fs::OpenOptions::new().append(true).open(&external).unwrap();
        std::io::Write::write_all(&mut file, b"more").unwrap();
        drop(file);
        assert_eq!(scratch.read("dir/external").unwrap(), content() + "more", "{mounted}");
        assert_eq!(fs::read_to_string(scratch.path("upper/new")).unwrap(), "new");
        assert!(scratch.read("link").is_err());
        scratch.umount();
        assert_eq!(fs::read_to_string(scratch.path("objects").join(OBJECT)).unwrap(), content());
        scratch.mount("", allowed).unwrap();
        assert_eq!(scratch.read("dir/external").unwrap(), content());
        assert_eq!(scratch.read("link").unwrap(), "inline\n");
        scratch.umount();
        // And with an upper directory, yet read-only.
        scratch.mount(&format!("{upper},ro"), allowed).unwrap();
        assert_eq!(scratch.read("new").unwrap(), "new");
        assert_eq!(fs::write(scratch.path("mnt/new"), "x").unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
        scratch.umount();
    }
}

fn attributes_reach_the_mount(scratch: &Scratch) {
    for allowed in ways() {
        let mounted = scratch.mount(",nosuid,nodev,noexec,noatime,nodiratime,nosymfollow", allowed).unwrap();
        let info = scratch.mountinfo();
        for word in ["ro,", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"] {
            assert!(info.split(" - ").next().unwrap().contains(word), "{mounted}: {word} is missing in {info}");
        }
        assert!(scratch.read("link").is_err(), "nosymfollow lets no link be followed");
        scratch.umount();
        scratch.mount("", allowed).unwrap();
        assert!(!scratch.mountinfo().contains("nosuid"));
        scratch.umount();
    }
}

fn odd_paths(scratch: &Scratch) {
    let name = r"a,b:c\d e=f\";
    scratch.put_objects(name).unwrap();
    for dir in ["up,p:e\\r", "wo,r:k\\"] {
        fs::create_dir(scratch.path(dir)).unwrap();
    }
    let quoted = |name: &str| -> String {
        let path = scratch.path(name).display().to_string();
        path.chars().flat_map(|c| matches!(c, '\\' | ',' | ':').then_some('\\').into_iter().chain([c])).collect()
    };
    for upper in ["", &format!(",upperdir={},workdir={}", quoted("up,p:e\\r"), quoted("wo,r:k\\"))] {
        for allowed in ways() {
            let options = format!("basedir={}{upper}", quoted(name));
            let mounted = scratch
                .mount_with(&options.clone().into(), allowed)
                .unwrap_or_else(|error| panic!("{allowed:?} {options}: {error}"));
            assert_eq!(scratch.read("dir/external").unwrap(), content(), "{mounted}");
            if !upper.is_empty() {
                fs::write(scratch.path("mnt/new"), "new").unwrap();
                assert_eq!(fs::read_to_string(scratch.path("up,p:e\\r/new")).unwrap(), "new", "{mounted}");
            }
            scratch.umount();
        }
    }
}

/// Each longer than one text of `fsconfig`, and many of them longer than the page that `mount(2)` reads.
fn long_paths(scratch: &Scratch) {
    let dirs: Vec<String> = (0..8)
        .map(|number| {
            let deep = format!("{number}/{0}/{0}/{0}", "x".repeat(200));
            scratch.put_objects(&deep).unwrap();
            scratch.path(&deep).display().to_string()
        })
        .collect();
    for count in [1, dirs.len()] {
        let options = format!("basedir={}", dirs[..count].join(":"));
        for allowed in ways() {
            let mounted = scratch
                .mount_with(&options.clone().into(), allowed)
                .unwrap_or_else(|error| panic!("{count} long paths, {allowed:?}: {error}"));
            assert_eq!(scratch.read("dir/external").unwrap(), content(), "{mounted}");
            scratch.umount();
        }
    }
}

fn basedirs_are_searched_in_order(scratch: &Scratch) {
    fs::create_dir(scratch.path("empty")).unwrap();
    let other = scratch.put_objects("other").unwrap();
    // Without verification the first directory with the name serves it, whatever it holds.
    fs::write(&other, content().to_uppercase()).unwrap();
    let (objects, empty, other) = (scratch.path("objects"), scratch.path("empty"), scratch.path("other"));
    for (list, expected) in
        [([&empty, &objects, &other], content()), ([&empty, &other, &objects], content().to_uppercase())]
    {
        let list: Vec<_> = list.into_iter().map(|dir| dir.display().to_string()).collect();
        let options = format!("basedir={}", list.join(":"));
        for allowed in ways() {
            let mounted = scratch.mount_with(&options.clone().into(), allowed).unwrap();
            assert_eq!(scratch.read("dir/external").unwrap(), expected, "{mounted}");
            scratch.umount();
        }
    }
}

/// A process in a user namespace of its own.
struct Namespace(Child);

impl Namespace {
    fn new() -> std::io::Result<Self> {
        let child = Command::new("unshare").args(["-U", "sleep", "60"]).stdin(Stdio::null()).spawn()?;
        let own = fs::read_link("/proc/self/ns/user")?;
        let namespace = Self(child);
        while fs::read_link(namespace.file())? == own {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{}/{map}", namespace.0.id()), "0 100000 65536")?;
        }
        Ok(namespace)
    }

    fn file(&self) -> String {
        format!("/proc/{}/ns/user", self.0.id())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn no_unshare() -> Option<String> {
    Namespace::new().err().map(|error| format!("no user namespace can be made with unshare(1): {error}"))
}

fn owners_are_mapped(scratch: &Scratch) {
    let namespace = Namespace::new().unwrap();
    for allowed in ways() {
        let answer = scratch.mount(&format!(",idmap={}", namespace.file()), allowed);
        if !allowed.contexts {
            assert!(matches!(answer, Err(libcomposefs_mount::Error::NoIdmap { .. })), "{answer:?}");
            continue;
        }
        let mounted = answer.unwrap();
        let meta = scratch.path("mnt/dir/external").metadata().unwrap();
        assert_eq!((meta.uid(), meta.gid()), (101_000, 101_000), "{mounted}");
        assert_eq!(scratch.read("dir/external").unwrap(), content(), "{mounted}");
        scratch.umount();
    }
    // The initial user namespace maps nothing, and the kernel says so.
    let error = scratch.mount(",idmap=/proc/self/ns/user", KernelFeatures::default()).unwrap_err();
    assert!(error.to_string().contains("mount_setattr(idmap)"), "{error}");
    let error = scratch.mount(",idmap=/nonexistent", KernelFeatures::default()).unwrap_err();
    assert_eq!(error.to_string(), "Failed to open userns /nonexistent: No such file or directory");
}

/// A file system that is mounted above hides the image, which the list of mounts still has under the same path.
fn umount_judges_the_mount_that_is_seen(scratch: &Scratch) {
    scratch.mount("", KernelFeatures::default()).unwrap();
    let above = scratch.path("");
    mount_at_once("test".as_ref(), &above, "tmpfs", MountFlags::empty(), c"").unwrap();
    fs::create_dir(scratch.path("mnt")).unwrap();
    let refused = umount(&scratch.path("mnt"), false);
    unmount(&above, false).unwrap();
    assert!(matches!(refused, Err(UmountError::NotComposefs { found: None, .. })), "{refused:?}");
    // The same path once more, now that the image is seen.
    umount(&scratch.path("mnt"), false).unwrap();
}
