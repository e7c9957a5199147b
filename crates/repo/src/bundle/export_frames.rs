//! Bundles of version 2 are written: objects in frames, with objects of the receiver as bases.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, Write};
use std::num::NonZeroUsize;

use libcomposefs_content::Progress;
use libcomposefs_delta::{
    BaseChoice, Effort, EncodeOptions, FramePlan, NamedObject, ReadAt, SpoolFile, choose, encode_frames,
    needed_objects, plan_frames,
};
use libcomposefs_image::Digest;

use super::export::{Exported, Have, OciDocument, WantedImages};
use super::signature_record::write_signature;
use super::typed_record::{write_end, write_frame, write_head, write_image, write_oci};
use super::verified_objects::VerifiedObjects;
use crate::digest_set::DigestSet;
use crate::{ImageName, Reader, RefName, Repository, RepositoryError, io_error};

/// How the objects of a bundle are compressed.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct FrameOptions<'a> {
    /// The work that is spent.
    pub effort: Effort,
    /// Number of threads.
    pub threads: NonZeroUsize,
    /// Makes a file for the compressed bytes of an object of more than 32 MiB. Without it they are kept in memory.
    pub spool: Option<&'a (dyn Fn() -> io::Result<Box<dyn SpoolFile>> + Sync)>,
}

impl FrameOptions<'_> {
    /// Makes options without a spool.
    #[must_use]
    pub fn new(effort: Effort, threads: NonZeroUsize) -> Self {
        Self { effort, threads, spool: None }
    }
}

impl Reader<'_> {
    /// Writes images and OCI images with their names, and the objects that the receiver lacks, to a bundle of version
    /// 2: compressed, and with the objects of `have.images` as bases. Every content and base is checked before it is
    /// used.
    ///
    /// # Errors
    ///
    /// If an image or object is missing or wrong, or `out` fails.
    pub fn export_frames(
        &self,
        images: &[ImageName],
        oci: &[OciDocument],
        have: &Have,
        options: &FrameOptions<'_>,
        out: &mut (impl Write + Send),
        progress: &(dyn Progress + Sync),
    ) -> Result<Exported, RepositoryError> {
        let repository = self.repository();
        let WantedImages { images: wanted, mut held } = self.hold_wanted(images)?;
        let mut contents = ContentsToExport::new(repository, have);
        for name in &have.images {
            let (digest, image) = self.hold_named(name)?;
            held.push(image);
            contents.has_image(&digest)?;
        }
        write_head(out, repository.algorithm()).map_err(RepositoryError::Output)?;
        for (digest, _) in &wanted {
            contents.add_tree(digest)?;
        }
        for document in oci {
            contents.add_objects(&document.objects)?;
        }
        let mut writer = FrameWriter { options, out, records: 0, verified: VerifiedObjects::new(repository) };
        writer.objects(&contents.choices, progress)?;
        for (digest, names) in &wanted {
            writer.image(digest, names, &contents)?;
            contents.exported.bytes += contents.size_of(digest)?;
            contents.exported.images.push(*digest);
        }
        let mut records = writer.records;
        let of_oci = oci.iter().flat_map(|document| document.images.iter().copied());
        let signed: BTreeSet<_> = wanted.iter().map(|(digest, _)| *digest).chain(of_oci).collect();
        for digest in &signed {
            for signature in repository.signatures(digest)? {
                write_signature(out, digest, &signature).map_err(RepositoryError::Output)?;
                records += 1;
            }
        }
        for OciDocument { names, text, .. } in oci {
            write_oci(out, names, text).map_err(RepositoryError::Output)?;
            contents.exported.oci += 1;
            contents.exported.bytes += text.len() as u64;
            records += 1;
        }
        write_end(out, records).and_then(|()| out.flush()).map_err(RepositoryError::Output)?;
        Ok(contents.exported)
    }
}

/// The objects that are written, and those that the receiver has.
struct ContentsToExport<'r> {
    repository: &'r Repository,
    done: DigestSet,
    /// Objects of the receiver's images, which can be bases.
    old: Vec<NamedObject>,
    /// Images of the receiver.
    old_images: Vec<(Digest, u64)>,
    choices: Vec<BaseChoice>,
    exported: Exported,
}

