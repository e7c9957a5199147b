//! `composefs du`: prints the sizes of images, and how much they share.

mod ledger;
mod table;

use std::cell::OnceCell;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_store::{Basedirs, ObjectError};
use serde_json::{Map, Value};

use self::ledger::{Ledger, Sums};
use super::repository::RepositoryArgs;
use crate::complete;
use crate::inspect::failures::Failures;
use crate::inspect::size::SizeFormat;
use crate::json;
use crate::operand::{IMAGES, ImageOperand, Operands};
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
/// With --basedir, or if all are images of the repository, also:
///
///   disk       disk space that the objects use
///   freed      disk space that the exclusive objects use
///   missing    number of missing objects
#[derive(clap::Args)]
#[command(after_help = format!("{IMAGES}\n\n{EXAMPLES}"), verbatim_doc_comment)]
pub(super) struct DuArgs {
    /// Images: files, or refs or digests of the repository
    #[arg(value_name = "IMAGE", required = true, add = ArgValueCompleter::new(complete::operands))]
    images: Vec<PathBuf>,
    /// Object directory; may be given several times [default for images of the repository: its objects]
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
Sizes are those recorded in the images, in bytes. Objects are identified by their paths below the object directory.

Examples:
  composefs du rootfs.img
  composefs du -H old.img new.img
  composefs du --basedir=objects --json *.img | jq .total.missing

Exit status: 0 if everything was counted (even if objects are missing), 1 if something was not, 2 for a usage error.";

/// Runs the command and returns its exit status.
pub(super) fn run(args: &DuArgs, selected: &RepositoryArgs) -> ExitCode {
    let mut failures = Failures::default();
    let done = measure(args, selected, &mut failures, output::text());
    failures.status(done)
}

pub(super) fn measure(
    args: &DuArgs,
    selected: &RepositoryArgs,
    failures: &mut Failures,
    mut out: impl Write,
) -> anyhow::Result<()> {
    let opened = OnceCell::new();
    let operands = Operands::new(selected, &opened);
    let mut basedirs = Basedirs::open(&args.basedir)?;
    let mut has_files = false;
    let mut ledger = Ledger::default();
    let mut images = Vec::new();
    for path in &args.images {
        let mut add = || -> anyhow::Result<()> {
            let ImageOperand { file, digest } = operands.read(path)?;
            let reader = file.reader()?;
            let loaded = file.load(&reader, &[])?;
            ledger.add(&loaded.tree, file.file_len());
            has_files |= digest.is_none();
            Ok(())
        };
        match add() {
            Ok(()) => images.push(path),
            Err(error) => failures.add(&error),
        }
    }
    // The objects of a file need not be in the repository.
    if !has_files {
        basedirs = operands.basedirs(basedirs)?;
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
