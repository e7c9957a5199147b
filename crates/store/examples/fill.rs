//! Scans a directory, into a store if one is given: for tests under strace, and to measure.
//!
//! `fill DIRECTORY [STORE]`; prints what was done on the last line.

use std::path::PathBuf;
use std::process::ExitCode;

use composefs_image::Algorithm;
use composefs_scan::{DigestOnly, NoProgress, Options, scan};
use composefs_store::{ObjectDir, Policy};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(source), store) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: fill DIRECTORY [STORE]");
        return ExitCode::FAILURE;
    };
    match fill(&source, store) {
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("fill: {error}");
            ExitCode::FAILURE
        }
    }
}

fn fill(source: &std::path::Path, store: Option<PathBuf>) -> Result<String, Box<dyn std::error::Error>> {
    let options = Options::default();
    let Some(store) = store else {
        let tree = scan(source, &options, &DigestOnly(Algorithm::Sha256), &NoProgress)?;
        return Ok(format!("{} inodes", tree.inode_count()));
    };
    let store = ObjectDir::create(&store, Algorithm::Sha256, Policy::default())?;
    let batch = store.batch();
    let tree = scan(source, &options, &batch, &NoProgress)?;
    let summary = batch.finish()?;
    Ok(format!("{} inodes, {summary:?}", tree.inode_count()))
}
