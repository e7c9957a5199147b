//! OCI layouts made of real files: each layer is an archive of tar(1), compressed by the program of a format.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The compression of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LayerCompression {
    Gzip,
    Zstd,
}

impl LayerCompression {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Returns the program that compresses its input, as engines do by default.
    fn program(self) -> Command {
        let mut command = Command::new(self.name());
        command.args(match self {
            Self::Gzip => ["-n", "-6"],
            Self::Zstd => ["-q", "-3"],
        });
        command
    }
}

/// A layer in a layout.
#[derive(Clone, Debug)]
pub(super) struct MadeLayer {
    /// The file of the blob.
    pub(super) blob: PathBuf,
    /// Size of the archive, in bytes.
    pub(super) size: u64,
    descriptor: Value,
    diff_id: String,
}

impl MadeLayer {
    /// Returns the size of the blob, in bytes.
    pub(super) fn blob_size(&self) -> Result<u64> {
        Ok(fs::metadata(&self.blob)?.len())
    }
}

/// An OCI layout that is being written.
#[derive(Debug)]
pub(super) struct LayoutWriter {
    pub(super) directory: PathBuf,
}

impl LayoutWriter {
    pub(super) fn new(directory: PathBuf) -> Result<Self> {
        fs::create_dir_all(directory.join("blobs/sha256"))?;
        Ok(Self { directory })
    }

    /// Compresses an archive, which `write` writes.
    pub(super) fn layer(
        &self,
        compression: LayerCompression,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<MadeLayer> {
        let unfinished = self.directory.join("unfinished");
        let mut compressor = compression.program();
        compressor.stdin(Stdio::piped()).stdout(File::create(&unfinished)?);
        let mut child = compressor.spawn().with_context(|| format!("cannot run {compressor:?}"))?;
        let mut archive = Hashed { out: child.stdin.take().context("no pipe")?, hasher: Sha256::new(), size: 0 };
        write(&mut archive)?;
        let Hashed { out, hasher, size } = archive;
        drop(out);
        ensure!(child.wait()?.success(), "{compressor:?} failed");
        let diff_id = hex(hasher);
        let mut blob = Hashed { out: io::sink(), hasher: Sha256::new(), size: 0 };
        io::copy(&mut File::open(&unfinished)?, &mut blob)?;
        let media_type = format!("application/vnd.oci.image.layer.v1.tar+{}", compression.name());
        let (digest, blob_size) = (hex(blob.hasher), blob.size);
        let path = self.blob(&digest);
        fs::rename(unfinished, &path)?;
        let descriptor = json!({ "mediaType": media_type, "digest": digest, "size": blob_size });
        Ok(MadeLayer { blob: path, size, descriptor, diff_id })
    }

    /// Writes the documents, so that the layout has this image alone.
    pub(super) fn finish(&self, layers: &[MadeLayer]) -> Result<()> {
        let diff_ids: Vec<_> = layers.iter().map(|layer| &layer.diff_id).collect();
        let rootfs = json!({ "type": "layers", "diff_ids": diff_ids });
        let config = json!({ "architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs });
        let config = self.document("config.v1+json", &config)?;
        let layers: Vec<_> = layers.iter().map(|layer| &layer.descriptor).collect();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers });
        let mut manifest = self.document("manifest.v1+json", &manifest)?;
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "image" });
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        fs::write(self.directory.join("index.json"), index.to_string())?;
        fs::write(self.directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(())
    }

    fn document(&self, kind: &str, document: &Value) -> Result<Value> {
        let bytes = document.to_string();
        let digest = hex(Sha256::new_with_prefix(bytes.as_bytes()));
        fs::write(self.blob(&digest), &bytes)?;
        let media_type = format!("application/vnd.oci.image.{kind}");
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.directory.join("blobs").join(digest.replacen(':', "/", 1))
    }
}

fn hex(hasher: Sha256) -> String {
    let digits: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// Passes bytes on, hashes and counts them.
struct Hashed<W> {
    out: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.out.write(bytes)?;
        self.hasher.update(&bytes[..len]);
        self.size += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes an archive of files and directories below a root.
pub(super) fn archive(root: &Path, paths: &[PathBuf], out: &mut dyn Write) -> Result<()> {
    let mut list = tempfile::NamedTempFile::new()?;
    for path in paths {
        list.write_all(path.as_os_str().as_bytes())?;
        list.write_all(&[0])?;
    }
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(root).args(["--format=pax", "--pax-option=delete=atime,delete=ctime", "--numeric-owner"]);
    tar.args(["--no-recursion", "--null", "-cf", "-", "-T"]).arg(list.path());
    let mut child = tar.stdout(Stdio::piped()).spawn().context("cannot run tar")?;
    let mut buffer = vec![0; 1 << 20];
    let mut archive = child.stdout.take().context("no pipe")?;
    loop {
        match archive.read(&mut buffer)? {
            0 => break,
            len => out.write_all(&buffer[..len])?,
        }
    }
    ensure!(child.wait()?.success(), "tar failed");
    Ok(())
}

/// Returns files, links and directories below `root/start`, and the directories above, in the order of their names,
/// until the files have `max` bytes together.
pub(super) fn paths(root: &Path, start: &str, max: u64) -> Result<Vec<PathBuf>> {
    let start = PathBuf::from(start);
    // cfsctl refuses a layer without entries for the directories above.
    let mut found: Vec<_> = start.ancestors().skip(1).map(Path::to_owned).collect();
    found.retain(|path| !path.as_os_str().is_empty());
    found.reverse();
    let (mut waiting, mut bytes) = (vec![start], 0);
    while let Some(path) = waiting.pop() {
        let here = root.join(&path);
        let metadata = fs::symlink_metadata(&here)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            let mut names: Vec<_> = fs::read_dir(&here)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
            // The last one is taken first.
            names.sort_by(|one, other| other.cmp(one));
            waiting.extend(names.iter().map(|name| path.join(name)));
        } else if kind.is_file() {
            bytes += metadata.len();
        } else if !kind.is_symlink() {
            continue;
        }
        if bytes > max {
            break;
        }
        if path.as_os_str().is_empty() {
            continue;
        }
        found.push(path);
    }
    Ok(found)
}
