//! `composefs du`: prints the sizes of images, and how much they share.

mod ledger;
mod table;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use libcomposefs_store::{Basedirs, ObjectError};
use serde_json::{Map, Value};

use self::ledger::{Ledger, Sums};
use crate::image_file::ImageFile;
use crate::inspect::failures::Failures;
use crate::inspect::size::SizeFormat;
use crate::json;
use crate::output;

/// Print the sizes of images, and how much they share
///
/// Prints a row for each image, and a total for several:
///
///   apparent   size of all regular files, for each name
///   unique     size of the objects needed, each counted once
///   shared     the part of unique that other images on the command line need too
///   exclusive  the part of unique that no other needs: removing the image frees it
///   objects    number of objects needed
///   inline     size of contents in the image itself, for each inode
///   image      size of the image file
///
/// With --basedir also:
///
///   disk       disk space that the objects use
///   freed      disk space that the exclusive objects use
///   missing    number of missing objects
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, verbatim_doc_comment)]
pub(super) struct DuArgs {
    /// Paths of the image files
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// Object directory; may be given several times
    #[arg(long, value_name = "DIR")]
    basedir: Vec<PathBuf>,
    /// Print sizes with units, such as 1.2M
    #[arg(short = 'H', long)]
    human: bool,
    /// Print a JSON object with the images and their total
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
SizeFormat are those recorded in the images, in bytes. Objects are identified by their paths below the object directory.

Examples:
  composefs du rootfs.img
  composefs du -H old.img new.img
  composefs du --basedir=objects --json *.img | jq .total.missing

Exit status: 0 if everything was counted (even if objects are missing), 1 if something was not, 2 for a usage error.";

/// Runs the command and returns its exit status.
pub(super) fn run(args: &DuArgs) -> ExitCode {
    let mut failures = Failures::default();
    let done = measure(args, &mut failures, output::text());
    failures.status(done)
}

pub(super) fn measure(args: &DuArgs, failures: &mut Failures, mut out: impl Write) -> anyhow::Result<()> {
    let basedirs = Basedirs::open(&args.basedir)?;
    let mut ledger = Ledger::default();
    let mut images = Vec::new();
    for path in &args.images {
        let mut add = || -> anyhow::Result<()> {
            let image = ImageFile::read(path)?;
            let reader = image.reader()?;
            let loaded = image.load(&reader, &[])?;
            ledger.add(&loaded.tree, image.file_len());
            Ok(())
        };
        match add() {
            Ok(()) => images.push(path),
            Err(error) => failures.add(&error),
        }
    }
    if !basedirs.is_empty() {
        ledger.look_on_disk(|payload| match basedirs.open_object(payload) {
            Ok(object) => Some(object.disk_size()),
            Err(error) => {
                if !matches!(error, ObjectError::Missing { .. }) {
                    failures.add(&error.into());
                }
                None
            }
        });
    }
    let (rows, total) = ledger.sums();
    if args.json {
        let with_name = |(path, sums): (&&PathBuf, &Sums)| {
            let mut object = object(sums, !basedirs.is_empty());
            json::put_bytes(&mut object, "path", path.as_os_str().as_encoded_bytes());
            Value::Object(object)
        };
        let mut all = Map::new();
        all.insert("images".to_owned(), images.iter().zip(&rows).map(with_name).collect());
        all.insert("total".to_owned(), object(&total, !basedirs.is_empty()).into());
        json::write_pretty(&mut out, &all)?;
    } else {
        let names: Vec<_> = images.iter().map(|path| path.as_os_str().as_encoded_bytes()).collect();
        let total = Some(&total).filter(|_| args.images.len() > 1);
        out.write_all(&table::lines(&names, &rows, total, !basedirs.is_empty(), SizeFormat::human(args.human)))?;
    }
    Ok(out.flush()?)
}

fn object(sums: &Sums, with_disk: bool) -> Map<String, Value> {
    let columns = sums.columns(with_disk).into_iter();
    columns.map(|column| (column.name.to_owned(), column.number.into())).collect()
}
