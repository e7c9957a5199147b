//! Builds the image: from source to tree to image file.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context, bail};
use libcomposefs_content::{ContentSink, DigestOnly};
use libcomposefs_image::dump::{self, LineMap};
use libcomposefs_image::erofs::{Image, WriteError};
use libcomposefs_image::tree::Tree;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_scan::{self as scan, scan};
use libcomposefs_store::publish::replace_file;
use libcomposefs_store::{ObjectDir, StorePolicy, VerifyExisting};

use super::options::BuildRequest;
use crate::dump_file;
use crate::lost_opaque;
use crate::output;
use crate::rlimits::allow_open_files;
use crate::scan_progress::ScanProgress;

/// A tree, and the lines of the dump that its inodes come from.
struct SourceTree {
    tree: Tree,
    lines: Option<LineMap>,
}

/// Mode of a new image, before the umask is applied.
const IMAGE_MODE: u32 = 0o666;

/// Executes a parsed command line.
pub(super) fn build(request: &BuildRequest) -> anyhow::Result<()> {
    if request.image.as_deref() == Some(Path::new("-")) && output::is_terminal() {
        bail!("stdout is a tty.  Refusing to use it");
    }
    let source = read_source(request)?;
    let image = Image::plan(&source.tree, request.versions).map_err(|error| cannot_write(request, &source, &error))?;
    lost_opaque::warn("mkcomposefs", &image.lost_opaque());
    write_image(request, &image)
}

/// Writes the image to its destination, then prints its digest.
fn write_image(request: &BuildRequest, image: &Image<'_>) -> anyhow::Result<()> {
    let algorithm = request.algorithm();
    let threads = request.scan.thread_count();
    let digest = match request.image.as_deref() {
        None => write_to(image, algorithm, threads, &mut io::sink())?,
        Some(path) if path == Path::new("-") => write_to(image, algorithm, threads, &mut output::data())?,
        Some(path) => replace_file(path, IMAGE_MODE, |file| write_to(image, algorithm, threads, file))?.1,
    };
    if request.print_digest {
        out!("{digest}");
    }
    Ok(())
}

fn write_to(
    image: &Image<'_>,
    algorithm: Algorithm,
    threads: NonZeroUsize,
    out: &mut (impl Write + Send),
) -> anyhow::Result<Digest> {
    image.write_and_digest(algorithm, threads, out).context("cannot write file")
}

fn read_source(request: &BuildRequest) -> anyhow::Result<SourceTree> {
    if request.from_file {
        let strict = std::env::var_os("CFS_PARSE_STRICT").is_some();
        let options = dump::Options { algorithm: request.algorithm(), strict };
        let parsed = dump_file::read(&request.source, options)?;
        return Ok(SourceTree { tree: parsed.tree, lines: Some(parsed.lines) });
    }
    let progress = ScanProgress::start();
    let scan_into = |sink: &dyn ContentSink| {
        scan(&request.source, &request.scan, sink, &progress).map_err(|error| cannot_scan(request, error))
    };
    let Some(path) = &request.store else {
        return Ok(SourceTree { tree: scan_into(&DigestOnly(request.algorithm()))?, lines: None });
    };
    allow_open_files();
    let verify_existing = if request.verify_store { VerifyExisting::Contents } else { VerifyExisting::Sizes };
    let policy = StorePolicy::default().with_verify_existing(verify_existing);
    let store = ObjectDir::create(path, request.algorithm(), policy).context("cannot fill store")?;
    let batch = store.batch();
    let tree = scan_into(&batch)?;
    let summary = batch.finish().context("cannot fill store")?;
    for repaired in &summary.repaired {
        tell!("mkcomposefs: {} was damaged and is replaced", store.path_of(repaired).display());
    }
    Ok(SourceTree { tree, lines: None })
}

/// Converts an error of the scan to the C tool's message for the step.
fn cannot_scan(request: &BuildRequest, error: scan::Error) -> anyhow::Error {
    let words = match &error {
        scan::Error::Io { source, path, .. }
            if source.kind() == io::ErrorKind::NotADirectory && *path == request.source =>
        {
            "cannot write file".to_owned()
        }
        scan::Error::Sink { .. } if request.store.is_some() => "cannot fill store".to_owned(),
        scan::Error::Sink { .. } => "error computing digest".to_owned(),
        _ => format!("error accessing {}", request.source.display()),
    };
    anyhow::Error::new(error).context(words)
}

/// Converts an error of the image writer to a message with the location in the source.
fn cannot_write(request: &BuildRequest, source: &SourceTree, error: &WriteError) -> anyhow::Error {
    let name = request.source.display();
    match (error.inode(), &source.lines) {
        (None, _) => anyhow::anyhow!("cannot write file: {error}"),
        (Some(inode), None) => {
            let path = source.tree.path_of(inode);
            anyhow::anyhow!("{name}{}: cannot write file: {error}", String::from_utf8_lossy(&path))
        }
        (Some(inode), Some(lines)) => {
            let field = match error {
                WriteError::FileTooLarge { .. } => dump::DumpField::Size,
                _ => dump::DumpField::Xattr(0),
            };
            anyhow::anyhow!("{name}: line {}, {field}: cannot write file: {error}", lines.line_of(inode))
        }
    }
}
