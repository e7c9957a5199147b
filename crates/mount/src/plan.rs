//! What will be mounted how: the user's wishes joined with what the image's header says.

use std::fmt;
use std::path::{Path, PathBuf};

use libcomposefs_image::Digest;
use libcomposefs_image::erofs::header::Header;

use crate::flags::Attributes;
use crate::options::{Options, UpperDir, Verity};
use crate::readahead::ReadAhead;

/// What the C tools have as the source of their mounts.
pub(crate) const SOURCE: &str = "composefs";

/// A mount, planned. Which of the kernel's interfaces carry it out is found when it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The image, for messages.
    pub image: PathBuf,
    /// What stands as the source in the list of mounts: `composefs`, or `composefs:DIGEST`.
    pub source: String,
    /// The directory to mount at.
    pub target: PathBuf,
    /// An empty directory to mount the image at for a moment, where the kernel needs one; a new one if not said.
    pub mountpoint: Option<PathBuf>,
    /// The fs-verity digest that the kernel must have for the image.
    pub(crate) digest: Option<Digest>,
    /// Whether the image has POSIX ACLs. Without any, `noacl` spares looking for them.
    pub acl: bool,
    /// How much of the image is read at mount.
    pub read_ahead: ReadAhead,
    /// The user namespace whose mapping shifts the owners in the image.
    pub idmap: Option<PathBuf>,
    /// The object directories, as data-only layers in this order.
    pub data: Vec<PathBuf>,
    /// The writable layer.
    pub upper: Option<UpperDir>,
    /// What overlayfs checks of the files.
    pub(crate) verity: Verity,
    /// The attributes of the mount. Without a writable layer it is read-only.
    pub attributes: Attributes,
}

impl Plan {
    /// Plans to mount `image`, whose header is `header`, at `target`.
    #[must_use]
    pub fn new(image: &Path, header: &Header, target: &Path, options: Options) -> Self {
        let mut attributes = options.attributes;
        attributes.read_only |= options.upper.is_none();
        Self {
            image: image.to_owned(),
            source: SOURCE.to_owned(),
            target: target.to_owned(),
            mountpoint: None,
            digest: options.digest().copied(),
            acl: header.has_acl(),
            read_ahead: options.read_ahead,
            verity: options.verity(),
            idmap: options.idmap,
            data: options.basedirs,
            upper: options.upper,
            attributes,
        }
    }
}

impl Plan {
    /// The fs-verity digest that the kernel must have for the image.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What overlayfs checks of the files.
    #[must_use]
    pub fn verity(&self) -> Verity {
        self.verity
    }

    /// Lets the list of mounts say which image it is.
    #[must_use]
    pub fn named_by(self, digest: &Digest) -> Self {
        Self { source: format!("{SOURCE}:{digest}"), ..self }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "image    {}", self.image.display())?;
        match &self.digest {
            Some(digest) => writeln!(f, "         the kernel must have fs-verity digest {digest:?} for it")?,
            None => writeln!(f, "         its fs-verity digest is not checked")?,
        }
        writeln!(f, "erofs    ro{}", if self.acl { "" } else { ",noacl" })?;
        match self.read_ahead {
            ReadAhead::OFF => writeln!(f, "         nothing is read ahead")?,
            most => writeln!(f, "         read ahead up to {most}")?,
        }
        if let Some(userns) = &self.idmap {
            writeln!(f, "         owners mapped by {}", userns.display())?;
        }
        writeln!(f, "overlay  metacopy=on,redirect_dir=on")?;
        match self.verity.overlay_value() {
            Some(value) => {
                let proviso = if self.verity == Verity::RequireIfSupported { ", if this kernel can" } else { "" };
                writeln!(f, "         verity={value}{proviso}")?;
            }
            None => writeln!(f, "         files are not verified")?,
        }
        writeln!(f, "         lowerdir+=(the image)")?;
        for dir in &self.data {
            writeln!(f, "         datadir+={}", dir.display())?;
        }
        if let Some(upper) = &self.upper {
            writeln!(f, "         upperdir={}", upper.dir.display())?;
            writeln!(f, "         workdir={}", upper.work.display())?;
        }
        write!(f, "mount    {} ({})", self.target.display(), self.attributes)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::parse::{UnknownOptions, parse};

    fn planned(text: &str, flags: u32) -> Plan {
        let options = parse(OsStr::new(text), UnknownOptions::Refuse).unwrap();
        let header = Header { flags, format_version: 1 };
        Plan::new(Path::new("a.img"), &header, Path::new("/mnt"), options)
    }

    #[test]
    fn without_a_writable_layer_it_is_read_only() {
        assert!(planned("basedir=o", 0).attributes.read_only);
        assert!(planned("basedir=o,rw", 0).attributes.read_only);
        assert!(!planned("basedir=o,upperdir=u,workdir=w", 0).attributes.read_only);
        assert!(planned("basedir=o,upperdir=u,workdir=w,ro", 0).attributes.read_only);
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
            planned("basedir=o", 0).to_string(),
            "image    a.img\n         its fs-verity digest is not checked\nerofs    ro,noacl\n\
             \x20        read ahead up to 32 MiB\noverlay  metacopy=on,redirect_dir=on\n         files are not verified\n\
             \x20        lowerdir+=(the image)\n         datadir+=o\nmount    /mnt (ro)"
        );
        let hex = "ab".repeat(32);
        let full =
            planned(&format!("basedir=o:p,digest={hex},readahead=1M,idmap=/ns,upperdir=u,workdir=w,nodev,noatime"), 1);
        assert_eq!(
            full.to_string(),
            format!(
                "image    a.img\n         the kernel must have fs-verity digest sha256:{hex} for it\nerofs    ro\n\
                 \x20        read ahead up to 1 MiB\n         owners mapped by /ns\noverlay  metacopy=on,redirect_dir=on\n         verity=require\n\
                 \x20        lowerdir+=(the image)\n         datadir+=o\n         datadir+=p\n\
                 \x20        upperdir=u\n         workdir=w\nmount    /mnt (rw,nodev,noatime)"
            )
        );
        assert!(planned("basedir=o,readahead=off", 0).to_string().contains("nothing is read ahead\n"));
        assert!(planned("basedir=o,tryverity", 0).to_string().contains("verity=require, if this kernel can"));
        assert!(planned("basedir=o,verity_check=1", 0).to_string().contains("verity=on\n"));
    }
}
