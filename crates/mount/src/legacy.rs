//! Joining image and objects with overlayfs through `mount(2)`: all options in one text.

use std::ffi::{CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libcomposefs_sys::mount::mount_at_once;
use libcomposefs_sys::proc_fd;
use rustix::io::Errno;

use crate::error::Error;
use crate::escape::protect;
use crate::failure::Failure;
use crate::layer::{Layer, Layers};
use crate::method::OverlayWay;
use crate::options::Verity;
use crate::plan::Plan;
use crate::probe::Overlayfs;

/// What the kernel reads of the text (`copy_mount_options` in `fs/namespace.c`): a page, with its end mark. It would
/// cut a longer one off without a word.
const DATA_MAX: usize = 4095;

/// What stands between the layers.
#[derive(Clone, Copy)]
enum Separator {
    /// `::`: data-only layers, whose names are not seen (Linux 6.5).
    DataOnly,
    /// `:`: ordinary layers below the image. Its whiteouts for 00 to ff and its opaque root hide their names.
    Ordinary,
}

/// Mounts at the open directory `target` with the image at `lower`. `mount(2)` takes paths only: that of the directory's
/// link in `/proc`, or where that is missing the path once more.
pub(crate) fn mount(
    plan: &Plan,
    lower: &Path,
    layers: &Layers,
    target: &OwnedFd,
    overlayfs: Overlayfs,
    verity: Verity,
) -> Result<OverlayWay, Failure> {
    let target = proc_fd::link(target).unwrap_or_else(|| plan.target.clone());
    let flags = plan.attributes.mount_flags();
    let try_with = |separator| -> Result<(), Failure> {
        let data = fitting(plan, lower, layers, verity, separator)?;
        Ok(mount_at_once(OsStr::new(&plan.source), &target, "overlay", flags, &data)?)
    };
    match try_with(Separator::DataOnly) {
        // Where overlayfs understands contexts it has data-only layers too, so a refusal is about something else, and
        // ordinary layers would weaken the mount.
        Err(Failure::Kernel(error)) if error.errno == Errno::INVAL && !overlayfs.contexts => {
            try_with(Separator::Ordinary)?;
            Ok(OverlayWay::OrdinaryLayers)
        }
        answer => answer.map(|()| OverlayWay::OneText),
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
    let mut data = text(lower, layers, verity, separator, |layer| protect(layer.path().as_os_str().as_bytes()));
    if data.len() > DATA_MAX {
        data = text(lower, layers, verity, separator, |layer| layer.short_path().into_encoded_bytes());
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
    path: impl Fn(&Layer) -> Vec<u8>,
) -> Vec<u8> {
    let mut text = b"metacopy=on,redirect_dir=on,lowerdir=".to_vec();
    text.extend(protect(lower.as_os_str().as_bytes()));
    for layer in &layers.data {
        text.extend_from_slice(match separator {
            Separator::DataOnly => b"::",
            Separator::Ordinary => b":",
        });
        text.extend(path(layer));
    }
    if let Some((upper, work)) = &layers.upper {
        text.extend_from_slice(b",upperdir=");
        text.extend(path(upper));
        text.extend_from_slice(b",workdir=");
        text.extend(path(work));
    }
    if let Some(value) = verity.overlay_value() {
        text.extend_from_slice(b",verity=");
        text.extend_from_slice(value.as_bytes());
    }
    text
}
