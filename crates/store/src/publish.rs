//! Replacing one file atomically.
//!
//! The new content is written to a temporary file in the same directory, synced, and renamed; then the directory is
//! synced. If the name refers to something other than a regular file (a device, a FIFO, `/dev/stdout`,
//! `/proc/self/fd/3`), the caller wants to write to it: the content is written in place.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libcomposefs_sys::fs_magic::FsMagic;
use libcomposefs_sys::tempfile::Temporary;
use rustix::fs::{
    Access, AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, accessat, fchmod, fchown, fstat, fsync,
    open, openat, openat2, readlinkat, statat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::error::Error;
use crate::object_dir::io_error;

/// The way in which a file was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplaceOutcome {
    /// The file did not exist and was created.
    Created,
    /// The new file took the name of the old one. Other hard links still refer to the old one.
    Replaced,
    /// The file was written in place: it is not a regular file, or its directory is not writable.
    InPlace,
}

/// Upper bound of symlinks in a path, as in the kernel.
const LINKS_MAX: usize = 40;

enum Destination {
    /// A file to be created or replaced: its directory, its name there, and its present metadata.
    Name {
        directory: Arc<OwnedFd>,
        parent: PathBuf,
        name: OsString,
        path: PathBuf,
        old: Option<Box<Stat>>,
    },
    InPlace,
}

/// Calls `write` to fill the file at `path`. A symlink is followed: its target is replaced or created. A new file
/// gets `mode` less the umask; a replaced one passes its mode and, if the process may set it, its owner to the new
/// file.
///
/// If this fails, the old file is unchanged, unless it had to be written in place.
///
/// # Errors
///
/// A step or `write` failed.
pub fn replace_file<T, E: From<Error>>(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> Result<T, E>,
) -> Result<(ReplaceOutcome, T), E> {
    match find(path)? {
        Destination::InPlace => write_in_place(path, mode, write),
        Destination::Name { directory, parent, name, path: target, old } => {
            let created = Temporary::create(&directory, if old.is_some() { 0o600 } else { mode });
            let temporary = match created {
                Ok(temporary) => temporary,
                Err(error) if old.is_some() && is_forbidden(&error) => return write_in_place(path, mode, write),
                Err(error) => return Err(io_error("make a temporary file in", &parent)(error).into()),
            };
            let file = temporary.as_fd().try_clone_to_owned().map_err(io_error("write", &target))?;
            let mut file = File::from(file);
            let written = write(&mut file)?;
            if let Some(old) = &old {
                keep_owner_and_mode(&file, old).map_err(io_error("set the mode of", &target))?;
            }
            fsync(&file).map_err(io_error("sync", &target))?;
            let published =
                name_it(temporary, &directory, &name, old.is_some()).map_err(io_error("replace", &target))?;
            fsync(&directory).map_err(io_error("sync", &parent))?;
            Ok((published, written))
        }
    }
}

/// Calls `write` to fill a new file, which gets the name `path` when it is whole and on disk. Unlike
/// [`replace_file`], this never writes in place: the file that is written is new and empty. With `replaces`, it takes
/// the name of a regular file, and its mode and owner; else nothing may have the name, not even a symlink.
///
/// # Errors
///
/// `EEXIST` if the name is taken, now or when the file is whole. A step or `write` failed.
pub fn publish_file<T, E: From<Error>>(
    path: &Path,
    mode: u32,
    replaces: bool,
    write: impl FnOnce(&File) -> Result<T, E>,
) -> Result<T, E> {
    let exists = || io_error("create", path)(Errno::EXIST).into();
    if !replaces && std::fs::symlink_metadata(path).is_ok() {
        return Err(exists());
    }
    let Destination::Name { directory, parent, name, path: target, old } = find(path)? else {
        return Err(exists());
    };
    if old.is_some() && !replaces {
        return Err(exists());
    }
    let new_mode = if old.is_some() { 0o600 } else { mode };
    let mut temporary =
        Temporary::create(&directory, new_mode).map_err(io_error("make a temporary file in", &parent))?;
    let file = File::from(temporary.as_fd().try_clone_to_owned().map_err(io_error("write", &target))?);
    let written = write(&file)?;
    if let Some(old) = &old {
        keep_owner_and_mode(&file, old).map_err(io_error("set the mode of", &target))?;
    }
    fsync(&file).map_err(io_error("sync", &target))?;
    if replaces {
        name_it(temporary, &directory, &name, old.is_some()).map_err(io_error("replace", &target))?;
    } else {
        temporary.link(directory.as_fd(), name.as_os_str()).map_err(io_error("create", &target))?;
    }
    fsync(&directory).map_err(io_error("sync", &parent))?;
    Ok(written)
}

fn is_forbidden(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::ACCESS | Errno::PERM | Errno::ROFS))
}

