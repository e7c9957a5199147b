//! Joining image and objects with overlayfs through `mount(2)`: all options in one text.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libcomposefs_sys::mount::{MountError, mount_at_once};
use rustix::io::Errno;

use crate::error::Error;
use crate::escape::protect;
use crate::failure::Failure;
use crate::layer::{Layer, Layers};
use crate::method::OverlayMethod;
use crate::options::Verity;
use crate::plan::Plan;
use crate::probe::Overlayfs;

/// The number of bytes that the kernel reads of the text (`copy_mount_options` in `fs/namespace.c`): a page, with its
/// end mark. It silently cuts off a longer text.
const DATA_MAX: usize = 4095;

/// The separator between the layers.
#[derive(Clone, Copy)]
pub(crate) enum Separator {
    /// `::`: data-only layers, whose names are not seen (Linux 6.5).
    DataOnly,
    /// `:`: ordinary layers below the image. Its whiteouts for 00 to ff and its opaque root hide their names.
    Ordinary,
}

/// Mounts at `target` with the image at `lower`.
pub(crate) fn mount(
    plan: &Plan,
    lower: &Path,
    layers: &Layers,
    target: &Path,
    overlayfs: Overlayfs,
    verity: Verity,
) -> Result<OverlayMethod, Failure> {
    let flags = plan.options().flags.mount_flags();
    let try_with = |separator| -> Result<(), Failure> {
        let data = fitting(plan, lower, layers, verity, separator)?;
        Ok(mount_at_once(OsStr::new(&plan.source), target, "overlay", flags, &data)?)
    };
    match try_with(Separator::DataOnly) {
        // An overlayfs with mount contexts has data-only layers too, so it refused something else, and ordinary layers
        // would weaken the mount.
        Err(Failure::Kernel(error)) if error.errno == Errno::INVAL && !overlayfs.contexts => {
            try_with(Separator::Ordinary)?;
            Ok(OverlayMethod::OrdinaryLayers)
        }
        answer => answer.map(|()| OverlayMethod::OneText),
    }
}

/// The text with the paths as they were written, or if that is too long, with links to the open directories.
fn fitting(
    plan: &Plan,
    lower: &Path,
    layers: &Layers,
    verity: Verity,
    separator: Separator,
) -> Result<CString, Failure> {
    let mut data = text(lower, layers, verity, separator, Layer::path)?;
    if data.len() > DATA_MAX {
        data = text(lower, layers, verity, separator, |layer| layer.short_path().map(PathBuf::from))?;
    }
    match CString::new(data) {
        Ok(data) if data.as_bytes().len() <= DATA_MAX => Ok(data),
        Ok(data) => Err(Failure::Other(Error::TooLong { image: plan.image.clone(), len: data.as_bytes().len() })),
        // The layers were opened by these paths, so no path has a zero byte.
        Err(_) => unreachable!("an opened path has no zero byte"),
    }
}

fn text(
    lower: &Path,
    layers: &Layers,
    verity: Verity,
    separator: Separator,
    path: impl Fn(&Layer) -> Result<PathBuf, MountError>,
) -> Result<Vec<u8>, MountError> {
    let statfs = layers.statfs.as_ref().map(&path).transpose()?;
    let data = layers.data.iter().map(&path).collect::<Result<Vec<_>, _>>()?;
    let upper = match &layers.upper {
        Some((upper, work)) => Some((path(upper)?, path(work)?)),
        None => None,
    };
    let upper = upper.as_ref().map(|(upper, work)| (&**upper, &**work));
    let lower: Vec<&Path> = statfs.as_deref().into_iter().chain([lower]).collect();
    Ok(options(&lower, &data, upper, verity, separator).join(&b','))
}

/// Returns the options of overlayfs as `mount(2)` takes them, with protected paths.
pub(crate) fn options(
    lower: &[&Path],
    data: &[impl AsRef<Path>],
    upper: Option<(&Path, &Path)>,
    verity: Verity,
    separator: Separator,
) -> Vec<Vec<u8>> {
    let protected = |path: &Path| protect(path.as_os_str().as_bytes());
    let lower: Vec<_> = lower.iter().map(|path| protected(path)).collect();
    let mut lowerdir = [&b"lowerdir="[..], &lower.join(&b':')].concat();
    for dir in data {
        lowerdir.extend_from_slice(match separator {
            Separator::DataOnly => b"::",
            Separator::Ordinary => b":",
        });
        lowerdir.extend(protected(dir.as_ref()));
    }
    let mut options = vec![b"metacopy=on".to_vec(), b"redirect_dir=on".to_vec(), lowerdir];
    if let Some((upper, work)) = upper {
        options.push([b"upperdir=", &protected(upper)[..]].concat());
        options.push([b"workdir=", &protected(work)[..]].concat());
    }
    if let Some(value) = verity.overlay_value() {
        options.push([b"verity=", value.as_bytes()].concat());
    }
    options
}
