//! A disk that keeps a list of everything written to it, and one that is as it was at any point of such a list.
//!
//! The last block of both is no part of any file system. What a guest writes there is a mark in the list, or says which
//! point it wants to see.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use super::nbd::Device;
use super::{SECTOR, SECTORS_PER_BLOCK};

/// The length of the last block.
pub(crate) const CONTROL_LEN: u64 = 4096;

/// Something that happened to a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Something was written, perhaps only to the disk's own memory.
    Write { offset: u64, data: Vec<u8>, durable: bool },
    /// Everything written before is on the medium.
    Flush,
    /// The guest said something.
    Mark(String),
}

/// The fate of writes that no flush followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unflushed {
    Kept,
    Lost,
    /// Each block by a coin that this seed determines.
    Some(u64),
}

/// Writes go to a file, and into a list.
#[derive(Debug)]
pub(crate) struct RecordedDisk {
    file: File,
    len: u64,
    pub(crate) events: Vec<Event>,
}

impl RecordedDisk {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file, len, events: Vec::new() })
    }
}

impl Device for RecordedDisk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(data, offset)
    }

    fn write(&mut self, offset: u64, data: &[u8], durable: bool) -> io::Result<()> {
        if offset >= self.len - CONTROL_LEN {
            self.events.push(Event::Mark(text(data)));
            return Ok(());
        }
        self.events.push(Event::Write { offset, data: data.to_vec(), durable });
        self.file.write_all_at(data, offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.events.push(Event::Flush);
        Ok(())
    }
}

fn text(data: &[u8]) -> String {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    String::from_utf8_lossy(&data[..end]).trim().to_owned()
}

type Sectors = BTreeMap<u64, [u8; SECTOR]>;

/// A disk as it was after a number of events. Writes to it are forgotten when another point is selected.
#[derive(Debug)]
pub(crate) struct ReplayedDisk {
    /// The disk before the first event.
    base: File,
    len: u64,
    events: Arc<Vec<Event>>,
    /// Number of events in `durable` and `pending`.
    at: usize,
    durable: Sectors,
    pending: Sectors,
    /// Blocks visible beside the durable ones: the surviving pending writes, and what was written since.
    seen: Sectors,
}

impl ReplayedDisk {
    pub(crate) fn new(base: &Path, events: Arc<Vec<Event>>) -> io::Result<Self> {
        let base = File::open(base)?;
        let len = base.metadata()?.len();
        let (durable, pending, seen) = Default::default();
        Ok(Self { base, len, events, at: 0, durable, pending, seen })
    }

    /// Goes to a point.
    fn go_to(&mut self, point: usize, unflushed: Unflushed) {
        if point < self.at {
            (self.at, self.durable, self.pending) = Default::default();
        }
        let events = Arc::clone(&self.events);
        for event in &events[self.at..point.min(events.len())] {
            match event {
                Event::Mark(_) => {}
                Event::Flush => self.durable.append(&mut self.pending),
                Event::Write { offset, data, durable } => {
                    let first = offset / SECTOR as u64;
                    for (sector, bytes) in (first..).zip(data.as_chunks::<SECTOR>().0) {
                        if *durable {
                            self.pending.remove(&sector);
                            self.durable.insert(sector, *bytes);
                        } else {
                            self.pending.insert(sector, *bytes);
                        }
                    }
                }
            }
        }
        self.at = point.min(events.len());
        let survives = |sector: u64| match unflushed {
            Unflushed::Kept => true,
            Unflushed::Lost => false,
            Unflushed::Some(seed) => {
                let mut coin = DefaultHasher::new();
                (seed, sector / SECTORS_PER_BLOCK).hash(&mut coin);
                coin.finish() & 1 == 0
            }
        };
        self.seen = self.pending.iter().filter(|(sector, _)| survives(**sector)).map(|(s, b)| (*s, *b)).collect();
    }

    /// `POINT NUMBER kept|lost|some`
    fn obey(&mut self, words: &str) -> io::Result<()> {
        let words: Vec<&str> = words.split_whitespace().collect();
        let (["POINT", point, how], Some(Ok(number))) = (&words[..], words.get(1).map(|word| word.parse::<usize>()))
        else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let _ = point;
        self.go_to(
            number,
            match *how {
                "kept" => Unflushed::Kept,
                "lost" => Unflushed::Lost,
                _ => Unflushed::Some(number as u64),
            },
        );
        Ok(())
    }
}

impl Device for ReplayedDisk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.base.read_exact_at(data, offset)?;
        let first = offset / SECTOR as u64;
        let sectors = first..first + (data.len() / SECTOR) as u64;
        for layer in [&self.durable, &self.seen] {
            for (sector, bytes) in layer.range(sectors.clone()) {
                let at = (sector - first) as usize * SECTOR;
                data[at..at + SECTOR].copy_from_slice(bytes);
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8], _: bool) -> io::Result<()> {
        if offset >= self.len - CONTROL_LEN {
            return self.obey(&text(data));
        }
        let first = offset / SECTOR as u64;
        self.seen.extend((first..).zip(data.as_chunks::<SECTOR>().0.iter().copied()));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_as_it_was_at_each_point() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(4 * 4096).unwrap();
        let base = tempfile::NamedTempFile::new().unwrap();
        base.as_file().set_len(4 * 4096).unwrap();
        let mut disk = RecordedDisk::open(file.path()).unwrap();
        disk.write(0, &[1; 512], false).unwrap();
        disk.write(3 * 4096, b"a mark\0\0", false).unwrap();
        disk.flush().unwrap();
        disk.write(0, &[2; 1024], false).unwrap();
        disk.write(1024, &[3; 512], true).unwrap();
        assert_eq!(disk.events.len(), 5);
        assert_eq!(disk.events[1], Event::Mark("a mark".into()));
        let mut replayed = ReplayedDisk::new(base.path(), Arc::new(disk.events)).unwrap();
        let mut seen = |words: &str| {
            replayed.write(3 * 4096, words.as_bytes(), false).unwrap();
            let mut data = [0; 1536];
            replayed.read(0, &mut data).unwrap();
            // What is written is gone with the next point.
            replayed.write(0, &[9; 1536], false).unwrap();
            [data[0], data[512], data[1024]]
        };
        assert_eq!(seen("POINT 0 kept"), [0, 0, 0]);
        assert_eq!(seen("POINT 1 kept"), [1, 0, 0]);
        assert_eq!(seen("POINT 1 lost"), [0, 0, 0]);
        assert_eq!(seen("POINT 3 lost"), [1, 0, 0]);
        assert_eq!(seen("POINT 5 kept"), [2, 2, 3]);
        assert_eq!(seen("POINT 5 lost"), [1, 0, 3]);
        assert_eq!(seen("POINT 0 lost"), [0, 0, 0]);
        assert!(replayed.write(3 * 4096, b"nonsense", false).is_err());
    }
}
