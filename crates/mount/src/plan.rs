//! A planned mount: the options joined with what the image's header says.

use std::fmt;
use std::path::{Path, PathBuf};

use libcomposefs_image::Digest;
use libcomposefs_image::erofs::header::Header;

use crate::options::{Options, StatfsSource, Verity};
use crate::path_or_fd::PathOrFd;
use crate::readahead::ReadAhead;

/// The source of the mounts that the C tools make.
pub(crate) const SOURCE: &str = "composefs";

/// A planned mount: plain data, which needs no privileges. Which of the kernel's interfaces are used is found out when
/// it is mounted.
///
/// # Examples
///
/// ```no_run
/// use std::os::fd::OwnedFd;
/// use std::path::Path;
///
/// use libcomposefs_mount::{ImageFile, KernelFeatures, Options, Plan};
///
/// let image = ImageFile::open(Path::new("rootfs.img"))?;
/// let plan = Plan::new(image.path(), &image.header()?, Options::default().with_basedir("objects"));
/// println!("{plan}");
///
/// // The mount is attached nowhere: it can be attached later, passed to another process, or used by its descriptor.
/// let mount = plan.mount(&image, KernelFeatures::default())?;
/// println!("{}", mount.report());
/// mount.attach(Path::new("/mnt"))?;
/// let fd: OwnedFd = mount.into();
/// # Ok::<(), libcomposefs_mount::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The path of the image, for messages.
    pub image: PathBuf,
    /// The source in the list of mounts: `composefs`, or `composefs:DIGEST`.
    pub source: String,
    /// An empty directory to mount the image at temporarily, where the kernel needs one. Without it a new one is made.
    pub mountpoint: Option<PathBuf>,
    /// Set if the image has POSIX ACLs. If it has none, the mount option `noacl` saves looking for them.
    pub acl: bool,
    /// An empty directory on the file system of the objects, for [`StatfsSource::Objects`]. It becomes the topmost
    /// layer, which overlayfs asks for `statfs` and for the attributes of the root directory: it must have those of the
    /// image's root. Whatever is in it, or comes into it during the mount, is in the root directory of the mount,
    /// unverified.
    pub statfs_dir: Option<PathOrFd>,
    options: Options,
}

impl Plan {
    /// Plans to mount `image`, whose header is `header`. Without a writable layer the mount is read-only.
    #[must_use]
    pub fn new(image: &Path, header: &Header, mut options: Options) -> Self {
        options.flags.read_only |= options.upper.is_none();
        let acl = header.has_acl();
        Self { image: image.to_owned(), source: SOURCE.to_owned(), mountpoint: None, acl, statfs_dir: None, options }
    }

    /// Returns the options of the mount.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Adds the digest of the image to the source that the list of mounts shows.
    #[must_use]
    pub fn named_by(self, digest: &Digest) -> Self {
        Self { source: format!("{SOURCE}:{digest}"), ..self }
    }

    /// Returns the plan as text, for a mount at `target`. `show` turns a path into the text to print for it.
    #[must_use]
    pub fn describe(&self, target: Option<&Path>, show: impl Fn(&Path) -> String) -> String {
        let mut text = self.describe_image(&show);
        let options = &self.options;
        let mut line = |line: String| text += &format!("\n{line}");
        line("overlay  metacopy=on,redirect_dir=on".into());
        match options.verity().overlay_value() {
            Some(value) => {
                let proviso = if options.verity() == Verity::RequireIfSupported { ", if this kernel can" } else { "" };
                line(format!("         verity={value}{proviso}"));
            }
            None => line("         files are not verified".into()),
        }
        if options.statfs == StatfsSource::Objects {
            line(
                "         lowerdir+=(an empty directory on the file system of the objects, which answers statfs)"
                    .into(),
            );
        }
        line("         lowerdir+=(the image)".into());
        let name = |dir: &PathOrFd| show(&dir.name());
        for dir in &options.basedirs {
            line(format!("         datadir+={}", name(dir)));
        }
        if let Some(upper) = &options.upper {
            line(format!("         upperdir={}", name(&upper.dir)));
            line(format!("         workdir={}", name(&upper.work)));
        }
        line(self.describe_attaching(target, &show));
        text
    }

    /// Returns the plan to mount the image without an overlay, as text.
    #[must_use]
    pub fn describe_image_only(&self, target: Option<&Path>, show: impl Fn(&Path) -> String) -> String {
        format!("{}\n{}", self.describe_image(&show), self.describe_attaching(target, &show))
    }

