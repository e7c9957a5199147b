//! All objects are checked: each is read once, on all threads.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use libcomposefs_content::{Progress, digest_file, digest_pieces};
use libcomposefs_image::Digest;
use libcomposefs_sys::copy::READ_SIZE;
use libcomposefs_sys::resolve_beneath::open_directory_beneath;
use libcomposefs_sys::tempfile;
use libcomposefs_sys::verity::{Measurement, measure};
use rustix::fs::{AtFlags, Dir, FileType, Stat, fstat, statat};
use rustix::io::Errno;

use super::damage::{Damage, DamageKind, NeededBy};
use super::expected::{Needs, damage};
use super::seen::SeenEntry;
use crate::{Repository, RepositoryError, io_error, layout};
use libcomposefs_content::workers;
use libcomposefs_store::cause;
use libcomposefs_store::digest_of;

/// Objects of this size or more are read by all threads together.
const SHARED_MIN: u64 = 16 << 20;
/// Permissions that an object must have and must not have: its owner can read it, and no other user can write it.
const MODE_NEEDED: u32 = 0o400;
const MODE_FORBIDDEN: u32 = 0o7022;
/// A temporary file that is younger may belong to a running command.
const TEMPORARY_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Result of checking all objects.
#[derive(Debug, Default)]
pub(super) struct ObjectChecks {
    /// Number of objects.
    pub(super) count: u64,
    /// Total size of all objects, in bytes.
    pub(super) bytes: u64,
    pub(super) damages: Vec<Damage>,
    /// Digests of the contents of files whose names are wrong.
    pub(super) misnamed: Vec<(Digest, PathBuf)>,
}

/// An object to check.
struct ObjectJob {
    digest: Digest,
    size: u64,
}

/// Result of checking one object; `None` if it is sound.
pub(super) type ObjectVerdict = Option<Wrong>;

/// A damage of an object.
#[derive(Debug)]
pub(super) struct Wrong {
    kind: DamageKind,
    /// Description of the damage.
    text: String,
    /// Digest of the content that the object has instead.
    holds: Option<Digest>,
    /// The file that was judged.
    seen: Option<SeenEntry>,
}

impl ObjectChecks {
    /// Checks all objects. Reports the total size to `progress` first, then the size of each object when it is done.
    pub(super) fn look(
        repository: &Repository,
        needs: &Needs,
        threads: NonZeroUsize,
        progress: &dyn Progress,
    ) -> Result<Self, RepositoryError> {
        let mut objects = Self::default();
        let mut jobs = Vec::new();
        objects.list(repository, &mut jobs)?;
        objects.count = jobs.len() as u64;
        progress.begin(jobs.len() as u64, jobs.iter().map(|job| job.size).sum());
        jobs.sort_unstable_by(|a, b| b.size.cmp(&a.size).then_with(|| a.digest.cmp(&b.digest)));
        let there: HashSet<Digest> = jobs.iter().map(|job| job.digest).collect();
        let mut missing: Vec<Digest> = needs.objects.keys().chain(needs.stream_objects.keys()).copied().collect();
        missing.sort_unstable();
        missing.dedup();
        missing.retain(|digest| !there.contains(digest));
        let (bytes, found) = (AtomicU64::new(0), Mutex::new(Vec::new()));
        let work = |job: ObjectJob, buffer: &mut Vec<u8>| {
            buffer.resize(READ_SIZE, 0);
            // Another process may be replacing the object, so it is judged twice.
            let mut verdict = judge(repository, needs, &job.digest, threads, buffer);
            if verdict.is_some() {
                verdict = judge(repository, needs, &job.digest, threads, buffer);
            }
            bytes.fetch_add(job.size, Ordering::Relaxed);
            progress.bytes(job.size);
            if let Some(verdict) = verdict {
                found.lock().unwrap_or_else(PoisonError::into_inner).push((job.digest, verdict));
            }
        };
        workers::run(threads, work, |sender| jobs.into_iter().for_each(|job| sender.send(job)));
        objects.bytes = bytes.into_inner();
        for (digest, Wrong { kind, text, holds, seen }) in found.into_inner().unwrap_or_else(PoisonError::into_inner) {
            objects.misnamed.extend(holds.map(|holds| (holds, object_path(&digest))));
            let mut damage = damage(kind, object_path(&digest), text, Some(digest));
            damage.seen = seen;
            needs.put_needs(&mut damage);
            objects.damages.push(damage);
        }
        for digest in missing {
            objects.missing(repository, needs, &digest)?;
        }
        Ok(objects)
    }

