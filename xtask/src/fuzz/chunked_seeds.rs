//! Seeds of the target that reads the tables of partial pulls and of the store of podman: real ones and long ones.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{paths, process};

/// The parts of a layer that podman has pushed: start and length, from the annotations of its manifest.
const TOC: (usize, usize) = (111_578, 954);
const TAR_SPLIT: (usize, usize) = (112_540, 1_328);

pub(super) fn tables(dir: &Path, max_len: usize) -> Result<()> {
    let data = paths::checkout().join("crates/oci/tests/data");
    let work = tempfile::tempdir()?;
    let blob = fs::read(data.join("zstd-chunked/layer.blob"))?;
    let put = |name: &str, kind: &[u8], bytes: &[u8]| {
        let seed = [kind, bytes].concat();
        if seed.len() <= max_len { fs::write(dir.join(name), seed) } else { Ok(()) }
    };
    for (name, kind, (start, len)) in [("toc", b"t", TOC), ("tar-split", b"s", TAR_SPLIT)] {
        let compressed = work.path().join(name);
        fs::write(&compressed, blob.get(start..start + len).context("the layer is too short")?)?;
        let plain = process::output(Command::new("zstd").arg("-dcq").arg(&compressed))?;
        put(name, kind, &plain)?;
        // The longest lines and lists are where a slow reader shows.
        put(&format!("{name}-twice"), kind, &plain.repeat(2))?;
    }
    put("footer", b"f", blob.get(blob.len().saturating_sub(64)..).unwrap_or_default())?;
    let chunk = r#",{"type":"chunk","chunkOffset":1,"chunkSize":1,"chunkType":"zeros"}"#;
    put("toc-long", b"t", format!(r#"{{"version":1,"entries":[{{"type":"dir"}}{}]}}"#, chunk.repeat(900)).as_bytes())?;

    let archive = data.join("containers-storage.tar.gz");
    process::output(Command::new("tar").arg("--no-same-owner").arg("-xzf").arg(archive).arg("-C").arg(work.path()))?;
    put("images", b"i", &fs::read(work.path().join("overlay-images/images.json"))?)?;
    put("layers", b"l", &fs::read(work.path().join("overlay-layers/layers.json"))?)?;
    let list = |entry: &str| format!("[{}{entry}]", format!("{entry},").repeat(5000));
    put("images-long", b"i", list(r#"{"id":"a"}"#).as_bytes())?;
    put("layers-long", b"l", list(r#"{"id":"a"}"#).as_bytes())?;
    Ok(())
}
