//! Import from the store of podman: on the same file system, and on another, where neither extents nor hard links can
//! be shared.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::engine::{PullEngine, PullEngines};
use super::{ServedImage, Stage, row, table};
use crate::cost::Cost;
use crate::disk::LoopDisk;
use crate::measure::median;
use crate::report::Report;

/// The place of podman's store.
#[derive(Clone, Copy)]
pub(super) enum StorePlace {
    /// The file system of the repository.
    Same,
    /// Another file system of the same kind.
    Other,
}

pub(super) fn run(
    stage: &Stage<'_>,
    report: &mut Report,
    image: &ServedImage,
    kind: &str,
    place: StorePlace,
) -> Result<()> {
    let what = match place {
        StorePlace::Same => format!("both on one {kind}"),
        StorePlace::Other => format!("from one {kind} to another"),
    };
    report.heading(&format!("Import from podman's store, {what}"));
    if !stage.engines.all().contains(&PullEngine::Podman) {
        println!("not measured: no podman");
        return Ok(());
    }
    let disk = LoopDisk::new(&stage.directory, kind)?;
    let other = match place {
        StorePlace::Same => None,
        StorePlace::Other => {
            let directory = stage.directory.join("other");
            std::fs::create_dir_all(&directory)?;
            Some(LoopDisk::new(&directory, kind)?)
        }
    };
    let podman = other.as_ref().unwrap_or(&disk).at.join("podman");
    stage.engines.init(PullEngine::Podman, &podman)?;
    let name = format!("{}/{}", stage.registry.address, image.name);
    stage.engines.pull(PullEngine::Podman, &podman, &name, &[])?;
    let imported = measure(stage, report, &disk, &podman, &name, &what);
    PullEngines::remove(&podman)?;
    imported
}

fn measure(
    stage: &Stage<'_>,
    report: &mut Report,
    disk: &LoopDisk,
    podman: &Path,
    name: &str,
    what: &str,
) -> Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=stage.rounds {
        for (engine, costs) in [(PullEngine::Ours, &mut ours), (PullEngine::Cfsctl, &mut theirs)] {
            if !stage.engines.all().contains(&engine) {
                continue;
            }
            let store = disk.at.join("store");
            stage.engines.init(engine, &store)?;
            rustix::fs::sync();
            let cost = stage.engines.import(engine, &store, podman, &format!("{name}:latest"));
            let cost = cost.with_context(|| format!("import by {}", PullEngines::name(engine)))?;
            PullEngines::remove(&store)?;
            if round > 0 {
                costs.push(cost);
            }
        }
    }
    table();
    row("composefs oci pull containers-storage:", Cost::median(&ours));
    if theirs.is_empty() {
        return Ok(());
    }
    row("cfsctl 0.9.4 oci pull --local-fetch=auto", Cost::median(&theirs));
    println!();
    for (unit, figure) in [("CPU", (|cost| cost.cpu) as fn(&Cost) -> f64), ("wall", |cost| cost.wall)] {
        let ratio = median(theirs.iter().zip(&ours).map(|(theirs, ours)| figure(theirs) / figure(ours)));
        report.goal(format!("import {what}: {unit} time of cfsctl over ours"), ratio, 2.0);
    }
    Ok(())
}

impl PullEngines {
    /// Imports an image from the store of podman.
    fn import(&self, engine: PullEngine, store: &Path, podman: &Path, name: &str) -> Result<Cost> {
        let mut import: Command = self.with_repository(engine, store);
        import.args(["oci", "pull"]);
        match engine {
            PullEngine::Ours => {
                import.arg(format!("containers-storage:[{}]{name}", podman.display())).arg("--name=image");
            }
            _ => {
                self.show_to_cfsctl(podman)?;
                import.arg("--local-fetch=auto").arg(format!("containers-storage:{name}")).arg("image");
            }
        }
        Cost::of(&import)
    }
}