impl<'r> ContentsToExport<'r> {
    fn new(repository: &'r Repository, have: &Have) -> Self {
        let mut done = DigestSet::new(repository.algorithm());
        for digest in &have.objects {
            done.insert(digest);
        }
        let (old, old_images, choices) = Default::default();
        Self { repository, done, old, old_images, choices, exported: Exported::default() }
    }

    fn has_image(&mut self, digest: &Digest) -> Result<(), RepositoryError> {
        let objects = needed_objects(&self.repository.tree_of_image(digest)?);
        self.done.insert(digest);
        for object in &objects {
            self.done.insert(&object.digest);
        }
        self.old.extend(objects);
        self.old_images.push((*digest, self.size_of(digest)?));
        Ok(())
    }

    /// Adds the objects of an image that the receiver lacks.
    fn add_tree(&mut self, digest: &Digest) -> Result<(), RepositoryError> {
        let objects = needed_objects(&self.repository.tree_of_image(digest)?);
        self.add(objects)
    }

    /// Adds objects without a path.
    fn add_objects(&mut self, objects: &[Digest]) -> Result<(), RepositoryError> {
        let named = |digest: &Digest| {
            Ok(NamedObject { path: digest.to_hex().into_bytes(), digest: *digest, size: self.size_of(digest)? })
        };
        let objects = objects.iter().map(named).collect::<Result<_, RepositoryError>>()?;
        self.add(objects)
    }

    fn add(&mut self, mut objects: Vec<NamedObject>) -> Result<(), RepositoryError> {
        let mut seen = HashSet::new();
        objects.retain(|object| seen.insert(object.digest));
        let all = objects.len();
        objects.retain(|object| self.done.insert(&object.digest));
        self.exported.left_out += (all - objects.len()) as u64;
        for object in &mut objects {
            // What an image says of a size is not what the object has.
            object.size = self.size_of(&object.digest)?;
            self.exported.objects += 1;
            self.exported.bytes += object.size;
        }
        self.choices.extend(choose(&objects, &self.old, &mut |_, _| true));
        Ok(())
    }

    fn size_of(&self, digest: &Digest) -> Result<u64, RepositoryError> {
        let path = self.repository.objects.path_of(digest);
        let stat = self.repository.objects.try_stat(digest).map_err(io_error("open", &path))?;
        Ok(u64::try_from(stat.st_size).unwrap_or_default())
    }
}

struct FrameWriter<'a, W> {
    options: &'a FrameOptions<'a>,
    out: &'a mut W,
    records: u64,
    verified: VerifiedObjects<'a>,
}

impl<W: Write + Send> FrameWriter<'_, W> {
    fn objects(&mut self, choices: &[BaseChoice], progress: &(dyn Progress + Sync)) -> Result<(), RepositoryError> {
        self.frames(&plan_frames(choices), |out, frame, bytes| {
            write_frame(out, frame, bytes)?;
            progress.bytes(frame.objects.iter().map(|(_, size)| size).sum());
            Ok(())
        })
    }

    fn image(
        &mut self,
        digest: &Digest,
        names: &[RefName],
        contents: &ContentsToExport<'_>,
    ) -> Result<(), RepositoryError> {
        let size = contents.size_of(digest)?;
        let closest = contents.old_images.iter().min_by_key(|base| base.1.abs_diff(size)).copied();
        let bases = closest.into_iter().filter(|base| base.0 != *digest).collect();
        let plan = FramePlan { objects: vec![(*digest, size)], bases };
        self.frames(&[plan], |out, frame, bytes| write_image(out, frame, names, bytes))
    }

    fn frames(
        &mut self,
        plans: &[FramePlan],
        mut write: impl FnMut(&mut W, &libcomposefs_delta::FrameInfo, &mut dyn io::Read) -> io::Result<()> + Send,
    ) -> Result<(), RepositoryError> {
        let Self { options, out, records, verified } = self;
        let FrameOptions { effort, threads, spool } = **options;
        let open = |digest: &Digest| -> io::Result<Box<dyn ReadAt>> {
            Ok(Box::new(verified.open(digest).map_err(io::Error::other)?))
        };
        encode_frames(plans, &EncodeOptions { effort, threads, spool }, &open, &mut |frame, bytes| {
            *records += 1;
            write(out, frame, bytes)
        })
        .map_err(|error| error.downcast().unwrap_or_else(RepositoryError::Output))
    }
}
