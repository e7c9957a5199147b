//! The memory for a large layer: a file of zeros and one of bytes that cannot be compressed.

use std::io::Write;

use anyhow::Result;

use super::engine::{PullEngine, PullEngines};
use super::layout::{LayerCompression, LayoutWriter};
use super::tar_header::header;
use super::{Stage, push, row, table};
use crate::report::Report;

/// Size of the layer, in bytes.
const SIZE: u64 = 256 << 20;
/// The same with `--full`.
const FULL_SIZE: u64 = 5_000_000_000;
/// The most that a pull may use, in MB.
const MEMORY_MAX: f64 = 64.0;

pub(super) fn run(stage: &Stage<'_>, report: &mut Report) -> Result<()> {
    let size = if stage.setting.is_full { FULL_SIZE } else { SIZE };
    report.heading(&format!("Memory of the pull of a layer of {} MB, zeros and random bytes", size / 1_000_000));
    table();
    for compression in [LayerCompression::Gzip, LayerCompression::Zstd] {
        let name = format!("large-{}", compression.name());
        let writer = LayoutWriter::new(stage.directory.join(&name))?;
        let layer = writer.layer(compression, |out| {
            out.write_all(&header("usr", 0, b'5'))?;
            let piece = size / 2 / PIECE as u64;
            file(out, "usr/zeros", piece, |_, bytes| bytes.fill(0))?;
            file(out, "usr/random", piece, noise)?;
            Ok(out.write_all(&[0; 1024])?)
        })?;
        writer.finish(&[layer])?;
        push(&writer.directory, &stage.registry.address, &name)?;
        std::fs::remove_dir_all(&writer.directory)?;
        let store = stage.directory.join("store");
        stage.engines.init(PullEngine::Ours, &store)?;
        let image = format!("{}/{name}", stage.registry.address);
        let cost = stage.engines.pull(PullEngine::Ours, &store, &image, &["--keep-blobs=no"])?;
        PullEngines::remove(&store)?;
        row(&format!("composefs oci pull, {}", compression.name()), cost);
        report.goal(format!("64 MB over the memory, {}", compression.name()), MEMORY_MAX / cost.memory, 1.0);
    }
    println!();
    Ok(())
}

/// Size of the pieces that are written, in bytes.
const PIECE: usize = 1 << 20;

/// Writes a file of a number of pieces.
fn file(out: &mut dyn Write, path: &str, pieces: u64, make: impl Fn(u64, &mut [u8])) -> Result<()> {
    out.write_all(&header(path, pieces * PIECE as u64, b'0'))?;
    let mut bytes = vec![0; PIECE];
    for piece in 0..pieces {
        make(piece, &mut bytes);
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// Fills a piece with bytes that depend on its number.
fn noise(piece: u64, bytes: &mut [u8]) {
    let mut state = (piece + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for word in bytes.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
}
