//! `composefs-fuse`: mounts an image in user space, with the command line of the C tool.

mod command_line;
mod layered;
mod recorder;
mod served_place;
mod service;
mod serving;

use std::ffi::OsString;
use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use libcomposefs_fuse::{FuseError, Trust};
use libcomposefs_image::erofs::header::Header;
use libcomposefs_image::erofs::read::ImageReader;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_mount::ImageFile;
use libcomposefs_store::ImageBytes;

use self::command_line::{FuseCommand, FuseRequest};
pub(crate) use self::layered::LayerVerifier;
pub(crate) use self::served_place::{device_number, leave_namespace, unmount_in};
pub(crate) use self::service::Service;
pub(crate) use self::serving::{
    ServicePart, damage_report, default_threads, find_object_directory, find_target, find_target_directory, harden,
    run_here, run_in_background,
};
use crate::c_tool::CTool;
use crate::commands::mount::with_remedy;

const TOOL: CTool = CTool { name: "composefs-fuse", usage: command_line::USAGE, examples: command_line::EXAMPLES };

/// Runs `composefs-fuse` with the arguments after the program's name.
pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    match command_line::parse(args) {
        Ok(FuseCommand::Mount(request)) => TOOL.exit_status(mount(&request)),
        Ok(FuseCommand::Exit(exit)) | Err(exit) => TOOL.exit_early(exit),
    }
}

fn mount(request: &FuseRequest) -> anyhow::Result<()> {
    let image = ImageFile::open(&request.image).map_err(|error| with_remedy(&error))?;
    let (bytes, file) = read_image(&image, request.digest.as_ref())?;
    check_head(&request.image, &bytes)?;
    let mut service = Service::new(TOOL.name, &request.image, bytes, file);
    service.basedirs = request.basedirs.clone();
    service.trust = if request.insecure { Trust::Insecure } else { Trust::Verify };
    service.no_acl = request.no_acl;
    service.mount = request.mount.clone();
    service.threads = if request.single_thread { std::num::NonZeroUsize::MIN } else { default_threads() };
    if request.foreground {
        return service.run_here();
    }
    match service.run_in_background()? {
        ServicePart::Caller(_) => Ok(()),
        ServicePart::Server(result) => result,
    }
}

/// Reads the image, and compares its digest with the one that is demanded. What was read is what is served.
pub(crate) fn read_image(image: &ImageFile, expected: Option<&Digest>) -> anyhow::Result<(ImageBytes, File)> {
    let path = image.path();
    let mut file =
        File::from(rustix::io::fcntl_dupfd_cloexec(image.as_fd(), 3).context("cannot duplicate a descriptor")?);
    let cannot_read = || format!("cannot read {}", path.display());
    let metadata = file.metadata().with_context(cannot_read)?;
    let len = metadata.is_file().then_some(metadata.len());
    file.seek(SeekFrom::Start(0)).with_context(cannot_read)?;
    let algorithm = expected.map_or(Algorithm::Sha256, Digest::algorithm);
    let bytes = ImageBytes::read(&mut file, len, algorithm).with_context(cannot_read)?;
    if let Some(expected) = expected.filter(|expected| **expected != bytes.digest) {
        let (expected, found) = (Box::new(*expected), Box::new(bytes.digest));
        return Err(serving::service_error(&FuseError::Digest { image: path.to_owned(), expected, found }));
    }
    Ok((bytes, file))
}

/// The words of the C tool for what is no image.
fn check_head(path: &Path, image: &ImageBytes) -> anyhow::Result<()> {
    let Err(error) = ImageReader::new(&image.bytes) else { return Ok(()) };
    let words = if image.file_len < 4096 {
        "Too small image"
    } else if Header::parse(&image.bytes).is_err() {
        "Wrong cfs magic"
    } else {
        "Wrong erofs magic"
    };
    bail!("{words}: {}: {error}", path.display())
}
