//! Pulls into an empty store, by turns, on one file system.

use anyhow::{Result, ensure};

use super::engine::{PullEngine, PullEngines};
use super::layout::MadeLayer;
use super::{ServedImage, Stage, floors, row, table};
use crate::cost::Cost;
use crate::disk::LoopDisk;
use crate::measure::median;
use crate::report::Report;

/// The costs of each round.
#[derive(Default)]
struct Rounds {
    engines: Vec<(PullEngine, Vec<Cost>)>,
    inflate: Vec<Cost>,
    sha256: Vec<Cost>,
    write: Vec<Cost>,
}

pub(super) fn run(stage: &Stage<'_>, report: &mut Report, image: &ServedImage, kind: &str) -> Result<()> {
    let blobs: u64 = image.layers.iter().map(MadeLayer::blob_size).sum::<Result<_>>()?;
    let archives: u64 = image.layers.iter().map(|layer| layer.size).sum();
    report.heading(&format!(
        "Pull of {} layers, {} MB of {}, {} MB of archives, into an empty store on {kind}",
        image.layers.len(),
        blobs / 1_000_000,
        image.compression.name(),
        archives / 1_000_000
    ));
    let disk = match LoopDisk::new(&stage.directory, kind) {
        Ok(disk) => disk,
        Err(error) => {
            println!("not measured: {error:#}");
            return Ok(());
        }
    };
    let mut rounds = Rounds::default();
    rounds.engines.extend(stage.engines.all().into_iter().map(|engine| (engine, Vec::new())));
    for round in 0..=stage.rounds {
        let is_counted = round > 0;
        measure(stage, image, &disk, &mut rounds, is_counted)?;
    }
    print(report, image, kind, &rounds);
    Ok(())
}

/// One round: each engine, then each part of a pull alone.
fn measure(
    stage: &Stage<'_>,
    image: &ServedImage,
    disk: &LoopDisk,
    rounds: &mut Rounds,
    is_counted: bool,
) -> Result<()> {
    let name = format!("{}/{}", stage.registry.address, image.name);
    let mut digests = Vec::new();
    for (engine, costs) in &mut rounds.engines {
        let store = disk.at.join("store");
        stage.engines.init(*engine, &store)?;
        rustix::fs::sync();
        let more: &[&str] = if *engine == PullEngine::Ours { &["--keep-blobs=no"] } else { &[] };
        let cost = stage.engines.pull(*engine, &store, &name, more)?;
        if *engine != PullEngine::Podman && !is_counted {
            digests.push(stage.engines.image_digest(*engine, &store)?);
        }
        PullEngines::remove(&store)?;
        if is_counted {
            costs.push(cost);
        }
    }
    ensure!(digests.windows(2).all(|pair| pair[0] == pair[1]), "the images differ: {digests:?}");
    rustix::fs::sync();
    let (inflate, sha256) = (floors::inflate(&image.layers, image.compression)?, floors::sha256_twice(&image.layers)?);
    let unpacked = disk.at.join("unpacked");
    let write = floors::write(&image.layers, image.compression, &image.layout, &unpacked)?;
    std::fs::remove_dir_all(&unpacked)?;
    if is_counted {
        rounds.inflate.push(inflate);
        rounds.sha256.push(sha256);
        rounds.write.push(write);
    }
    Ok(())
}

fn print(report: &mut Report, image: &ServedImage, kind: &str, rounds: &Rounds) {
    table();
    for (engine, costs) in &rounds.engines {
        row(PullEngines::name(*engine), Cost::median(costs));
    }
    let parts = [
        ("decompression alone", &rounds.inflate),
        ("SHA-256 of blobs and archives alone", &rounds.sha256),
        ("`tar -x` and `sync -f` alone", &rounds.write),
    ];
    for (name, costs) in parts {
        row(name, Cost::median(costs));
    }
    println!();
    let what = format!("{} on {kind}", image.compression.name());
    let Some(((_, ours), peers)) = rounds.engines.split_first() else { return };
    for (engine, costs) in peers {
        let name = PullEngines::name(*engine);
        report.goal(format!("{what}: CPU time of {name} over ours"), ratio(costs, ours, |cost| cost.cpu), 2.0);
        report.goal(format!("{what}: wall time of {name} over ours"), ratio(costs, ours, |cost| cost.wall), 2.0);
    }
    for (unit, figure) in [("CPU", (|cost| cost.cpu) as fn(&Cost) -> f64), ("wall", |cost| cost.wall)] {
        let largest = parts.iter().map(|(_, costs)| ratio(costs, ours, figure)).fold(0.0, f64::max);
        report.goal(format!("{what}: {unit} time of the largest part alone over ours"), largest, 1.0 / 1.3);
    }
}

/// Returns the median over the rounds of the ratio of two costs.
fn ratio(one: &[Cost], other: &[Cost], figure: impl Fn(&Cost) -> f64) -> f64 {
    median(one.iter().zip(other).map(|(one, other)| figure(one) / figure(other)))
}
