//! Images on file systems that the kernel does not take for file-backed EROFS: the loop device takes over.
//!
//! tmpfs never is taken. Stacked file systems (overlayfs, and EROFS on a file) were taken until early 2026, and are
//! refused since (`erofs_fc_fill_super` in `fs/erofs/super.c`: "file-backed mounts cannot be applied to stacked fses"),
//! as nested file systems could overflow the kernel's stack. Which of the two this kernel does, it is asked.

use std::fs;
use std::path::Path;

use libcomposefs_image::Algorithm;
use libcomposefs_image::dump::{self, Parser};
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_mount::{ErofsMethod, ImageFile, KernelFeatures, Options, Plan};
use libcomposefs_sys::mount::{FsContext, MountFlags, mount_at_once, unmount};
use rustix::io::Errno;

use crate::mounts::ways;
use crate::scratch::{Scratch, content};
use crate::{Case, nothing};

pub(crate) const CASES: &[Case] = &[
    Case { name: "an_image_on_tmpfs", needs: nothing, run: an_image_on_tmpfs },
    Case { name: "an_image_on_an_overlay", needs: nothing, run: an_image_on_an_overlay },
    Case { name: "an_image_on_an_overlay_over_tmpfs", needs: nothing, run: an_image_on_an_overlay_over_tmpfs },
    Case { name: "an_image_in_an_image", needs: nothing, run: an_image_in_an_image },
];

/// Returns true if the kernel mounts this image from its file; asked without this project's code.
fn takes_file(image: &Path) -> bool {
    let context = FsContext::open("erofs").unwrap();
    context.set_string("source", image).unwrap();
    context.set_flag("ro").unwrap();
    match context.create() {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.errno, Errno::NOTBLK, "{error}");
            false
        }
    }
}

/// Mounts the image in every way. Where the kernel refuses the file, the loop device must take over, and nowhere else.
fn mount_from(scratch: &Scratch, image: &Path) {
    let takes_file = takes_file(image);
    eprintln!("{}: the kernel {} it as a file", image.display(), if takes_file { "mounts" } else { "refuses" });
    for allowed in ways() {
        let mounted = scratch
            .mount_image(image, &scratch.options(""), allowed)
            .unwrap_or_else(|error| panic!("{allowed:?}: {error}"));
        let by_file = matches!(mounted.erofs, ErofsMethod::File);
        assert_eq!(by_file, takes_file && allowed.file_backed, "{allowed:?}: {mounted}");
        assert_eq!(scratch.read("dir/external").unwrap(), content(), "{mounted}");
        scratch.umount();
    }
}

fn an_image_on_tmpfs(scratch: &Scratch) {
    let image = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    fs::copy(scratch.path("image"), image.path()).unwrap();
    assert!(!takes_file(image.path()));
    mount_from(scratch, image.path());
}

/// As in a container: the image's own file system is an overlay already, and the kernel bounds how deep they stack.
fn an_image_on_an_overlay(scratch: &Scratch) {
    let overlay = Overlay::below(scratch, "");
    mount_from(scratch, &overlay.image());
    // The twin: the same image beside the overlay, on the file system below it.
    mount_from(scratch, &scratch.path("image"));
}

/// On an overlay over tmpfs, direct I/O through a loop device fails only when something is read.
fn an_image_on_an_overlay_over_tmpfs(scratch: &Scratch) {
    let below = scratch.path("below");
    fs::create_dir(&below).unwrap();
    let flags = MountFlags::empty();
    mount_at_once("test".as_ref(), &below, "tmpfs", flags, c"").unwrap();
    let _below = Unmounted(below);
    let overlay = Overlay::below(scratch, "below/");
    mount_from(scratch, &overlay.image());
}

/// An image as a file of a mounted image, as in a system that is an image and holds others.
fn an_image_in_an_image(scratch: &Scratch) {
    let inner = fs::read(scratch.path("image")).unwrap();
    let digest = libcomposefs_image::verity::digest(Algorithm::Sha256, &inner);
    let object = scratch.path("objects").join(digest.object_path());
    fs::create_dir_all(object.parent().unwrap()).unwrap();
    fs::write(&object, &inner).unwrap();
    let text = format!(
        "/ 0 40755 2 0 0 0 1.0 - - -\n/image {} 100644 1 0 0 0 1.0 {} - {digest}\n",
        inner.len(),
        digest.object_path()
    );
    let mut parser = Parser::new(dump::Options::default());
    text.lines().for_each(|line| parser.push_line(line.as_bytes()).unwrap());
    let mut bytes = Vec::new();
    Image::plan(&parser.finish().unwrap().tree, Versions::default()).unwrap().write(&mut bytes).unwrap();
    let outer = scratch.path("outer");
    fs::write(&outer, bytes).unwrap();

    let image = ImageFile::open(&outer).unwrap();
    let options = Options::default().with_basedir(scratch.path("objects"));
    let plan = Plan::new(&outer, &image.header().unwrap(), options);
    let merged = scratch.path("merged");
    fs::create_dir(&merged).unwrap();
    plan.mount_at(&image, &merged, KernelFeatures::default()).unwrap();
    let merged = Unmounted(merged);
    assert!(fs::read(merged.0.join("image")).unwrap() == inner);
    mount_from(scratch, &merged.0.join("image"));
}

/// Unmounts the directory on drop.
struct Unmounted(std::path::PathBuf);

impl Drop for Unmounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0, true);
    }
}

/// An ordinary overlay with the image in its upper directory.
struct Overlay(Unmounted);

impl Overlay {
    fn image(&self) -> std::path::PathBuf {
        self.0.0.join("image")
    }

    fn below(scratch: &Scratch, prefix: &str) -> Self {
        let path = |name: &str| scratch.path(&format!("{prefix}{name}"));
        for dir in ["over-lower", "over-upper", "over-work", "merged"] {
            fs::create_dir(path(dir)).unwrap();
        }
        let data = format!(
            "lowerdir={},upperdir={},workdir={}",
            path("over-lower").display(),
            path("over-upper").display(),
            path("over-work").display()
        );
        let target = path("merged");
        let flags = MountFlags::empty();
        let data = std::ffi::CString::new(data).unwrap();
        mount_at_once("test".as_ref(), &target, "overlay", flags, &data).unwrap();
        scratch.put_image(&format!("{prefix}merged/image")).unwrap();
        Self(Unmounted(target))
    }
}
