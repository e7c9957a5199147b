//! A disk that forgets what was not flushed when the power is cut.
//!
//! Killing a virtual machine loses nothing that reached the host's page cache, so a plain file makes a poor power cut.
//! Here every write stays in memory until the guest flushes (or the one write asks to be durable by itself); at the cut
//! the rest is gone, all of it or, as real disks do, an arbitrary part of it. The machine reaches the disk as a network
//! block device ([`nbd`]) over a Unix socket, so that this holds for any guest kernel.

mod nbd;
pub(crate) mod recorded;

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use nbd::Device;

const SECTOR: usize = 512;
/// Sectors live or die together in blocks of a page, the unit file systems rely on being whole.
const SECTORS_PER_BLOCK: u64 = 8;

/// The fate of unflushed writes at a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// All of them are lost.
    All,
    /// Each block of them is lost or kept by a coin that this seed determines.
    Some(u64),
}

/// Counts of the requests to a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Number of write requests.
    pub(crate) writes: u64,
    /// Requests to make everything durable.
    pub(crate) flushes: u64,
    /// Bytes that were written but lost.
    pub(crate) lost: u64,
}

/// The medium and the volatile cache before it.
struct Medium {
    file: File,
    len: u64,
    cache: BTreeMap<u64, [u8; SECTOR]>,
    tally: Tally,
}

impl Medium {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file, len, cache: BTreeMap::new(), tally: Tally::default() })
    }

    /// The sectors of a request; `None` unless it is whole sectors within the disk.
    fn sectors(&self, offset: u64, len: usize) -> Option<std::ops::Range<u64>> {
        let sector = SECTOR as u64;
        let end = offset.checked_add(len as u64).filter(|&end| end <= self.len)?;
        (offset.is_multiple_of(sector) && end.is_multiple_of(sector)).then_some(offset / sector..end / sector)
    }

    /// Writes the cached sectors that `keep` accepts and forgets the others.
    fn write_back(&mut self, keep: impl Fn(u64) -> bool) -> io::Result<()> {
        for (sector, bytes) in std::mem::take(&mut self.cache) {
            if keep(sector) {
                self.file.write_all_at(&bytes, sector * SECTOR as u64)?;
            } else {
                self.tally.lost += SECTOR as u64;
            }
        }
        Ok(())
    }

    fn cut(&mut self, loss: Loss) -> io::Result<()> {
        self.write_back(|sector| match loss {
            Loss::All => false,
            Loss::Some(seed) => {
                let mut coin = DefaultHasher::new();
                (seed, sector / SECTORS_PER_BLOCK).hash(&mut coin);
                coin.finish() & 1 == 0
            }
        })
    }
}

impl Device for Medium {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let sectors = self.sectors(offset, data.len()).ok_or(io::ErrorKind::InvalidInput)?;
        self.file.read_exact_at(data, offset)?;
        for (&sector, cached) in self.cache.range(sectors.clone()) {
            let at = (sector - sectors.start) as usize * SECTOR;
            data[at..at + SECTOR].copy_from_slice(cached);
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8], durable: bool) -> io::Result<()> {
        let sectors = self.sectors(offset, data.len()).ok_or(io::ErrorKind::InvalidInput)?;
        self.tally.writes += 1;
        if durable {
            self.cache.retain(|sector, _| !sectors.contains(sector));
            return self.file.write_all_at(data, offset);
        }
        for (sector, bytes) in sectors.zip(data.as_chunks::<SECTOR>().0) {
            self.cache.insert(sector, *bytes);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tally.flushes += 1;
        self.write_back(|_| true)
    }
}

/// A device being served to the one client that connects.
pub(crate) struct Served<D> {
    device: Arc<Mutex<D>>,
    socket: PathBuf,
    server: JoinHandle<io::Result<()>>,
}

