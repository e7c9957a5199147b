//! Item 1: hashing, beside the fastest single streams of other libraries.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use libcomposefs_hash::{BLOCK_SIZE, Family, Kernel};
use sha2::Digest as _;

use crate::Setting;
use crate::measure::{Candidate, by_turns, here};
use crate::report::Report;

const BYTES: usize = 64 << 20;
const FILE_BYTES: u64 = 1 << 30;

pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let data: Vec<u8> = (0..BYTES as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for family in [Family::Sha256, Family::Sha512] {
        report.heading(&format!("{family:?} of {} MiB in blocks of 4096 bytes, one core", BYTES >> 20));
        let mut candidates: Vec<_> = Kernel::available(family)
            .map(|kernel| {
                let data = &data;
                Candidate::new(&format!("composefs-hash, {kernel:?}"), move |_| {
                    here(|| {
                        let mut hashes = Vec::new();
                        kernel.hash_blocks(family, data, &mut hashes);
                        std::hint::black_box(hashes);
                        Ok(())
                    })
                })
            })
            .collect();
        let ours = candidates.len();
        candidates.extend(libraries(family, &data));
        let series = by_turns(setting.rounds, &candidates)?;
        report.table(&series, BYTES as u64);
        let best = series[ours..].iter().min_by(|a, b| a.wall().total_cmp(&b.wall())).expect("libraries");
        let wanted = if family == Family::Sha256 { 1.7 } else { 1.0 };
        report.goal(format!("{family:?}: best kernel over {}", best.name), series[0].speedup_over(best), wanted);
    }
    one_big_file(setting, report)
}

fn libraries(family: Family, data: &[u8]) -> Vec<Candidate<'_>> {
    let by_blocks = move |name: &str, hash: fn(&[u8])| {
        Candidate::new(name, move |_| {
            here(|| {
                data.chunks_exact(BLOCK_SIZE).for_each(hash);
                Ok(())
            })
        })
    };
    let sha2: fn(&[u8]) = match family {
        Family::Sha256 => |block| _ = std::hint::black_box(sha2::Sha256::digest(block)),
        Family::Sha512 => |block| _ = std::hint::black_box(sha2::Sha512::digest(block)),
    };
    let ring: fn(&[u8]) = match family {
        Family::Sha256 => |block| _ = std::hint::black_box(ring::digest::digest(&ring::digest::SHA256, block)),
        Family::Sha512 => |block| _ = std::hint::black_box(ring::digest::digest(&ring::digest::SHA512, block)),
    };
    vec![by_blocks("sha2 0.11", sha2), by_blocks("ring 0.17", ring)]
}

fn one_big_file(setting: &Setting, report: &mut Report) -> Result<()> {
    report.heading("composefs digest of one file of 1 GiB in the page cache");
    let file = setting.scratch.join("big");
    let head: Vec<u8> = (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut writer = std::io::BufWriter::new(std::fs::File::create(&file)?);
    for _ in 0..FILE_BYTES >> 20 {
        std::io::Write::write_all(&mut writer, &head)?;
    }
    drop(writer);
    let digest = |threads: usize| {
        let (program, file) = (setting.composefs.clone(), file.clone());
        Candidate::program(&format!("composefs digest --threads={threads}"), move || {
            let mut command = Command::new(&program);
            command.arg("digest").arg(format!("--threads={threads}")).arg(&file);
            command
        })
    };
    let cores = std::thread::available_parallelism()?.get();
    let series = by_turns(setting.rounds, &[digest(1), digest(cores), sha256sum(&file)])?;
    report.table(&series, FILE_BYTES);
    let scaling = series[1].speedup_over(&series[0]) / cores as f64;
    report.goal(format!("share of {cores} cores that one big file uses"), scaling, 0.8);
    std::fs::remove_file(file)?;
    Ok(())
}

fn sha256sum(file: &Path) -> Candidate<'static> {
    let file = file.to_owned();
    Candidate::program("sha256sum", move || {
        let mut command = Command::new("sha256sum");
        command.arg(&file);
        command
    })
}
