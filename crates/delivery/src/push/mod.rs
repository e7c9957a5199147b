//! An image is pushed: missing objects in new packs, then the index, the metadata image, and the ref last.

mod builder;
mod known;
mod packs;
mod settle;

use std::collections::HashMap;
use std::num::NonZeroUsize;

use libcomposefs_content::Progress;
use libcomposefs_delta::{DeltaEncoder, Effort, NamedObject, needed_objects};
use libcomposefs_image::Digest;
use libcomposefs_repo::bundle::VerifiedObjects;
use libcomposefs_repo::{ImageName, RefName, Repository, StoredSignature};

use crate::pack_writer::MakeFile;
use crate::remote::Remote;
use crate::signature_records::with_signatures;
use crate::{
    CompareAndSwap, DeliveryError, ExpectedFile, FileEntry, FileName, ImageIndex, RefDocument, RefImage,
    RefReplacement, RemoteRef, Sha256Digest, Trace,
};
use builder::IndexBuilder;
use known::KnownRemote;
use packs::{PackSender, SentFiles};
use settle::Settled;

/// Number of times that a push begins again because files went away that it had relied on.
const ROUNDS: usize = 4;

/// Options of a push.
#[derive(Clone, Copy)]
pub struct DeliveryPushOptions<'a> {
    /// Work that is spent on compression.
    pub effort: Effort,
    /// Number of threads that compress.
    pub threads: NonZeroUsize,
    /// Makes temporary files, for packs.
    pub make_file: MakeFile<'a>,
    /// Objects that lazy mounts fetch ahead: they go into a pack of their own, and the index names them. Without it,
    /// the trace that the remote has of the same image stays.
    pub trace: Option<&'a Trace>,
    /// Receives the sizes of the objects that are compressed.
    pub progress: &'a (dyn Progress + Sync),
}

/// The result of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pushed {
    /// Digest of the image.
    pub digest: Digest,
    /// Image that the ref led to before, if it is another.
    pub replaced: Option<Digest>,
    /// True if the ref is as it was before, and nothing was sent.
    pub is_same: bool,
    /// Number of objects of the image.
    pub objects: u64,
    /// Number of objects that the remote did not have.
    pub new_objects: u64,
    /// Number of bytes of the files that were sent.
    pub sent_bytes: u64,
    /// Number of files that were sent, without the ref.
    pub sent_files: u64,
}

/// What a push sends.
struct PushWork<'a> {
    repository: &'a Repository,
    remote: &'a Remote<'a>,
    name: &'a RefName,
    digest: Digest,
    options: &'a DeliveryPushOptions<'a>,
    objects: VerifiedObjects<'a>,
    /// Objects of the image, each once, with the sizes that they have.
    needed: Vec<NamedObject>,
    /// Objects of the trace that was given.
    traced: Option<Vec<Digest>>,
    /// Images whose objects are bases of deltas.
    bases: Vec<Digest>,
    image: Vec<u8>,
    /// Signatures that the repository has of the image.
    signatures: Vec<StoredSignature>,
    pushed: Pushed,
}

/// Pushes an image to a remote under a name. `bases` are images that receivers may have, in addition to that to which
/// the name leads in the remote: their objects become bases of deltas.
///
/// # Errors
///
/// [`DeliveryError`]. What was sent stays, and is not sent again by the next push.
pub fn push(
    repository: &Repository,
    image: &ImageName,
    bases: &[ImageName],
    remote: &Remote<'_>,
    name: &RefName,
    options: &DeliveryPushOptions<'_>,
) -> Result<Pushed, DeliveryError> {
    if let Some(reason) = remote.store().abilities().read_only {
        return Err(DeliveryError::ReadOnly { location: remote.location(), reason });
    }
    let reader = repository.reader()?;
    let (digest, file) = reader.open_named(image)?;
    let mut held = vec![file];
    let mut base_digests = Vec::new();
    for base in bases {
        let (digest, file) = reader.open_named(base)?;
        held.push(file);
        base_digests.push(digest);
    }
    let image = repository.read_image(&digest)?.bytes;
    let mut named = needed_objects(&repository.tree_of_image(&digest)?);
    named.retain(|object| object.size > 0);
    let traced = options.trace.map(|trace| trace.objects_of(&named));
    if traced.as_ref().is_some_and(Vec::is_empty) {
        return Err(DeliveryError::ForeignTrace { image: Box::new(digest) });
    }
    let needed = sized_objects(repository, &digest)?;
    let pushed = Pushed {
        digest,
        replaced: None,
        is_same: false,
        objects: needed.len() as u64,
        new_objects: 0,
        sent_bytes: 0,
        sent_files: 0,
    };
    let objects = VerifiedObjects::new(repository);
    remote.begin_layout()?;
    let signatures = repository.signatures(&digest)?;
    let bases = base_digests;
    let mut work = PushWork {
        repository,
        remote,
        name,
        digest,
        options,
        objects,
        needed,
        traced,
        bases,
        image,
        signatures,
        pushed,
    };
    for _ in 0..ROUNDS {
        let Some(document) = work.round()? else { continue };
        match settle::settle(remote, &document)? {
            Settled::Complete => return Ok(work.pushed),
            Settled::Gone => {}
        }
    }
    Err(remote.damaged(&FileName::Ref(name.clone()), "files that it names go away again and again"))
}