fn name_it(mut temporary: Temporary, directory: &OwnedFd, name: &OsStr, replaces: bool) -> io::Result<ReplaceOutcome> {
    if !replaces {
        match temporary.link(directory.as_fd(), name) {
            Ok(()) => return Ok(ReplaceOutcome::Created),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    temporary.replace(directory.as_fd(), name).map(|()| ReplaceOutcome::Replaced)
}

#[allow(clippy::unnecessary_cast)]
fn keep_owner_and_mode(file: &File, old: &Stat) -> rustix::io::Result<()> {
    let new = fstat(file)?;
    let mut mode = old.st_mode as u32 & 0o7777;
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid) {
        let (uid, gid) = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
        if fchown(file, Some(uid), Some(gid)).is_err() {
            // With another owner, the set-ID and sticky bits would grant other rights.
            mode &= 0o777;
        }
    }
    fchmod(file, Mode::from_raw_mode(mode as _))
}

/// Finds the file that a path refers to.
fn find(path: &Path) -> Result<Destination, Error> {
    find_while(path, || {})
}

/// Like [`find`], and calls `between` after the first lookup: a test changes the path there.
fn find_while(path: &Path, between: impl FnOnce()) -> Result<Destination, Error> {
    let failed = |errno: Errno| io_error("open", path)(errno);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let there = match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
        Ok(file) => Some(fstat(file).map_err(failed)?),
        Err(Errno::NOENT) => None,
        // A magic link of /proc is in the path. A loop of other symlinks fails with the same error when it is opened.
        Err(Errno::LOOP) => return Ok(Destination::InPlace),
        // Before Linux 5.6, or blocked by a seccomp filter: `last_name` detects /proc by its file system.
        Err(Errno::NOSYS | Errno::PERM) => match open(path, flags, Mode::empty()) {
            Ok(file) => Some(fstat(file).map_err(failed)?),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(failed(errno)),
        },
        Err(errno) => return Err(failed(errno)),
    };
    between();
    if there.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile) {
        return Ok(Destination::InPlace);
    }
    let Some((directory, parent, name)) = last_name(path)? else { return Ok(Destination::InPlace) };
    let target = parent.join(&name);
    let old = match statat(&directory, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Some(stat),
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(io_error("stat", &target)(errno)),
    };
    let key = |stat: &Stat| (stat.st_dev, stat.st_ino);
    if old.as_ref().map(key) != there.as_ref().map(key) {
        return Err(io_error("open", &target)(io::Error::other("it changed while it was checked")));
    }
    if old.is_some() {
        // Replacing needs no permission on the file itself. Without this check it would bypass a missing write
        // permission.
        accessat(&directory, name.as_os_str(), Access::WRITE_OK, AtFlags::EACCESS)
            .map_err(io_error("write", &target))?;
    }
    Ok(Destination::Name { directory: Arc::new(directory), parent, name, path: target, old: old.map(Box::new) })
}

