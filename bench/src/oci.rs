//! OCI images: pulls beside cfsctl and podman, from a registry on the loopback interface.

mod engine;
mod entries;
mod floors;
mod import;
mod layout;
mod memory;
mod partial;
mod pulls;
mod start;
mod tar_header;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use libcomposefs_testkit::registry::DockerRegistry;

use crate::Setting;
use crate::cost::Cost;
use crate::measure::{self, Watch, program};
use crate::report::Report;

use engine::PullEngines;
use import::StorePlace;
use layout::{LayerCompression, LayoutWriter, MadeLayer};
use libcomposefs_testkit::registry_proxy::{ProxyTreatment, RegistryProxy};

/// The file systems of the stores.
const FILE_SYSTEMS: [&str; 2] = ["ext4", "xfs"];
/// Each round leaves a copy of the image for each engine.
const ROUNDS_MAX: usize = 5;

/// The parts of this topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OciPart {
    /// The digest of a layer of many entries.
    Entries,
    /// The memory for a large layer.
    Memory,
    /// Pulls of an image compressed by gzip.
    Gzip,
    /// Pulls of an image compressed by zstd.
    Zstd,
    /// Import from podman's store.
    Import,
    /// Pull of an image that differs in few files.
    Partial,
    /// The start of a container.
    Run,
}

/// What all measurements of images share.
struct Stage<'s> {
    setting: &'s Setting,
    rounds: usize,
    directory: PathBuf,
    registry: DockerRegistry,
    /// Before the registry; for what is not timed.
    proxy: RegistryProxy,
    engines: PullEngines,
}

pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let directory = setting.scratch.join("oci").to_owned();
    std::fs::create_dir(&directory)?;
    let directory = directory.canonicalize()?;
    let registry = DockerRegistry::start(&directory.join("registry")).context("docker-registry is not installed")?;
    let (_, port) = registry.address.rsplit_once(':').context("an address without a port")?;
    let proxy = RegistryProxy::start(port.parse()?, ProxyTreatment::Nothing);
    let engines = PullEngines::new(setting, &[&registry.address, &format!("127.0.0.1:{}", proxy.port)])?;
    let stage = Stage { setting, rounds: setting.rounds.min(ROUNDS_MAX), directory, registry, proxy, engines };
    let wants = |part| setting.parts.is_empty() || setting.parts.contains(&part);
    for part in OciPart::value_variants().iter().copied().filter(|part| wants(*part)) {
        match part {
            OciPart::Entries => entries::run(&stage, report)?,
            OciPart::Memory => memory::run(&stage, report)?,
            OciPart::Gzip => pulls_of(&stage, report, LayerCompression::Gzip)?,
            OciPart::Zstd => pulls_of(&stage, report, LayerCompression::Zstd)?,
            OciPart::Import => {
                let image = debian(&stage, LayerCompression::Gzip)?;
                for place in [StorePlace::Same, StorePlace::Other] {
                    FILE_SYSTEMS.iter().try_for_each(|kind| import::run(&stage, report, &image, kind, place))?;
                }
            }
            OciPart::Partial => partial::run(&stage, report)?,
            OciPart::Run => start::run(&stage, report)?,
        }
    }
    Ok(())
}

fn pulls_of(stage: &Stage<'_>, report: &mut Report, compression: LayerCompression) -> Result<()> {
    let image = debian(stage, compression)?;
    FILE_SYSTEMS.iter().try_for_each(|kind| pulls::run(stage, report, &image, kind))
}

/// An image in the registry.
struct ServedImage {
    /// Its name in the registry.
    name: String,
    compression: LayerCompression,
    layout: PathBuf,
    layers: Vec<MadeLayer>,
}

/// Makes an image of three layers of real files: the small tree, then parts of `/usr/lib` and of `/usr/share`.
fn debian(stage: &Stage<'_>, compression: LayerCompression) -> Result<ServedImage> {
    let name = format!("debian-{}", compression.name());
    let writer = LayoutWriter::new(stage.directory.join(&name))?;
    let small = stage.setting.trees.first().context("no tree is given")?;
    let max = stage.setting.layer_bytes;
    let mut layers = Vec::new();
    for (root, start) in
        [(small.as_path(), ""), (Path::new("/"), "usr/lib/x86_64-linux-gnu"), (Path::new("/"), "usr/share")]
    {
        let paths = layout::paths(root, start, max)?;
        layers.push(writer.layer(compression, |out| layout::archive(root, &paths, out))?);
    }
    writer.finish(&layers)?;
    push(&writer.directory, &stage.registry.address, &name)?;
    Ok(ServedImage { name, compression, layout: writer.directory, layers })
}

/// Copies the image of a layout into the registry, as it is.
fn push(layout: &Path, registry: &str, name: &str) -> Result<()> {
    let (from, to) = (format!("oci:{}:image", layout.display()), format!("docker://{registry}/{name}:latest"));
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false", &from, &to]);
    program(&mut skopeo, Watch::Clock).map(drop)
}

/// Prints a row of a table of costs.
fn row(name: &str, Cost { wall, cpu, memory }: Cost) {
    let memory = if memory > 0.0 { format!("{memory:.0} MB") } else { "-".to_owned() };
    println!("| {name} | {wall:.2} | {cpu:.2} | {memory} |");
}

/// Prints a row of a table of times in milliseconds.
fn row_of_seconds(name: &str, seconds: &[f64]) {
    let ms = || seconds.iter().map(|seconds| seconds * 1e3);
    let (min, max) = (ms().fold(f64::MAX, f64::min), ms().fold(0.0, f64::max));
    println!("| {name} | {:.1} | {min:.1} | {max:.1} |", measure::median(ms()));
}

/// Prints the head of a table of costs.
fn table() {
    println!("| what | median s | CPU s | memory of the largest process |\n|---|---|---|---|");
}
