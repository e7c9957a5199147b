//! Bundles are written: images with the objects that the receiver lacks.

use std::io::Write;
use std::os::fd::AsFd;

use libcomposefs_content::Progress;
use libcomposefs_image::Digest;
use rustix::fs::fstat;

use super::format::{Record, write_end, write_head, write_record};
use crate::digest_set::DigestSet;
use crate::reader::HeldImage;
use crate::{ImageName, Reader, RefName, Repository, RepositoryError, StreamTag, io_error};
use libcomposefs_store::Object;

/// Images and objects that the receiver of a bundle has.
#[derive(Clone, Debug, Default)]
pub struct Have {
    /// Images of the receiver, with all objects they need. This repository must have them too.
    pub images: Vec<ImageName>,
    /// Objects of the receiver.
    pub objects: Vec<Digest>,
}

/// An OCI image to be written to a bundle. The description is made and read by another crate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OciDocument {
    /// Names of the image.
    pub names: Vec<StreamTag>,
    /// Objects that the description refers to, with all that the image needs.
    pub objects: Vec<Digest>,
    /// The description, of at most 4 MiB.
    pub text: Vec<u8>,
    /// The composefs images, whose signatures are written too.
    pub images: Vec<Digest>,
}

/// Counts of what was written to a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Digests of the images.
    pub images: Vec<Digest>,
    /// Number of OCI images.
    pub oci: u64,
    /// Number of objects, without the images.
    pub objects: u64,
    /// Total size of images and objects, in bytes.
    pub bytes: u64,
    /// Number of objects that the receiver has, and that were not written.
    pub left_out: u64,
}

/// Images that a bundle gets, protected until the value is dropped.
pub(super) struct WantedImages {
    /// Each image once, with all of its names.
    pub(super) images: Vec<(Digest, Vec<RefName>)>,
    pub(super) held: Vec<HeldImage>,
}

impl Reader<'_> {
    /// Resolves the names of images, and protects these.
    pub(super) fn hold_wanted(&self, names: &[ImageName]) -> Result<WantedImages, RepositoryError> {
        let mut wanted = WantedImages { images: Vec::new(), held: Vec::new() };
        for name in names {
            let (digest, image) = self.hold_named(name)?;
            wanted.held.push(image);
            let names = match name {
                ImageName::Ref(name) => vec![name.clone()],
                ImageName::Digest(_) => Vec::new(),
            };
            match wanted.images.iter_mut().find(|(other, _)| *other == digest) {
                Some((_, others)) => others.extend(names),
                None => wanted.images.push((digest, names)),
            }
        }
        Ok(wanted)
    }

    /// Writes images and OCI images with their names, and the objects that the receiver lacks. Every content is checked
    /// before it is written.
    ///
    /// # Errors
    ///
    /// If an image or object is missing or wrong, or `out` fails.
    pub fn export(
        &self,
        images: &[ImageName],
        oci: &[OciDocument],
        have: &Have,
        out: &mut impl Write,
        progress: &dyn Progress,
    ) -> Result<Exported, RepositoryError> {
        let repository = self.repository();
        let WantedImages { images: wanted, held: _held } = self.hold_wanted(images)?;
        let mut done = DigestSet::new(repository.algorithm());
        for digest in &have.objects {
            done.insert(digest);
        }
        for name in &have.images {
            let (digest, _held) = self.hold_named(name)?;
            done.insert(&digest);
            repository.objects_of_image(&digest, |object| {
                done.insert(object);
            })?;
        }
        write_head(out, repository.algorithm()).map_err(RepositoryError::Output)?;
        let (mut exported, mut records) = (Exported::default(), 0);
        for (digest, names) in wanted {
            let mut objects = Vec::new();
            let mut all = DigestSet::new(repository.algorithm());
            repository.objects_of_image(&digest, |object| {
                if all.insert(object) {
                    objects.push(*object);
                }
            })?;
            for object in objects {
                if !done.insert(&object) {
                    exported.left_out += 1;
                    continue;
                }
                let len = export_object(repository, &object, out)?;
                progress.bytes(len);
                exported.objects += 1;
                exported.bytes += len;
                records += 1;
            }
            let len = export_content(repository, &digest, out, |len| Record::Image { digest, len, names })?;
            exported.images.push(digest);
            exported.bytes += len;
            records += 1;
        }
        for OciDocument { names, objects, text, .. } in oci {
            for object in objects {
                if !done.insert(object) {
                    exported.left_out += 1;
                    continue;
                }
                let len = export_object(repository, object, out)?;
                progress.bytes(len);
                exported.objects += 1;
                exported.bytes += len;
                records += 1;
            }
            let record = Record::Oci { len: text.len() as u64, names: names.clone() };
            write_record(out, &record).and_then(|()| out.write_all(text)).map_err(RepositoryError::Output)?;
            exported.oci += 1;
            exported.bytes += text.len() as u64;
            records += 1;
        }
        write_end(out, records).map_err(RepositoryError::Output)?;
        out.flush().map_err(RepositoryError::Output)?;
        Ok(exported)
    }
}

fn export_object(repository: &Repository, digest: &Digest, out: &mut impl Write) -> Result<u64, RepositoryError> {
    export_content(repository, digest, out, |len| Record::Object { digest: *digest, len })
}

/// Writes an object or image after its record, and returns its size.
fn export_content(
    repository: &Repository,
    digest: &Digest,
    out: &mut impl Write,
    record: impl FnOnce(u64) -> Record,
) -> Result<u64, RepositoryError> {
    let path = repository.objects.path_of(digest);
    let Some(file) = repository.objects.open_object(digest)? else {
        return Err(io_error("open", &path)(rustix::io::Errno::NOENT));
    };
    let stat = fstat(file.as_fd()).map_err(io_error("stat", &path))?;
    let object = Object::new(file, path, &stat);
    write_record(out, &record(object.size())).map_err(RepositoryError::Output)?;
    object.copy_verified(digest, |piece| out.write_all(piece).map_err(RepositoryError::Output))?;
    Ok(object.size())
}