/// Follows the symlinks at the end of a path. Returns the directory of the last name. `None` if it is in /proc.
///
/// The target may be absent, so the kernel cannot be asked to follow the symlinks. Each one is opened, so that the
/// symlink that is checked is the one that is read, and the next name is looked up from the open directory.
fn last_name(path: &Path) -> Result<Option<(OwnedFd, PathBuf, OsString)>, Error> {
    let (mut base, mut rest, mut shown) = (None::<OwnedFd>, path.to_owned(), path.to_owned());
    for _ in 0..LINKS_MAX {
        let name = rest.file_name().ok_or_else(|| io_error("write", &shown)(Errno::ISDIR))?.to_owned();
        let parent_of =
            |path: &Path| path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        let (parent, shown_parent) = (parent_of(&rest), parent_of(&shown));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let from = base.as_ref().map_or(CWD, AsFd::as_fd);
        let directory = openat(from, &parent, flags, Mode::empty()).map_err(io_error("open", &shown_parent))?;
        if FsMagic::is_one_of(&[FsMagic::PROC], &directory) {
            return Ok(None);
        }
        let failed = |errno: Errno| io_error("open", &shown)(errno);
        let link = match openat(&directory, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => Some((fstat(&file).map_err(failed)?, file)),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(failed(errno)),
        };
        let Some((stat, link)) = link.filter(|(stat, _)| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
        else {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = openat(&directory, ".", flags, Mode::empty()).map_err(io_error("open", &shown_parent))?;
            return Ok(Some((directory, shown_parent, name)));
        };
        if !may_follow(geteuid(), &fstat(&directory).map_err(failed)?, &stat) {
            let reason = "Permission denied: the symlink belongs to another user, and its directory is sticky and \
                          world-writable";
            return Err(io_error("open", &shown)(io::Error::new(io::ErrorKind::PermissionDenied, reason)));
        }
        let target = readlinkat(&link, "", Vec::new()).map_err(failed)?;
        rest = PathBuf::from(OsStr::from_bytes(target.to_bytes()));
        shown = shown_parent.join(&rest);
        base = Some(directory);
    }
    Err(io_error("open", &shown)(Errno::LOOP))
}

/// Returns true if this user may follow this symlink in this directory: the rule of `fs.protected_symlinks`
/// (`may_follow_link` in the kernel's `fs/namei.c`), whatever its setting.
#[allow(clippy::unnecessary_cast)]
fn may_follow(user: Uid, directory: &Stat, link: &Stat) -> bool {
    const STICKY_FOR_ALL: u32 = 0o1002;
    link.st_uid == user.as_raw()
        || directory.st_mode as u32 & STICKY_FOR_ALL != STICKY_FOR_ALL
        || link.st_uid == directory.st_uid
}

fn write_in_place<T, E: From<Error>>(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> Result<T, E>,
) -> Result<(ReplaceOutcome, T), E> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = open(path, flags, Mode::from_raw_mode(mode)).map_err(io_error("open", path))?;
    let mut file = File::from(file);
    let written = write(&mut file)?;
    match fsync(&file) {
        // Pipes and terminals cannot be synced.
        Ok(()) | Err(Errno::INVAL | Errno::ROFS) => Ok((ReplaceOutcome::InPlace, written)),
        Err(errno) => Err(io_error("sync", path)(errno).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};

    use libcomposefs_testkit::privilege::is_root;
    use libcomposefs_testkit::skip;

    use super::*;

    const OTHER: u32 = 65534;

    #[test]
    fn a_published_file_takes_a_name_only_where_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let publish = |path: &Path, replaces, text: &str| {
            publish_file(path, 0o640, replaces, |mut file| {
                std::io::Write::write_all(&mut file, text.as_bytes()).map_err(Error::Source)
            })
        };
        let read = || std::fs::read_to_string(&path).unwrap();
        publish(&path, false, "one").unwrap();
        let taken = publish(&path, false, "two").unwrap_err().to_string();
        assert!(taken.contains("File exists"), "{taken}");
        assert_eq!(read(), "one");
        publish(&path, true, "three").unwrap();
        assert_eq!(read(), "three");
        // A file that appears meanwhile is kept, and a failure leaves nothing.
        let late = dir.path().join("late");
        let raced = publish_file(&late, 0o640, false, |_| std::fs::write(&late, "other").map_err(Error::Source));
        assert!(raced.unwrap_err().to_string().contains("File exists"));
        assert_eq!(std::fs::read_to_string(&late).unwrap(), "other");
        let failed = publish_file(&path, 0o640, true, |_| Err::<(), _>(Error::Interrupted));
        assert!(matches!(failed, Err(Error::Interrupted)));
        assert_eq!(read(), "three");
        // A symlink is a name too; to replace, it is followed.
        let link = dir.path().join("link");
        symlink("target", &link).unwrap();
        publish(&link, false, "four").unwrap_err();
        publish(&link, true, "four").unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("target")).unwrap(), "four");
        publish(dir.path(), true, "five").unwrap_err();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4);
    }

    #[test]
    fn the_rule_of_protected_symlinks() {
        let stat = |uid, mode| {
            let mut stat = rustix::fs::stat("/").unwrap();
            (stat.st_uid, stat.st_mode) = (uid, mode);
            stat
        };
        for (directory, mode, link, may) in [
            (0, 0o41777, OTHER, false),
            (0, 0o41777, 1000, true),
            (0, 0o41777, 0, true),
            (OTHER, 0o41777, OTHER, true),
            (0, 0o40777, OTHER, true),
            (0, 0o41775, OTHER, true),
        ] {
            let found = may_follow(Uid::from_raw(1000), &stat(directory, mode), &stat(link, 0o120_777));
            assert_eq!(found, may, "{directory} {mode:o} {link}");
        }
    }

    /// Creates a sticky, world-writable directory. Returns the result of `find` for `image` in it if the symlink is
    /// made after the first lookup.
    fn planted(owner: Option<u32>) -> (tempfile::TempDir, Result<Destination, Error>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("victim")).unwrap();
        let sticky = dir.path().join("sticky");
        std::fs::create_dir(&sticky).unwrap();
        std::fs::set_permissions(&sticky, std::fs::Permissions::from_mode(0o1777)).unwrap();
        let image = sticky.join("image");
        let place = find_while(&image, || {
            symlink("../victim/planted", &image).unwrap();
            if let Some(owner) = owner {
                lchown(&image, Some(owner), Some(owner)).unwrap();
            }
        });
        (dir, place)
    }

    #[test]
    fn a_symlink_that_another_user_makes_after_the_first_look_is_not_followed() {
        let test = "a_symlink_that_another_user_makes_after_the_first_look_is_not_followed";
        if !is_root() {
            return skip::announce(test, "making a symlink of another user takes root");
        }
        let (_dir, place) = planted(Some(OTHER));
        let error = place.err().expect("the symlink was followed").to_string();
        assert!(error.contains("sticky/image") && error.contains("another user"), "{error}");
    }

    #[test]
    fn a_symlink_of_ones_own_is_followed() {
        let (dir, place) = planted(None);
        let Ok(Destination::Name { parent, name, old: None, .. }) = place else { panic!("it is not followed") };
        let victim = parent.canonicalize().unwrap();
        assert_eq!((victim, name), (dir.path().join("victim").canonicalize().unwrap(), "planted".into()));
    }
}
