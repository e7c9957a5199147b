//! `composefs cat`: prints the contents of files in an image.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_store::Basedirs;

use super::repository::RepositoryArgs;
use crate::complete;
use crate::inspect::content::ContentReader;
use crate::inspect::failures::Failures;
use crate::inspect::image::inspect;
use crate::inspect::output::ListOutput;
use crate::inspect::path::PATHS;
use crate::json;
use crate::operand::IMAGES;
use crate::output;

/// Print the contents of files in an image, verified before they are printed.
///
/// Small files are stored in the image; other contents are objects, which are searched in each --basedir in turn. An
/// object is compared with its size and digest in the image before any of it is printed, and again while it is printed,
/// because it can change in between; if fs-verity is enabled on it with this digest, the kernel does both. An image
/// file itself is not verified: mount it with digest=, or compare its digest with the output of composefs digest.
#[derive(clap::Args)]
#[command(after_help = format!("{IMAGES}\n\n{PATHS}\n\n{EXAMPLES}"))]
pub(super) struct CatArgs {
    /// Image: a file, or a ref or digest of the repository
    #[arg(add = ArgValueCompleter::new(complete::operands))]
    image: PathBuf,
    /// Files in the image
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<OsString>,
    /// Object directory; may be given several times [default for images of the repository: its objects]
    #[arg(long, value_name = "DIR")]
    basedir: Vec<PathBuf>,
    /// Also print contents for which the image has no digest to verify them with
    #[arg(long)]
    unverified: bool,
    /// Print a JSON array with an object for each file: path, size, digest, object, checked (how), data
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs cat rootfs.img /etc/hostname
  composefs cat debian/13 /etc/os-release
  composefs cat --basedir=objects rootfs.img /usr/bin/bash | sha256sum
  composefs cat --basedir=new --basedir=objects rootfs.img /etc/passwd /etc/group

Exit status: 0 if everything was printed, 1 if something was not, 2 for a usage error.";

/// Runs the command and returns its exit status.
pub(super) fn run(args: &CatArgs, selected: &RepositoryArgs) -> ExitCode {
    let mut failures = Failures::default();
    let done = print(args, selected, &mut failures, output::data());
    failures.status(done)
}

pub(super) fn print(
    args: &CatArgs,
    selected: &RepositoryArgs,
    failures: &mut Failures,
    out: impl Write,
) -> anyhow::Result<()> {
    inspect(&args.image, selected, |image| {
        let basedirs = image.basedirs(Basedirs::open(&args.basedir)?)?;
        let contents = ContentReader { image, basedirs, unverified: args.unverified };
        let mut lines = ListOutput::new(args.json, out);
        for path in &args.paths {
            let path = path.as_bytes();
            let done = match &mut lines {
                ListOutput::Text(out) => contents.copy(path, out).map(drop),
                ListOutput::Json(array) => object(&contents, path).and_then(|object| Ok(array.push(&object)?)),
            };
            failures.pass(done)?;
        }
        Ok(lines.finish()?)
    })
}

fn object(
    contents: &ContentReader<'_, '_, '_>,
    path: &[u8],
) -> anyhow::Result<serde_json::Map<String, serde_json::Value>> {
    let mut content = Vec::new();
    let copied = contents.copy(path, &mut content)?;
    let mut object = copied.info.json(&copied.path);
    json::put_bytes(&mut object, "data", &content);
    if let Some(path) = &copied.object {
        json::put_bytes(&mut object, "object", path.as_os_str().as_bytes());
    }
    object.insert("checked".to_owned(), copied.checked.into());
    Ok(object)
}
