//! The digest of an image of many entries: what it takes to make a tree of a layer.

use std::process::Command;

use anyhow::Result;

use super::layout::{LayerCompression, LayoutWriter};
use super::tar_header::header;
use super::{Stage, row, table};
use crate::cost::Cost;
use crate::report::Report;

/// Number of entries of the layer.
const ENTRIES: u32 = 100_000;
/// Number of files in each directory.
const FILES: u32 = 99;

pub(super) fn run(stage: &Stage<'_>, report: &mut Report) -> Result<()> {
    report.heading(&format!("`oci digest` of a layer of {ENTRIES} entries"));
    let writer = LayoutWriter::new(stage.directory.join("entries"))?;
    let layer = writer.layer(LayerCompression::Gzip, |out| {
        out.write_all(&header("usr", 0, b'5'))?;
        for number in 1..ENTRIES {
            let directory = format!("usr/directory-{}", (number - 1) / (FILES + 1));
            match (number - 1) % (FILES + 1) {
                0 => out.write_all(&header(&directory, 0, b'5'))?,
                file => out.write_all(&header(&format!("{directory}/file-{file}"), 0, b'0'))?,
            }
        }
        Ok(out.write_all(&[0; 1024])?)
    })?;
    writer.finish(&[layer])?;
    let mut digest = Command::new(&stage.setting.composefs);
    digest.args(["oci", "digest"]).arg(format!("oci:{}", writer.directory.display()));
    let runs: Vec<Cost> = (0..=stage.setting.rounds).map(|_| Cost::of(&digest)).collect::<Result<_>>()?;
    let cost = Cost::median(&runs[1..]);
    table();
    row("composefs oci digest", cost);
    println!();
    report.goal("0.2 s over the CPU time for 100,000 entries", 0.2 / cost.cpu, 1.0);
    Ok(())
}
