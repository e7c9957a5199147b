//! Item 4: an image from a dump.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use libcomposefs_image::{Algorithm, verity};

use crate::Setting;
use crate::measure::{Candidate, by_turns};
use crate::report::Report;

const COUNTS: [u64; 3] = [50_000, 500_000, 5_000_000];

pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let mut per_entry = Vec::new();
    for count in COUNTS {
        report.heading(&format!("Image from a dump of {count} entries"));
        let dump = write_dump(&setting.scratch.join("dump"), count)?;
        let digest = |mut command: Command| {
            command.args(["--from-file", "--print-digest-only"]).arg(&dump);
            command
        };
        let write = |mut command: Command| {
            command.arg("--from-file").arg(&dump).arg(setting.scratch.join("image"));
            command
        };
        let mut candidates = vec![
            Candidate::program("composefs, digest of the image", || digest(setting.ours())),
            Candidate::program("composefs, image written and synced", || write(setting.ours())),
        ];
        // The largest one would take the reference minutes and gigabytes.
        if count < 5_000_000 {
            candidates.push(Candidate::program("C 1.0.8, digest of the image", || digest(setting.theirs())));
            candidates.push(Candidate::program("C 1.0.8, image written, not synced", || write(setting.theirs())));
        }
        let rounds = if count < 500_000 { setting.rounds } else { 3 };
        let series = by_turns(rounds, &candidates)?;
        report.table(&series, std::fs::metadata(&dump)?.len());
        per_entry.push(series[0].wall() / count as f64);
        let memory = series[0].memory as f64 * 1024.0 / count as f64;
        println!("* {memory:.0} bytes of memory an entry");
        if let Some(theirs) = series.get(2) {
            report.goal(format!("{count} entries: over C"), series[0].speedup_over(theirs), 4.0);
            let ratio = theirs.memory as f64 / series[0].memory as f64;
            report.goal(format!("{count} entries: memory of C over ours"), ratio, 2.0);
        } else {
            report.goal(format!("{count} entries: 200 bytes over memory an entry"), 200.0 / memory, 1.0);
        }
    }
    let growth = per_entry[0] / per_entry[per_entry.len() - 1];
    report.goal("time an entry, the smallest dump over the largest", growth, 0.67);
    Ok(())
}

/// A tree as a distribution has it: directories of some 30 files, most of them external, each with its own digest.
fn write_dump(path: &Path, count: u64) -> Result<PathBuf> {
    let mut out = BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
    writeln!(out, "/ 0 40755 2 0 0 0 1700000000.0 - - -")?;
    let mut written = 1;
    let mut directory = 0u64;
    while written < count {
        if directory.is_multiple_of(1000) {
            writeln!(out, "/part{} 0 40755 2 0 0 0 1700000000.0 - - -", directory / 1000)?;
            written += 1;
        }
        let parent = format!("/part{}/package-{directory}", directory / 1000);
        writeln!(out, "{parent} 0 40755 2 0 0 0 1700000{:03}.0 - - -", directory % 1000)?;
        written += 1;
        for file in 0..30 {
            if written >= count {
                break;
            }
            write_file(&mut out, &parent, directory, file)?;
            written += 1;
        }
        directory += 1;
    }
    out.flush()?;
    Ok(path.to_owned())
}

fn write_file(out: &mut impl std::io::Write, parent: &str, directory: u64, file: u64) -> Result<()> {
    let mtime = 1_700_000_000 + (directory * 31 + file) % 100_000;
    if file % 10 == 9 {
        writeln!(out, "{parent}/link-{file} 9 120777 1 0 0 0 {mtime}.0 ../file-{} - -", file - 1)?;
    } else if file % 10 == 8 {
        writeln!(out, "{parent}/small-{file} 10 100644 1 0 0 0 {mtime}.0 - some\\x20words -")?;
    } else {
        let digest = verity::digest(Algorithm::Sha256, &(directory * 31 + file).to_le_bytes());
        let (size, path) = (100 + file * 4000, digest.object_path());
        writeln!(
            out,
            "{parent}/file-with-a-name-{file}.txt {size} 100644 1 0 0 0 {mtime}.123456789 {path} - {digest}"
        )?;
    }
    Ok(())
}