impl<D: Device + 'static> Served<D> {
    pub(crate) fn start(device: D, socket: &Path) -> Result<Self> {
        let device = Arc::new(Mutex::new(device));
        let listener = UnixListener::bind(socket).with_context(|| format!("cannot listen at {}", socket.display()))?;
        let server = std::thread::spawn({
            let device = Arc::clone(&device);
            move || nbd::serve(listener.accept()?.0, &device)
        });
        Ok(Self { device, socket: socket.to_owned(), server })
    }

    /// Ends the service after the client is gone, and shows the device.
    pub(crate) fn end<T>(self, look: impl FnOnce(&mut D) -> T) -> Result<T> {
        // A client that never came: be it, so that the server does not wait for ever.
        drop(UnixStream::connect(&self.socket));
        self.server.join().map_err(|_| anyhow::anyhow!("the disk's server panicked"))?.context("the disk's server")?;
        let mut device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(look(&mut device))
    }
}

/// A disk that forgets, being served.
pub(crate) struct VolatileDisk(Served<Medium>);

impl VolatileDisk {
    /// Serves the disk in `file` to the one client that connects to `socket`.
    pub(crate) fn serve(file: &Path, socket: &Path) -> Result<Self> {
        let medium = Medium::open(file).with_context(|| format!("cannot open {}", file.display()))?;
        Served::start(medium, socket).map(Self)
    }

    /// Ends the service after the client is gone: with a loss, or as at an orderly end, with everything written.
    pub(crate) fn end(self, loss: Option<Loss>) -> Result<Tally> {
        self.0.end(|medium| {
            match loss {
                Some(loss) => medium.cut(loss)?,
                None => medium.write_back(|_| true)?,
            }
            Ok(medium.tally)
        })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn medium(sectors: usize) -> (tempfile::NamedTempFile, Medium) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len((sectors * SECTOR) as u64).unwrap();
        let medium = Medium::open(file.path()).unwrap();
        (file, medium)
    }

    #[test]
    fn only_flushed_or_durable_writes_survive() {
        let (file, mut disk) = medium(8);
        disk.write(0, &[1; 1024], false).unwrap();
        disk.flush().unwrap();
        disk.write(512, &[2; 1024], false).unwrap();
        disk.write(1024, &[3; 512], true).unwrap();
        let mut seen = [0; 2048];
        disk.read(0, &mut seen).unwrap();
        assert_eq!([seen[0], seen[512], seen[1024], seen[1536]], [1, 2, 3, 0]);
        disk.cut(Loss::All).unwrap();
        assert_eq!(disk.tally, Tally { writes: 3, flushes: 1, lost: 512 });
        let kept = std::fs::read(file.path()).unwrap();
        assert_eq!([kept[0], kept[512], kept[1024], kept[1536]], [1, 1, 3, 0]);
    }

    #[test]
    fn some_loss_is_partial_whole_blocks_and_repeatable() {
        let cut = |seed| {
            let (file, mut disk) = medium(64 * 8);
            disk.write(0, &[7; 64 * 4096], false).unwrap();
            disk.cut(Loss::Some(seed)).unwrap();
            std::fs::read(file.path()).unwrap()
        };
        let kept = cut(1);
        let blocks: Vec<_> = kept.chunks(4096).map(|b| b[0] == 7).collect();
        assert!(kept.chunks(4096).all(|b| b.iter().all(|byte| *byte == b[0])));
        assert!(blocks.contains(&true) && blocks.contains(&false));
        assert_eq!(kept, cut(1));
        assert_ne!(kept, cut(2));
    }

    #[test]
    fn requests_beyond_the_disk_or_between_sectors_are_refused() {
        let (_file, mut disk) = medium(2);
        for (offset, len) in [(1024, 512), (512, 1024), (1, 512), (0, 511), (u64::MAX - 511, 512)] {
            assert!(disk.write(offset, &vec![0; len], false).is_err(), "{offset} {len}");
            assert!(disk.read(offset, &mut vec![0; len]).is_err(), "{offset} {len}");
        }
    }
}
