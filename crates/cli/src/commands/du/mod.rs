//! `composefs du`: how large images are, and what they share.

mod ledger;
mod table;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use libcomposefs_store::{Basedirs, ObjectError};
use serde_json::{Map, Value};

use self::ledger::{Ledger, Sums};
use crate::image_file::ImageFile;
use crate::inspect::failures::Complaints;
use crate::inspect::size::Sizes;
use crate::json;
use crate::output;

/// Tell how large images are, and what they share.
///
/// A row for each image, and for several a total:
///
///   apparent   the sizes of all regular files, each name by itself
///   unique     the objects that are needed, each once
///   shared     of these, what other images of the command line need as well
///   exclusive  of these, what no other needs: what dropping this image frees
///   objects    how many objects are needed
///   inline     contents in the image itself, each inode once
///   image      the image file
///
/// With --basedir also:
///
///   disk       what the objects take on disk
///   freed      what the exclusive ones take there
///   missing    how many are not there
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, verbatim_doc_comment)]
pub(super) struct DuArgs {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// A directory of objects; may be given several times
    #[arg(long, value_name = "DIR")]
    basedir: Vec<PathBuf>,
    /// Print sizes like 1.2M
    #[arg(short = 'H', long)]
    human: bool,
    /// Print JSON: an object with the images, and their total
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Sizes are those the images say, in bytes; an object is known by its path below the object directory.

Examples:
  composefs du rootfs.img
  composefs du -H old.img new.img
  composefs du --basedir=objects --json *.img | jq .total.missing

Exit status: 0 if all was counted (also if objects are missing), 1 if something was not, 2 for a command line that is
wrong.";

/// Runs the command.
pub(super) fn run(args: &DuArgs) -> ExitCode {
    let mut complaints = Complaints::default();
    let done = measure(args, &mut complaints, output::text());
    complaints.status(done)
}

pub(super) fn measure(args: &DuArgs, complaints: &mut Complaints, mut out: impl Write) -> anyhow::Result<()> {
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
            Err(error) => complaints.add(&error),
        }
    }
    if !basedirs.is_empty() {
        ledger.look_on_disk(|payload| match basedirs.open_object(payload) {
            Ok(object) => Some(object.disk_size()),
            Err(error) => {
                if !matches!(error, ObjectError::Missing { .. }) {
                    complaints.add(&error.into());
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
        out.write_all(&table::lines(&names, &rows, total, !basedirs.is_empty(), Sizes::human(args.human)))?;
    }
    Ok(out.flush()?)
}

fn object(sums: &Sums, with_disk: bool) -> Map<String, Value> {
    let columns = sums.columns(with_disk).into_iter();
    columns.map(|column| (column.name.to_owned(), column.number.into())).collect()
}
