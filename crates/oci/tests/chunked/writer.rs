//! Writes a layer in the format zstd:chunked, as containers-storage does: each chunk is a frame of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::zstd_chunked::{ChunkedPositions, NotPartial};
use serde_json::json;

const PREFIX: &str = "io.github.containers.zstd-chunked.";

/// A layer as a registry has it.
pub(crate) struct WrittenLayer {
    pub(crate) blob: Vec<u8>,
    pub(crate) diff_id: BlobDigest,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) archive: Vec<u8>,
}

impl WrittenLayer {
    pub(crate) fn positions(&self) -> Result<Option<ChunkedPositions>, NotPartial> {
        let size = self.blob.len() as u64;
        ChunkedPositions::from_annotations(|key| self.annotations.get(key).map(String::as_str), size)
    }
}

/// A file of a layer: its name, and its content in chunks. A chunk of zeros is written as such.
pub(crate) type WrittenFile = (String, Vec<Vec<u8>>);

struct LayerWriter {
    compressor: zstd::bulk::Compressor<'static>,
    blob: Vec<u8>,
    archive: Vec<u8>,
    /// Bytes of the archive that are not in the blob yet.
    headers: Vec<u8>,
    entries: Vec<serde_json::Value>,
    tar_split: String,
    lines: u64,
}

pub(crate) fn write(files: &[WrittenFile]) -> WrittenLayer {
    write_changed(files, |_| {})
}

/// Like [`write`], with a TOC that a function has changed.
pub(crate) fn write_changed(files: &[WrittenFile], change: impl FnOnce(&mut serde_json::Value)) -> WrittenLayer {
    let mut writer = LayerWriter {
        compressor: zstd::bulk::Compressor::new(1).unwrap(),
        blob: Vec::new(),
        archive: Vec::new(),
        headers: Vec::new(),
        entries: Vec::new(),
        tar_split: String::new(),
        lines: 0,
    };
    for (name, chunks) in files {
        writer.file(name, chunks);
    }
    writer.headers.extend_from_slice(&[0; 1024]);
    writer.end_headers();
    writer.finish(change)
}

impl LayerWriter {
    fn frame(&mut self, bytes: &[u8]) {
        self.blob.extend(self.compressor.compress(bytes).unwrap());
    }

    fn line(&mut self, mut line: serde_json::Value) {
        line["position"] = self.lines.into();
        self.lines += 1;
        writeln!(self.tar_split, "{line}").unwrap();
    }

    fn end_headers(&mut self) {
        let headers = std::mem::take(&mut self.headers);
        self.line(json!({"type": 2, "payload": STANDARD.encode(&headers)}));
        self.archive.extend_from_slice(&headers);
        self.frame(&headers);
    }

    fn file(&mut self, name: &str, chunks: &[Vec<u8>]) {
        let content = chunks.concat();
        self.headers.extend_from_slice(&header(name, content.len()));
        self.end_headers();
        if content.is_empty() {
            self.line(json!({"type": 1, "name": name, "payload": null}));
            self.entries.push(json!({"type": "reg", "name": name, "mode": 420}));
            return;
        }
        let crc = crc::Crc::<u64>::new(&crc::CRC_64_GO_ISO).checksum(&content);
        let payload = STANDARD.encode(crc.swap_bytes().to_le_bytes());
        self.line(json!({"type": 1, "name": name, "size": content.len(), "payload": payload}));
        let first = self.entries.len();
        let mut done = 0;
        for chunk in chunks {
            let mut entry = json!({"type": "chunk", "name": name, "offset": self.blob.len()});
            if done > 0 {
                entry["chunkOffset"] = done.into();
            }
            if chunks.len() > 1 {
                entry["chunkSize"] = chunk.len().into();
                entry["chunkDigest"] = BlobDigest::of(chunk).to_string().into();
            }
            if chunks.len() > 1 && chunk.iter().all(|byte| *byte == 0) {
                entry["chunkType"] = "zeros".into();
            }
            self.entries.push(entry);
            self.frame(chunk);
            done += chunk.len();
        }
        let entry = &mut self.entries[first];
        entry["type"] = "reg".into();
        entry["size"] = content.len().into();
        entry["digest"] = BlobDigest::of(&content).to_string().into();
        entry["endOffset"] = self.blob.len().into();
        self.archive.extend_from_slice(&content);
        self.headers.resize(content.len().wrapping_neg() % 512, 0);
    }

    fn skippable(&mut self, payload: &[u8]) -> usize {
        self.blob.extend_from_slice(&[0x50, 0x2a, 0x4d, 0x18]);
        self.blob.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        self.blob.extend_from_slice(payload);
        self.blob.len() - payload.len()
    }

    fn finish(mut self, change: impl FnOnce(&mut serde_json::Value)) -> WrittenLayer {
        let split = zstd::stream::encode_all(self.tar_split.as_bytes(), 3).unwrap();
        let digest = BlobDigest::of(&split).to_string();
        let mut toc = json!({"version": 1, "entries": std::mem::take(&mut self.entries), "tarSplitDigest": digest});
        change(&mut toc);
        let plain = toc.to_string();
        let toc = zstd::stream::encode_all(plain.as_bytes(), 3).unwrap();
        let at = self.skippable(&toc);
        let split_at = self.skippable(&split);
        let numbers = [at, toc.len(), plain.len(), 1, split_at, split.len(), self.tar_split.len()];
        let footer: Vec<u8> = numbers.iter().flat_map(|number| (*number as u64).to_le_bytes()).collect();
        self.skippable(&[&footer[..], b"GNUlInUx"].concat());
        let joined = |numbers: &[usize]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(":");
        let annotations = [
            ("manifest-checksum", BlobDigest::of(&toc).to_string()),
            ("manifest-position", joined(&numbers[..4])),
            ("tarsplit-position", joined(&numbers[4..])),
        ];
        let annotations = annotations.into_iter().map(|(key, value)| (format!("{PREFIX}{key}"), value)).collect();
        let diff_id = BlobDigest::of(&self.archive);
        WrittenLayer { blob: self.blob, diff_id, annotations, archive: self.archive }
    }
}

/// Returns the header of a regular file.
fn header(name: &str, size: usize) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000000\0");
    block[148..156].fill(b' ');
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}