    fn describe_image(&self, show: &impl Fn(&Path) -> String) -> String {
        let mut text = format!("image    {}", show(&self.image));
        match self.options.digest() {
            Some(digest) => text += &format!("\n         the kernel must have fs-verity digest {digest:?} for it"),
            None => text += "\n         its fs-verity digest is not checked",
        }
        if self.options.is_signed() {
            text += "\n         the kernel must have verified a signature of it";
        }
        text += if self.acl { "\nerofs    ro" } else { "\nerofs    ro,noacl" };
        match self.options.read_ahead {
            ReadAhead::OFF => text += "\n         nothing is read ahead",
            most => text += &format!("\n         read ahead up to {most}"),
        }
        if let Some(userns) = &self.options.idmap {
            text += &format!("\n         owners mapped by {}", show(&userns.name()));
        }
        text
    }

    fn describe_attaching(&self, target: Option<&Path>, show: &impl Fn(&Path) -> String) -> String {
        let flags = &self.options.flags;
        target.map_or_else(|| format!("mount    ({flags})"), |target| format!("mount    {} ({flags})", show(target)))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(None, |path| path.display().to_string()))
    }
}

/// Returns the header of an image of version 1 with these flags.
#[cfg(test)]
pub(crate) fn header(flags: u32) -> Header {
    use libcomposefs_image::erofs::header::{HEADER_LEN, HEADER_VERSION, MAGIC};
    let mut bytes = [0; HEADER_LEN];
    for (place, word) in bytes.chunks_exact_mut(4).zip([MAGIC, HEADER_VERSION, flags, 1]) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    Header::parse(&bytes).unwrap()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::parse::{UnknownOptions, parse};

    fn planned(text: &str, flags: u32) -> Plan {
        let options = parse(OsStr::new(text), UnknownOptions::Refuse).unwrap();
        let header = header(flags);
        Plan::new(Path::new("a.img"), &header, options)
    }

    fn text(plan: &Plan) -> String {
        plan.describe(Some(Path::new("/mnt")), |path| path.display().to_string())
    }

    #[test]
    fn without_a_writable_layer_it_is_read_only() {
        assert!(planned("basedir=o", 0).options.flags.read_only);
        assert!(planned("basedir=o,rw", 0).options.flags.read_only);
        assert!(!planned("basedir=o,upperdir=u,workdir=w", 0).options.flags.read_only);
        assert!(planned("basedir=o,upperdir=u,workdir=w,ro", 0).options.flags.read_only);
    }

    #[test]
    fn the_acl_flag_of_the_header_decides() {
        assert!(planned("basedir=o", 1).acl);
        assert!(!planned("basedir=o", 0).acl);
        assert!(!planned("basedir=o", 0xfffe).acl);
    }

    #[test]
    fn it_can_be_read() {
        assert_eq!(
            text(&planned("basedir=o", 0)),
            "image    a.img\n         its fs-verity digest is not checked\nerofs    ro,noacl\n\
             \x20        read ahead up to 32 MiB\noverlay  metacopy=on,redirect_dir=on\n\
             \x20        files are not verified\n\
             \x20        lowerdir+=(the image)\n         datadir+=o\nmount    /mnt (ro)"
        );
        let hex = "ab".repeat(32);
        let full =
            planned(&format!("basedir=o:p,digest={hex},readahead=1M,idmap=/ns,upperdir=u,workdir=w,nodev,noatime"), 1);
        assert_eq!(
            text(&full),
            format!(
                "image    a.img\n         the kernel must have fs-verity digest sha256:{hex} for it\nerofs    ro\n\
                 \x20        read ahead up to 1 MiB\n         owners mapped by /ns\n\
                 overlay  metacopy=on,redirect_dir=on\n         verity=require\n\
                 \x20        lowerdir+=(the image)\n         datadir+=o\n         datadir+=p\n\
                 \x20        upperdir=u\n         workdir=w\nmount    /mnt (rw,nodev,noatime)"
            )
        );
        assert!(full.to_string().ends_with("\nmount    (rw,nodev,noatime)"));
        assert_eq!(
            planned("basedir=o,nosuid", 0).describe_image_only(Some(Path::new("/mnt")), |_| "PATH".into()),
            "image    PATH\n         its fs-verity digest is not checked\nerofs    ro,noacl\n\
             \x20        read ahead up to 32 MiB\nmount    PATH (ro,nosuid)"
        );
        assert!(planned("basedir=o,readahead=off", 0).to_string().contains("nothing is read ahead\n"));
        let statfs = planned("basedir=o,statfs=objects", 0).to_string();
        assert!(statfs.contains("which answers statfs)\n         lowerdir+=(the image)\n"), "{statfs}");
        assert!(planned("basedir=o,tryverity", 0).to_string().contains("verity=require, if this kernel can"));
        assert!(planned("basedir=o,verity_check=1", 0).to_string().contains("verity=on\n"));
    }
}
