//! Sweeping: the streams of untagged OCI images are removed before images and objects.
//!
//! Manifests go first, then configurations, images of layers, kept blobs and layers, and each kind is on disk before
//! the next one: a crash leaves no stream whose parts are gone.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, fsync, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::Collector;
use super::sweep::Fate;
use crate::own_name::remove_own_name;
use crate::streams::StreamLink;
use crate::{RepositoryError, io_error, layout};

/// Number of streams that are decided on in one step.
const STREAMS_AT_ONCE: usize = 64;

impl Collector<'_> {
    pub(super) fn sweep_streams(&mut self) -> Result<(), RepositoryError> {
        let Some(directory) = self.repository.dir.open_dir(layout::STREAMS)? else { return Ok(()) };
        let mut unneeded = Vec::new();
        let (mut kept, mut young) = (Vec::new(), Vec::new());
        for link in std::mem::take(&mut self.stream_candidates) {
            match self.judge_stream(&directory, &link)? {
                Fate::Kept => kept.push(link),
                Fate::Young => young.push(link),
                Fate::Unneeded => unneeded.push(link),
                Fate::Gone => {}
            }
        }
        self.stream_candidates = unneeded.iter().cloned().collect();
        self.keep_streams(&kept)?;
        self.keep_young_streams(&young)?;
        for of_kind in unneeded.chunk_by(|a, b| a.kind == b.kind) {
            let before = self.report.removed_streams.len();
            for some in of_kind.chunks(STREAMS_AT_ONCE) {
                if !self.sweep_some_streams(&directory, some)? {
                    return self.settle_streams(&directory, before);
                }
            }
            self.settle_streams(&directory, before)?;
        }
        Ok(())
    }

    /// Decides on some streams with the repository locked. Returns `false` if gc must end.
    fn sweep_some_streams(&mut self, directory: &OwnedFd, some: &[StreamLink]) -> Result<bool, RepositoryError> {
        let (mut kept, mut young) = (Vec::new(), Vec::new());
        let Some(alone) = self.alone()? else { return Ok(false) };
        for link in some {
            match self.sweep_stream(directory, link)? {
                Fate::Kept => kept.push(link.clone()),
                Fate::Young => young.push(link.clone()),
                Fate::Unneeded | Fate::Gone => {}
            }
            self.stream_candidates.remove(link);
        }
        drop(alone);
        // What they need is read without the lock.
        self.keep_streams(&kept)?;
        self.keep_young_streams(&young)?;
        Ok(true)
    }

    /// Decides on a stream of an OCI image.
    fn judge_stream(&self, directory: &OwnedFd, link: &StreamLink) -> Result<Fate, RepositoryError> {
        if self.marks.streams.contains(&link.digest) || self.is_claimed(&link.digest) {
            return Ok(Fate::Kept);
        }
        if !self.repository.has_stream_link(link)? {
            return Ok(Fate::Gone);
        }
        let stat = match statat(directory, &link.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Fate::Gone),
            Err(errno) => return Err(io_error("stat", self.path_of_stream(link))(errno)),
        };
        let is_young = self.is_young(&stat) || self.young_marks.streams.contains(&link.digest);
        Ok(match self.repository.is_open(&link.digest) {
            Ok(false) if is_young => Fate::Young,
            Ok(false) => Fate::Unneeded,
            // A stream that cannot be opened here may be open elsewhere.
            Ok(true) | Err(_) => Fate::Kept,
        })
    }

    /// Decides on a stream with the repository locked, and removes its link if it is not needed.
    fn sweep_stream(&mut self, directory: &OwnedFd, link: &StreamLink) -> Result<Fate, RepositoryError> {
        let fate = self.judge_stream(directory, link)?;
        if !matches!(fate, Fate::Unneeded) {
            return Ok(fate);
        }
        if self.options.dry_run {
            self.spared_streams.insert(link.clone());
        } else {
            let (name, path) = (link.name.as_str(), self.path_of_stream(link));
            let Some(leases) = self.leases.as_ref() else { return Ok(Fate::Kept) };
            let aside = leases.aside(name);
            match renameat(directory, name, leases.directory(), &aside) {
                Ok(()) => {}
                Err(Errno::NOENT) => return Ok(Fate::Gone),
                Err(errno) => return Err(io_error("move aside", path)(errno)),
            }
            // Another process may have resolved the stream before the rename and opened it since: check again.
            if self.repository.is_open(&link.digest).unwrap_or(true) {
                renameat(leases.directory(), &aside, directory, name).map_err(io_error("move back", path))?;
                return Ok(Fate::Kept);
            }
            remove_own_name(&self.repository.dir, name)?;
            unlinkat(leases.directory(), &aside, AtFlags::empty()).map_err(io_error("remove", path))?;
        }
        self.report.removed_streams.push(link.name.clone());
        Ok(Fate::Gone)
    }

    /// Keeps streams with all that they need.
    fn keep_streams(&mut self, links: &[StreamLink]) -> Result<(), RepositoryError> {
        let mut new = Vec::new();
        for link in links.iter().filter(|link| !self.marks.streams.contains(&link.digest)) {
            if self.repository.is_open(&link.digest).is_ok_and(|is_open| is_open) {
                self.report.streams_in_use.push(link.name.clone());
            }
            new.push(link);
        }
        if new.is_empty() {
            return Ok(());
        }
        let streams = self.repository.streams()?;
        self.marks.streams(self.repository, &streams, &new)
    }

    /// Keeps young streams with all that they need, counted as what a grace of zero removes.
    fn keep_young_streams(&mut self, links: &[StreamLink]) -> Result<(), RepositoryError> {
        if links.is_empty() {
            return Ok(());
        }
        let streams = self.repository.streams()?;
        self.young_marks.streams(self.repository, &streams, &links.iter().collect::<Vec<_>>())?;
        self.marks.unclear.append(&mut self.young_marks.unclear);
        for (digest, error) in std::mem::take(&mut self.young_marks.unreadable) {
            self.put_unreadable(digest, error);
        }
        self.report.young_streams.extend(links.iter().map(|link| link.name.clone()));
        self.young_streams.extend(links.iter().cloned());
        Ok(())
    }

    /// Syncs the removed links, if there are more than `before`. After a crash, no link may come back whose parts or
    /// objects are gone.
    fn settle_streams(&self, directory: &OwnedFd, before: usize) -> Result<(), RepositoryError> {
        if self.options.dry_run || self.report.removed_streams.len() == before {
            return Ok(());
        }
        fsync(directory).map_err(io_error("sync", self.repository.dir.path.join(layout::STREAMS)))
    }

    fn path_of_stream(&self, link: &StreamLink) -> std::path::PathBuf {
        self.repository.dir.path.join(layout::STREAMS).join(&link.name)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::Path;
    use std::process::Command;
    use std::time::{Duration, SystemTime};

    use crate::{GcOptions, Repository};

    /// A young manifest keeps its old configuration, layers and image. What only the old manifest needs goes.
    #[test]
    fn a_young_stream_keeps_the_old_ones_that_it_needs() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/data/cfsctl/oci-three-layers.tar.gz");
        let status =
            Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(dir.path()).arg("--no-same-owner").status();
        assert!(status.unwrap().success());
        fs::remove_dir_all(dir.path().join("streams/refs")).unwrap();
        let links: Vec<_> =
            fs::read_dir(dir.path().join("streams")).unwrap().map(|entry| entry.unwrap().path()).collect();
        let manifest = links.iter().find(|path| path.to_str().unwrap().contains("manifest")).unwrap();
        // Times of inodes cannot be set, so the link is made again when the next second has begun.
        std::thread::sleep(Duration::from_millis(1100));
        let text = fs::read_link(manifest).unwrap();
        fs::remove_file(manifest).unwrap();
        symlink(text, manifest).unwrap();
        let made = fs::symlink_metadata(manifest).unwrap().ctime();
        let repository = Repository::open(dir.path()).unwrap();
        let gc = |seconds_later| {
            let options = GcOptions { dry_run: false, grace: Duration::from_secs(3600) };
            let mut collector = repository.collector(options).unwrap();
            let since = u64::try_from(made).unwrap() + seconds_later;
            collector.now = SystemTime::UNIX_EPOCH + Duration::from_secs(since);
            collector.mark().unwrap().sweep().unwrap()
        };
        let report = gc(3599);
        assert_eq!((report.young_streams.len(), report.young_images.len()), (5, 1), "{report:?}");
        // Two objects that nothing needs.
        assert_eq!((report.young_objects, report.removed_objects), (10, 2), "{report:?}");
        assert!(links.iter().all(|link| link.exists()));
        let report = gc(3600);
        assert_eq!((report.removed_streams.len(), report.removed_images.len()), (5, 1), "{report:?}");
        assert_eq!((report.young_objects, report.removed_objects), (0, 10), "{report:?}");
    }
}