impl PushWork<'_> {
    /// Sends what is missing, and moves the ref. Returns the document of the ref; `None` if a file went away before.
    fn round(&mut self) -> Result<Option<RefDocument>, DeliveryError> {
        let known = KnownRemote::read(self.remote, self.name)?;
        if let Some(document) = self.unchanged(&known)? {
            return Ok(Some(document));
        }
        if let Some(previous) = known.previous.as_ref().map(|previous| previous.document.image.digest)
            && previous != self.digest
        {
            self.pushed.replaced = Some(previous);
            if !self.bases.contains(&previous) && self.repository.has_image(&previous)? {
                self.bases.push(previous);
            }
        }
        self.pushed.is_same = false;
        let index = self.send_packs(&known)?;
        let document = self.send_documents(index, &known)?;
        // A gc of the remote may have removed a pack since it was found.
        for (file, size) in document.files() {
            if !self.remote.has_file(&file, size)? {
                return Ok(None);
            }
        }
        self.move_ref(&document, known.previous.as_ref())?;
        Ok(Some(document))
    }

    /// Returns whether the index of the ref has the trace that was given, if one was.
    fn has_trace(&self, known: &KnownRemote) -> bool {
        let of_image = || known.trace_of(&self.digest).unwrap_or_default();
        self.traced.as_ref().is_none_or(|traced| *traced == of_image())
    }

    /// Returns the document of the ref if it leads to the image, and all files are there.
    fn unchanged(&mut self, known: &KnownRemote) -> Result<Option<RefDocument>, DeliveryError> {
        let Some(previous) = &known.previous else { return Ok(None) };
        if previous.document.image.digest != self.digest || !self.has_trace(known) {
            return Ok(None);
        }
        for (file, size) in previous.document.files() {
            if !self.remote.has_file(&file, size)? {
                return Ok(None);
            }
        }
        self.pushed.is_same = self.pushed.sent_files == 0;
        let mut document = previous.document.clone();
        document.records = with_signatures(&document.records, &self.signatures);
        if document != previous.document {
            self.pushed.is_same = false;
            self.move_ref(&document, Some(previous))?;
        }
        Ok(Some(document))
    }

    /// Sends the objects that the remote lacks, and returns the index.
    fn send_packs(&mut self, known: &KnownRemote) -> Result<ImageIndex, DeliveryError> {
        let image = RefImage { digest: self.digest, size: self.image.len() as u64 };
        let mut builder = IndexBuilder::new(image, &self.needed);
        let sender = PackSender { remote: self.remote, options: self.options, objects: &self.objects };
        let mut sent = SentFiles::default();
        let traced = self.traced.clone().or_else(|| known.trace_of(&self.digest)).unwrap_or_default();
        let new_traced = self.send_traced(&traced, known, &mut builder, &mut sent)?;
        known.reuse(self.remote, &mut builder, None)?;
        let missing: Vec<NamedObject> =
            self.needed.iter().filter(|object| !builder.has(&object.digest)).cloned().collect();
        let mut old = Vec::new();
        for base in &self.bases {
            old.extend(sized_objects(self.repository, base)?);
        }
        sent += sender.send_whole(&missing, &mut builder)?;
        sent += sender.send_deltas(
            &self.needed,
            &old,
            (self.digest, self.image.len() as u64),
            &self.base_images()?,
            &mut builder,
        )?;
        self.pushed.new_objects = (new_traced + missing.len()) as u64;
        self.pushed.sent_bytes += sent.bytes;
        self.pushed.sent_files += sent.files;
        let mut index = builder.finish();
        index.set_trace(&traced);
        Ok(index)
    }

    /// Sends the objects of the trace in packs of their own, unless the remote has frames of nothing else. They are
    /// few, and each start waits for their bytes: they get the best compression. Returns their number.
    fn send_traced(
        &self,
        traced: &[Digest],
        known: &KnownRemote,
        builder: &mut IndexBuilder,
        sent: &mut SentFiles,
    ) -> Result<usize, DeliveryError> {
        if traced.is_empty() {
            return Ok(0);
        }
        known.reuse(self.remote, builder, Some(&traced.iter().copied().collect()))?;
        let objects: HashMap<_, _> = self.needed.iter().map(|object| (object.digest, object)).collect();
        let missing = traced.iter().filter(|digest| !builder.has(digest)).filter_map(|digest| objects.get(digest));
        let missing: Vec<NamedObject> = missing.map(|object| (*object).clone()).collect();
        let options = DeliveryPushOptions { effort: Effort::Best, ..*self.options };
        let sender = PackSender { remote: self.remote, options: &options, objects: &self.objects };
        *sent += sender.send_whole(&missing, builder)?;
        Ok(missing.len())
    }

    fn base_images(&self) -> Result<Vec<(Digest, u64)>, DeliveryError> {
        let size = |digest: &Digest| Ok((*digest, object_size(self.repository, digest)?));
        self.bases.iter().map(size).collect()
    }

    /// Sends the index and the metadata image, and returns the document.
    fn send_documents(&mut self, index: ImageIndex, known: &KnownRemote) -> Result<RefDocument, DeliveryError> {
        let packs = index.packs.clone();
        let index = self.send_bytes(FileName::Index, index.to_bytes().map_err(DeliveryError::Encode)?)?;
        let encoder = DeltaEncoder::new(self.options.effort);
        let (_, bytes) = encoder.encode(&self.image, &[]).map_err(DeliveryError::Encode)?;
        let metadata = self.send_bytes(FileName::Image, bytes)?;
        let image = RefImage { digest: self.digest, size: self.image.len() as u64 };
        let records = with_signatures(known.records_of(&self.digest).unwrap_or_default(), &self.signatures);
        Ok(RefDocument { image, metadata, index, packs, records })
    }

    fn send_bytes(
        &mut self,
        name: impl Fn(Sha256Digest) -> FileName,
        bytes: Vec<u8>,
    ) -> Result<FileEntry, DeliveryError> {
        let entry = FileEntry { sha256: Sha256Digest::of(&bytes), size: bytes.len() as u64 };
        let name = name(entry.sha256);
        if self.remote.send_file(&name, &mut std::io::Cursor::new(bytes))? {
            self.pushed.sent_bytes += entry.size;
            self.pushed.sent_files += 1;
        }
        Ok(entry)
    }

    /// Replaces the document of the ref, if it is what was read.
    fn move_ref(&self, document: &RefDocument, previous: Option<&RemoteRef>) -> Result<(), DeliveryError> {
        let (store, file) = (self.remote.store(), FileName::Ref(self.name.clone()));
        let wrong = |source| DeliveryError::Document { location: self.remote.location(), file: file.path(), source };
        let text = document.to_text().map_err(wrong)?;
        if previous.is_some_and(|previous| previous.text == text) {
            return Ok(());
        }
        let expected = match previous.map(|previous| previous.version.clone()) {
            Some(Some(version)) => ExpectedFile::Version(version),
            // A store without versions reads again.
            Some(None) => ExpectedFile::Version(crate::FileVersion(String::new())),
            None => ExpectedFile::Absent,
        };
        let outcome = self.remote.patience().access(|| store.replace(&file, &text, &expected))?;
        let is_ours = match (outcome, store.abilities().compare_and_swap) {
            (RefReplacement::Done(_), CompareAndSwap::Exact) => return Ok(()),
            _ => self.remote.read_ref(self.name)?,
        };
        match is_ours {
            // Written by this push, by the attempt before a repeated one, or by another that sends the same.
            Some(now) if now.text == text => Ok(()),
            now => Err(DeliveryError::OtherPush {
                location: self.remote.location(),
                name: self.name.clone(),
                image: now.map(|now| Box::new(now.document.image.digest)),
            }),
        }
    }
}

/// Returns the objects of an image, each once, with the sizes that they have in the repository.
fn sized_objects(repository: &Repository, image: &Digest) -> Result<Vec<NamedObject>, DeliveryError> {
    let mut seen = std::collections::HashSet::new();
    let mut objects = needed_objects(&repository.tree_of_image(image)?);
    objects.retain(|object| object.size > 0 && seen.insert(object.digest));
    for object in &mut objects {
        // What an image says of a size is not what the object has.
        object.size = object_size(repository, &object.digest)?;
    }
    Ok(objects)
}

fn object_size(repository: &Repository, digest: &Digest) -> Result<u64, DeliveryError> {
    let objects = repository.objects();
    let stat = objects.try_stat(digest).map_err(|errno| libcomposefs_repo::RepositoryError::Io {
        step: "open",
        path: objects.path_of(digest),
        source: errno.into(),
    })?;
    Ok(u64::try_from(stat.st_size).unwrap_or_default())
}
