//! Operands that name an image: a file, or a ref or digest of an image in the repository.
//!
//! A path that exists is a file. Only if no such path exists, the repository is opened, and the operand is looked up in
//! it as `composefs mount` does. So a command on files works without a repository, and neither waits for one nor
//! changes it. An operand that begins with a transport, such as `oci:`, is an OCI image outside a repository.

mod error;
mod lookup;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use libcomposefs_image::Digest;
use libcomposefs_oci::stored::StoredImage;
use libcomposefs_store::Basedirs;

pub(crate) use lookup::Operands;

use crate::commands::repository::NameOperand;
use crate::image_file::ImageFile;
use crate::input::{self, Input};
use crate::source_image::SourceImage;

/// Paragraph on operands for `--help`.
pub(crate) const IMAGES: &str = "\
An image is named by the path of a file or, if there is no such file, by a ref, the name of an OCI image, or a digest of
the repository. ./NAME is always a file. An image of the repository is compared with its digest before it is used.
oci:DIR[:NAME], oci-archive:FILE[:NAME], docker-archive:FILE[:NAME], docker://REFERENCE and containers-storage:NAME name
an OCI image as `composefs oci pull` does: its layers are read, and nothing is stored.";

/// What an operand names.
pub(crate) enum Operand {
    /// A path, of a file that exists or of one that the repository cannot have.
    File,
    /// An image of the repository.
    Image(RepositoryImage),
    /// An OCI image outside a repository.
    Source(SourceImage),
}

/// An open image of the repository.
pub(crate) struct RepositoryImage {
    pub(crate) digest: Digest,
    pub(crate) file: OwnedFd,
    /// The OCI image, if the operand is the name of one.
    pub(crate) oci: Option<Box<StoredImage>>,
}

/// An image that was read.
pub(crate) struct ImageOperand {
    pub(crate) file: ImageFile,
    /// Digest under which the repository has the image; `None` for a file.
    pub(crate) digest: Option<Digest>,
}

impl Operands<'_> {
    /// Finds out what an operand names.
    pub(crate) fn find(&self, operand: &Path) -> anyhow::Result<Operand> {
        if self.is_source(operand) {
            return Ok(Operand::Source(SourceImage::open(operand, self.source_args())?));
        }
        let name = operand.to_str().and_then(|name| name.parse::<NameOperand>().ok());
        match name.filter(|_| operand != Path::new("-") && (self.is_name() || !exists(operand))) {
            Some(name) => self.image(operand, &name).map(Operand::Image),
            None => Ok(Operand::File),
        }
    }

    /// Reads the image that an operand names, and compares one of the repository with its digest.
    pub(crate) fn read(&self, operand: &Path) -> anyhow::Result<ImageOperand> {
        let image = self.read_unverified(operand)?;
        if let Some(digest) = image.digest {
            self.verify(operand, &image.file, digest)?;
        }
        Ok(image)
    }

    /// Reads the image that an operand names, for a command that itself compares it with its digest.
    pub(crate) fn read_unverified(&self, operand: &Path) -> anyhow::Result<ImageOperand> {
        match self.find(operand)? {
            Operand::File => Ok(ImageOperand { file: ImageFile::read(operand)?, digest: None }),
            Operand::Source(source) => {
                Ok(ImageOperand { file: source.image(operand, self.source_algorithm())?, digest: None })
            }
            Operand::Image(RepositoryImage { digest, file, .. }) => {
                let file = ImageFile::read_rest(&mut File::from(file), operand, Vec::new())?;
                Ok(ImageOperand { file, digest: Some(digest) })
            }
        }
    }

    /// Opens an operand that may also be a dump or a directory. Returns the digest of an image of the repository.
    pub(crate) fn open(&self, operand: &Path) -> anyhow::Result<(Input, Option<Digest>)> {
        self.open_found(operand, self.find(operand)?)
    }

    /// Opens an operand that was found.
    pub(crate) fn open_found(&self, operand: &Path, found: Operand) -> anyhow::Result<(Input, Option<Digest>)> {
        match found {
            Operand::File => Ok((input::open(operand)?, None)),
            Operand::Source(source) => Ok((Input::Source(source), None)),
            Operand::Image(RepositoryImage { digest, file, .. }) => {
                let file = ImageFile::read_rest(&mut File::from(file), operand, Vec::new())?;
                self.verify(operand, &file, digest)?;
                Ok((Input::Image(file), Some(digest)))
            }
        }
    }

    /// Returns the object directories `given`, or if there are none, that of the repository, provided that an image
    /// of the repository was found.
    pub(crate) fn basedirs(&self, given: Basedirs) -> anyhow::Result<Basedirs> {
        match self.used().filter(|_| given.is_empty()) {
            Some(repository) => Ok(Basedirs::open(&[repository.objects().path()])?),
            None => Ok(given),
        }
    }

    /// Compares an image of the repository with its digest. Where the kernel has the file under fs-verity with this
    /// digest, it has verified what was read.
    fn verify(&self, operand: &Path, file: &ImageFile, expected: Digest) -> anyhow::Result<()> {
        if file.kernel_digest()? == Some(Some(expected)) {
            return Ok(());
        }
        let found = file.digest(expected.algorithm())?;
        if found == expected { Ok(()) } else { Err(self.damaged(operand, &expected, &found)) }
    }
}

/// Returns true if there is something at a path, or if that cannot be determined.
fn exists(path: &Path) -> bool {
    match std::fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    }
}
