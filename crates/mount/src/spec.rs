//! A plan as mounts that another program makes: a container engine, a snapshotter, `mount(8)`.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::legacy::{self, Separator};
use crate::options::{StatfsSource, Verity};
use crate::path_or_fd::PathOrFd;
use crate::plan::Plan;

/// One mount as `mount(2)`, the OCI runtime specification and containerd describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MountSpec {
    /// The type of the file system: `erofs` or `overlay`.
    pub fs_type: &'static str,
    /// The absolute path of the image, or the name of the overlay in the list of mounts.
    pub source: OsString,
    /// The absolute path of the directory to mount at.
    pub target: PathBuf,
    /// The options. In the values, `\\`, `,` and `:` of paths are protected by backslashes, as overlayfs reads them.
    pub options: Vec<OsString>,
}

/// A plan that cannot be described as mounts of another program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// A mount option for `idmap=` does not exist.
    #[error(
        "option idmap has no counterpart among mount options: leave it out, and let the other program map the owners"
    )]
    Idmap,
    /// The kernel that mounts decides about `tryverity`, and it is not asked here.
    #[error("option tryverity depends on the kernel that mounts: use verity, or leave it out")]
    TryVerity,
    /// A directory is given as a descriptor, which another program does not have.
    #[error("{} is a descriptor: another program needs a path", .0.display())]
    Descriptor(PathBuf),
    /// A path cannot be made absolute.
    #[error("{}: {source}", path.display())]
    Path {
        /// The path that cannot be made absolute.
        path: PathBuf,
        /// The reason given by the kernel.
        source: io::Error,
    },
    /// The directory that answers `statfs` is for a mount of this program.
    #[error("option statfs=objects needs a directory that this program makes: leave it out")]
    Statfs,
    /// There is no object directory, so there is nothing to join.
    #[error("No object dirs specified: give basedir=DIR, or ask for the image only")]
    NoBasedir,
}

impl Plan {
    /// Returns the mounts that make up this plan at `target`, to be made in this order: the image, then the overlay on
    /// top of it at the same directory, whose `lowerdir` finds the image there. Both must be unmounted again.
    ///
    /// Nothing checks the digest of the image when another program mounts it: see [`ImageFile::check_digest`].
    ///
    /// [`ImageFile::check_digest`]: crate::ImageFile::check_digest
    ///
    /// # Errors
    ///
    /// [`SpecError`]
    pub fn specs(&self, target: &Path) -> Result<Vec<MountSpec>, SpecError> {
        let options = self.options();
        let target = absolute(target)?;
        let (verity, mut flags) = (options.verity(), words(&options.flags.to_string()));
        if verity == Verity::RequireIfSupported {
            return Err(SpecError::TryVerity);
        }
        if options.statfs == StatfsSource::Objects {
            return Err(SpecError::Statfs);
        }
        if options.basedirs.is_empty() {
            return Err(SpecError::NoBasedir);
        }
        let data = options.basedirs.iter().map(path).collect::<Result<Vec<_>, _>>()?;
        let upper = match &options.upper {
            Some(upper) => Some((path(&upper.dir)?, path(&upper.work)?)),
            None => None,
        };
        let upper = upper.as_ref().map(|(dir, work)| (&**dir, &**work));
        let layers = legacy::options(&[&target], &data, upper, verity, Separator::DataOnly);
        flags.extend(layers.into_iter().map(OsString::from_vec));
        let overlay = MountSpec { fs_type: "overlay", source: self.source.clone().into(), target, options: flags };
        Ok(vec![self.erofs_spec(overlay.target.clone(), words("ro"))?, overlay])
    }

    /// Returns the one mount of the image, without overlay and objects.
    ///
    /// # Errors
    ///
    /// [`SpecError`]
    pub fn image_spec(&self, target: &Path) -> Result<MountSpec, SpecError> {
        self.erofs_spec(absolute(target)?, words(&self.options().flags.to_string()))
    }

    fn erofs_spec(&self, target: PathBuf, mut options: Vec<OsString>) -> Result<MountSpec, SpecError> {
        if self.options().idmap.is_some() {
            return Err(SpecError::Idmap);
        }
        if !self.acl {
            options.push("noacl".into());
        }
        Ok(MountSpec { fs_type: "erofs", source: absolute(&self.image)?.into(), target, options })
    }
}

fn words(text: &str) -> Vec<OsString> {
    text.split(',').map(OsString::from).collect()
}

fn path(dir: &PathOrFd) -> Result<PathBuf, SpecError> {
    dir.path().map_or_else(|| Err(SpecError::Descriptor(dir.name().into_owned())), absolute)
}

fn absolute(path: &Path) -> Result<PathBuf, SpecError> {
    std::path::absolute(path).map_err(|source| SpecError::Path { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::options::Options;
    use crate::parse::UnknownOptions;
    use crate::plan::header;

    fn planned(text: &str, flags: u32) -> Plan {
        let options = Options::parse(OsStr::new(text), UnknownOptions::Refuse).unwrap();
        Plan::new(Path::new("/i/a.img"), &header(flags), options)
    }

    fn shown(spec: &MountSpec) -> String {
        let options = spec.options.join(OsStr::new(","));
        format!("{} {} {} {}", spec.fs_type, spec.source.display(), spec.target.display(), options.display())
    }

    #[test]
    fn the_overlay_covers_the_image() {
        let specs = planned("basedir=/o:/p,verity,nosuid", 0).specs(Path::new("/mnt")).unwrap();
        let text: Vec<_> = specs.iter().map(shown).collect();
        assert_eq!(
            text,
            [
                "erofs /i/a.img /mnt ro,noacl",
                "overlay composefs /mnt ro,nosuid,metacopy=on,redirect_dir=on,lowerdir=/mnt::/o::/p,verity=require"
            ]
        );
    }

    #[test]
    fn a_writable_layer_and_odd_paths_are_described() {
        let specs = planned(r"basedir=/o\:p\,q,upperdir=/u\,p,workdir=/w", 1).specs(Path::new("/m:n")).unwrap();
        assert_eq!(shown(&specs[0]), "erofs /i/a.img /m:n ro");
        assert_eq!(
            shown(&specs[1]),
            r"overlay composefs /m:n rw,metacopy=on,redirect_dir=on,lowerdir=/m\:n::/o\:p\,q,upperdir=/u\,p,workdir=/w"
        );
    }

    #[test]
    fn the_image_alone_has_the_flags() {
        let spec = planned("nosuid,nodev", 0).image_spec(Path::new("/mnt")).unwrap();
        assert_eq!(shown(&spec), "erofs /i/a.img /mnt ro,nosuid,nodev,noacl");
    }

    #[test]
    fn plans_that_no_mount_options_express_are_refused() {
        let refused = |text| planned(text, 0).specs(Path::new("/mnt")).unwrap_err();
        assert!(matches!(refused("basedir=/o,idmap=/n"), SpecError::Idmap));
        assert!(matches!(refused("basedir=/o,tryverity"), SpecError::TryVerity));
        assert!(matches!(refused("basedir=/o,statfs=objects"), SpecError::Statfs));
        assert!(matches!(refused("ro"), SpecError::NoBasedir));
        let objects = OwnedFd::from(std::fs::File::open("/proc").unwrap());
        let plan = Plan::new(Path::new("/i"), &header(0), Options::default().with_basedir(objects));
        assert!(matches!(plan.specs(Path::new("/mnt")), Err(SpecError::Descriptor(_))));
        // The same options for the image alone need no objects.
        planned("tryverity", 0).image_spec(Path::new("/mnt")).unwrap();
    }
}
