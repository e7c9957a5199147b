//! The parts of a pull alone: decompression, SHA-256 of blobs and archives, and writing of the files.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest as _, Sha256};

use super::layout::{LayerCompression, MadeLayer};
use crate::cost::Cost;

/// Size of the pieces that are hashed, in bytes.
const PIECE: usize = 256 << 10;

/// Decompresses all layers at once, each on a thread of its own.
pub(super) fn inflate(layers: &[MadeLayer], compression: LayerCompression) -> Result<Cost> {
    each(layers, |layer| {
        let archive = copy_archive(layer, compression, &mut io::sink())?;
        ensure!(archive == layer.size, "the archive has {archive} bytes, not {}", layer.size);
        Ok(())
    })
}

/// Hashes as many bytes as all blobs and archives have, each layer on a thread of its own.
pub(super) fn sha256_twice(layers: &[MadeLayer]) -> Result<Cost> {
    let piece = vec![7; PIECE];
    each(layers, |layer| {
        let mut left = layer.blob_size()? + layer.size;
        let mut hasher = Sha256::new();
        while left > 0 {
            let now = left.min(PIECE as u64);
            hasher.update(&piece[..usize::try_from(now)?]);
            left -= now;
        }
        std::hint::black_box(hasher.finalize());
        Ok(())
    })
}

/// Unpacks the archives, one after the other, and waits until they are on disk.
pub(super) fn write(layers: &[MadeLayer], compression: LayerCompression, archives: &Path, to: &Path) -> Result<Cost> {
    let mut paths = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let path = archives.join(format!("{number}.tar"));
        if !path.exists() {
            copy_archive(layer, compression, &mut File::create(&path)?)?;
        }
        paths.push(path);
    }
    std::fs::create_dir(to)?;
    rustix::fs::sync();
    let mut shell = Command::new("sh");
    // A directory of a lower layer may be a link in the next one, and must not be followed.
    shell.args([
        "-ec",
        "to=$1; shift; for one; do tar -C \"$to\" --keep-directory-symlink -xf \"$one\"; done; sync -f \"$to\"",
        "sh",
    ]);
    Cost::of(shell.arg(to).args(paths).stdin(Stdio::null()))
}

fn copy_archive(layer: &MadeLayer, compression: LayerCompression, out: &mut dyn Write) -> Result<u64> {
    let blob = io::BufReader::with_capacity(64 << 10, File::open(&layer.blob)?);
    let mut archive: Box<dyn Read> = match compression {
        LayerCompression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(blob)),
        LayerCompression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(blob)?),
    };
    let (mut piece, mut size) = (vec![0; PIECE], 0);
    loop {
        match archive.read(&mut piece)? {
            0 => return Ok(size),
            len => {
                out.write_all(&piece[..len])?;
                size += len as u64;
            }
        }
    }
}

/// Does something for each layer, on a thread of its own.
fn each(layers: &[MadeLayer], work: impl Fn(&MadeLayer) -> Result<()> + Sync) -> Result<Cost> {
    let (start, cpu) = (Instant::now(), cpu_time());
    std::thread::scope(|scope| {
        let threads: Vec<_> = layers.iter().map(|layer| scope.spawn(|| work(layer))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().ok().context("a thread has failed")?)
    })?;
    Ok(Cost { wall: start.elapsed().as_secs_f64(), cpu: cpu_time() - cpu, memory: 0.0 })
}

fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
