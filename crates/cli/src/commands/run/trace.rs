//! `composefs trace`: runs a command with an image as its root, and records which objects it reads.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_delivery::Trace;
use libcomposefs_store::publish::replace_file;

use super::args::{PlainRunArgs, RunNetwork};
use crate::commands::mount::Via;
use crate::commands::remote::make_file;
use crate::commands::repository::RepositoryArgs;
use crate::complete;

/// Run a command with an image as its root directory, and record which objects it reads.
///
/// The command runs as by `composefs run`, with the image mounted in user space (--via=fuse). The objects that are read
/// are written to FILE in the order of the first reads, one in a line, when the command has ended: the digest of the
/// object, and a path of it. `composefs push --trace=FILE` puts them into a pack of their own, and `composefs mount
/// --lazy` fetches them ahead, so that the command starts without waiting for each of its files.
#[derive(clap::Args)]
#[command(after_help = TRACE_HELP)]
pub(crate) struct TraceArgs {
    /// Image: the path of a file, or a ref or digest of an image in a repository
    #[arg(value_name = "IMAGE|REF|DIGEST", add = ArgValueCompleter::new(complete::images))]
    image: PathBuf,

    /// File to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,

    /// Mount options as of `composefs mount`, separated by commas; may be given several times
    #[arg(short, long, value_name = "OPTIONS")]
    options: Vec<OsString>,

    /// Network of the command: that of the caller, or only a loopback interface
    #[arg(long, value_enum, default_value_t = RunNetwork::Host)]
    network: RunNetwork,

    /// Command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const TRACE_HELP: &str = "\
Exit status: that of the command, as of `composefs run`; 125 if the trace cannot be written, 2 for a usage error. The
trace is written whatever the status of the command is.

Examples:
  composefs --repo=images trace debian/13 --output=debian.trace -- python3 -c 'import json, ssl, asyncio'
  composefs --repo=images push debian/13 /srv/remote --trace=debian.trace";

/// The trace of a command that is about to run.
pub(super) struct TraceOutput {
    path: PathBuf,
    /// The lines that the server of the image writes.
    pub(super) lines: Arc<File>,
}

impl TraceOutput {
    fn new(path: &Path) -> anyhow::Result<Self> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        ensure!(parent.is_dir(), "cannot write the trace {}: {} is no directory", path.display(), parent.display());
        let mut lines = make_file().context("cannot make a temporary file")?;
        lines.write_all(Trace::default().to_text().as_bytes()).context("cannot write a temporary file")?;
        Ok(Self { path: path.to_owned(), lines: Arc::new(lines) })
    }

    /// Writes the file, when the command has ended.
    pub(super) fn finish(&self) -> anyhow::Result<()> {
        let mut text = Vec::new();
        let mut lines = &*self.lines;
        lines.seek(SeekFrom::Start(0)).and_then(|_| lines.read_to_end(&mut text)).context("cannot read the trace")?;
        let trace = Trace::parse(&text).context("the trace cannot be used")?;
        ensure!(!trace.objects.is_empty(), "the command has read no object of the image: there is nothing to trace");
        let write = |file: &mut File| -> anyhow::Result<()> { Ok(file.write_all(&text)?) };
        replace_file(&self.path, 0o666, write).with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(())
    }
}

/// Runs the command, and returns its exit status.
pub(crate) fn run(args: &TraceArgs, selected: &RepositoryArgs) -> ExitCode {
    let TraceArgs { image, output, options, network, command } = args;
    let run = PlainRunArgs {
        image: image.clone(),
        options: options.clone(),
        via: Via::Fuse,
        rw: None,
        network: *network,
        command: command.clone(),
    };
    super::exit_code(TraceOutput::new(output).and_then(|output| super::run_command(&run, selected, Some(&output))))
}