    /// Reports an object without a file, unless it exists by now or is no longer needed.
    fn missing(&mut self, repository: &Repository, needs: &Needs, digest: &Digest) -> Result<(), RepositoryError> {
        let by_image = match needs.needed_by(digest) {
            None => false,
            Some(NeededBy { image, name: Some(name) }) if repository.read_ref(&name)? == Some(image) => true,
            Some(by) => repository.has_image(&by.image)?,
        };
        let by_stream = match needs.stream_objects.get(digest) {
            None => false,
            Some(name) => repository.streams()?.links.iter().any(|link| *link.name == **name),
        };
        // A stream without its own object was reported already.
        let is_stream = needs.damages.iter().any(|d| d.kind == DamageKind::Stream && d.digest == Some(*digest));
        let is_needed = by_image || by_stream && !is_stream;
        if !is_needed || repository.objects().try_stat(digest).is_ok() {
            return Ok(());
        }
        let found = "there is no such object".into();
        let mut damage = damage(DamageKind::Missing, object_path(digest), found, Some(*digest));
        needs.put_needs(&mut damage);
        self.damages.push(damage);
        Ok(())
    }

    /// Lists every entry of the object store.
    fn list(&mut self, repository: &Repository, jobs: &mut Vec<ObjectJob>) -> Result<(), RepositoryError> {
        let path = repository.objects().path();
        let objects = match repository.objects().directory() {
            Err(Errno::NOENT) => return Ok(()),
            result => result.map_err(io_error("open the directory", path))?,
        };
        for entry in Dir::read_from(objects).map_err(io_error("list", path))? {
            let entry = entry.map_err(io_error("list", path))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let is_fan = name.len() == 2 && name.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            let full = PathBuf::from(layout::OBJECTS).join(OsStr::from_bytes(name));
            match open_directory_beneath(objects, name) {
                Ok(fan) if is_fan => self.list_fan(repository, &fan, name, jobs)?,
                Err(Errno::NOENT) => {}
                Err(errno @ (Errno::ACCESS | Errno::IO)) => return Err(io_error("open", path.join(&full))(errno)),
                _ => {
                    let stat = statat(objects, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
                    self.foreign(objects, full, name, stat.ok());
                }
            }
        }
        Ok(())
    }

    fn list_fan(
        &mut self,
        repository: &Repository,
        fan: &OwnedFd,
        first: &[u8],
        jobs: &mut Vec<ObjectJob>,
    ) -> Result<(), RepositoryError> {
        let below = PathBuf::from(layout::OBJECTS).join(OsStr::from_bytes(first));
        let failed = |errno: Errno| io_error("list", repository.path().join(&below))(errno);
        for entry in Dir::read_from(fan).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let Ok(stat) = statat(fan, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let digest = Digest::from_object_path(&[first, b"/", name].concat());
            match digest.filter(|digest| digest.algorithm() == repository.algorithm()) {
                Some(digest) => jobs.push(ObjectJob { digest, size: u64::try_from(stat.st_size).unwrap_or_default() }),
                None => self.foreign(fan.as_fd(), below.join(OsStr::from_bytes(name)), name, Some(stat)),
            }
        }
        Ok(())
    }

    fn foreign(&mut self, directory: BorrowedFd<'_>, path: PathBuf, name: &[u8], stat: Option<Stat>) {
        let Some(stat) = stat else { return };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::RegularFile && name.starts_with(tempfile::PREFIX.as_bytes()) && is_young(&stat) {
            return;
        }
        let found = format!("a {} that is no object", kind_word(kind));
        let seen = SeenEntry::having(&stat, directory, OsStr::from_bytes(name));
        self.damages.push(Damage { seen, ..damage(DamageKind::Foreign, path, found, None) });
    }
}

fn is_young(stat: &Stat) -> bool {
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(stat.st_ctime).unwrap_or_default());
    SystemTime::now().duration_since(changed).map_or(true, |age| age < TEMPORARY_AGE)
}

/// Returns the path of an object below the repository.
pub(super) fn object_path(digest: &Digest) -> PathBuf {
    Path::new(layout::OBJECTS).join(OsString::from(digest.object_path()))
}

pub(super) fn kind_word(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "link",
        FileType::Fifo => "FIFO",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        FileType::Unknown => "something",
    }
}

/// Checks one object: its type, content, mode and fs-verity.
pub(super) fn judge(
    repository: &Repository,
    needs: &Needs,
    digest: &Digest,
    threads: NonZeroUsize,
    buffer: &mut [u8],
) -> ObjectVerdict {
    let wrong = |kind, text, holds, seen| Some(Wrong { kind, text, holds, seen });
    let file = match repository.objects().try_open(digest) {
        Ok(file) => file,
        // A gc has removed it meanwhile; or it is missing, which is reported elsewhere.
        Err(Errno::NOENT) => return None,
        Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => return not_regular(repository, digest),
        Err(errno) => {
            let seen = repository.objects().try_stat(digest).ok().map(|stat| SeenEntry::of(&stat));
            return wrong(DamageKind::Unreadable, words(&errno.into()), None, seen);
        }
    };
    let stat = match fstat(&file) {
        Ok(stat) => stat,
        Err(errno) => return wrong(DamageKind::Unreadable, words(&errno.into()), None, None),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return not_regular(repository, digest);
    }
    // Taken before the content is read: if the file is changed meanwhile, it does not compare equal any more.
    let seen = Some(SeenEntry::of(&stat));
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    let found = if size >= SHARED_MIN {
        digest_file(file.as_fd(), digest.algorithm(), threads)
    } else {
        digest_pieces(file.as_fd(), digest.algorithm(), buffer)
    };
    let found = match found {
        Ok(found) => found,
        Err(error) => return wrong(DamageKind::Unreadable, words(&error), None, seen),
    };
    if found != *digest {
        let (kind, text, holds) = wrong_content(needs, digest, &found, size);
        return wrong(kind, text, holds, seen);
    }
    let mode = stat.st_mode & 0o7777;
    if mode & MODE_FORBIDDEN != 0 || mode & MODE_NEEDED == 0 {
        return wrong(DamageKind::Mode, format!("its mode is {mode:04o}, and should be 0644"), None, seen);
    }
    let (kind, text) = wrong_verity(repository, file.as_fd(), digest)?;
    wrong(kind, text, None, seen)
}

/// Checks one object again; `None` if it is sound by now.
pub(super) fn judge_again(
    repository: &Repository,
    needs: &Needs,
    digest: &Digest,
    threads: NonZeroUsize,
) -> ObjectVerdict {
    judge(repository, needs, digest, threads, &mut vec![0; READ_SIZE])
}

fn wrong_content(needs: &Needs, digest: &Digest, found: &Digest, size: u64) -> (DamageKind, String, Option<Digest>) {
    let expected = needs.objects.get(digest).and_then(|need| need.size);
    if size == 0 {
        return (DamageKind::Empty, "it is empty".into(), None);
    }
    if needs.objects.contains_key(found) {
        return (DamageKind::Misnamed, format!("it has the content of {found}"), Some(*found));
    }
    match expected {
        Some(expected) if size < expected => {
            (DamageKind::Truncated, format!("it has {size} of {expected} bytes"), Some(*found))
        }
        _ => (DamageKind::Contents, format!("it has the digest {found}"), Some(*found)),
    }
}

fn wrong_verity(repository: &Repository, file: BorrowedFd<'_>, digest: &Digest) -> Option<(DamageKind, String)> {
    match measure(file) {
        Ok(Measurement::Digest(found)) if digest_of(found.algorithm, &found.digest) == Some(*digest) => None,
        Ok(Measurement::Digest(_)) => Some((DamageKind::WrongVerity, "the kernel measures another digest".into())),
        Ok(Measurement::NotEnabled | Measurement::Unsupported | Measurement::Refused(_))
            if !repository.demands_verity() =>
        {
            None
        }
        Ok(Measurement::NotEnabled) => Some((DamageKind::NoVerity, "fs-verity is not enabled".into())),
        Ok(Measurement::Unsupported) => {
            Some((DamageKind::NoVerity, "its file system does not support fs-verity".into()))
        }
        Ok(Measurement::Refused(errno)) => {
            let error = std::io::Error::from(errno);
            let found = format!("its fs-verity digest cannot be measured: {}{}", words(&error), cause(&error));
            Some((DamageKind::Unreadable, found))
        }
        Err(error) => Some((DamageKind::Unreadable, words(&error))),
    }
}

fn not_regular(repository: &Repository, digest: &Digest) -> ObjectVerdict {
    let path = digest.object_path();
    let fan = open_directory_beneath(repository.objects().directory().ok()?, &path.as_bytes()[..2]).ok()?;
    let stat = statat(&fan, &path[3..], AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    // Another process has put a file there meanwhile.
    if kind == FileType::RegularFile {
        return None;
    }
    let seen = SeenEntry::having(&stat, fan.as_fd(), OsStr::new(&path[3..]));
    Some(Wrong { kind: DamageKind::NotRegular, text: format!("it is a {}", kind_word(kind)), holds: None, seen })
}

fn words(error: &std::io::Error) -> String {
    format!("it cannot be read: {error}")
}
