//! Bytes of updates: `composefs export --have` beside static deltas of ostree, chunks of casync, and zstd.

mod trees;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::Setting;
use crate::cost::Cost;
use crate::report::Report;
use trees::Trees;

/// The updates.
const UPDATES: &[(&str, Trees)] = &[
    (
        "base system",
        Trees::Packages(&[
            "bash",
            "coreutils",
            "libc6",
            "libc-bin",
            "libsystemd0",
            "systemd",
            "udev",
            "perl-base",
            "apt",
            "openssl",
            "libssl3",
            "libgnutls30",
            "tzdata",
            "util-linux",
            "login",
            "passwd",
        ]),
    ),
    (
        "Python",
        Trees::Packages(&[
            "python3.11-minimal",
            "libpython3.11-minimal",
            "libpython3.11-stdlib",
            "python3.11",
            "libpython3.11",
        ]),
    ),
    ("node", Trees::Packages(&["nodejs", "libnode108"])),
    ("JDK", Trees::Packages(&["openjdk-17-jre-headless"])),
    ("git and curl", Trees::Packages(&["git", "curl", "libcurl4", "libcurl3-gnutls", "vim-common", "vim-tiny"])),
    ("kernel", Trees::Names("^linux-image-[0-9.]+-[0-9]+-cloud-amd64$")),
    ("node_modules", Trees::Npm(&["eslint", "webpack"], ["2025-06-01", "2025-09-01"])),
    ("minbase of 12 and 13", Trees::Releases(["bookworm", "trixie"])),
];
/// The ratio to ostree with bsdiff that is wanted, as a geometric mean.
const WANTED: f64 = 0.75;

/// Returns the names of the updates.
pub(crate) fn names() -> Vec<&'static str> {
    UPDATES.iter().map(|(name, _)| *name).collect()
}

pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    report.heading("Bytes of an update, and CPU seconds of the sender");
    println!(
        "| update | new objects | whole, zstd | casync | ostree | with bsdiff | composefs | --effort=best | import |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut ratios = Vec::new();
    let is_wanted = |name: &str| setting.updates.is_empty() || setting.updates.iter().any(|wanted| wanted == name);
    for (name, trees) in UPDATES.iter().filter(|(name, _)| is_wanted(name)) {
        let place = setting.scratch.join("update");
        let update = Update { setting, place: &place };
        fs::create_dir(&place)?;
        trees.make(&place)?;
        let (objects, whole) = update.whole_objects()?;
        let chunks = update.casync()?;
        let plain = update.ostree(&["--disable-bsdiff"])?;
        let bsdiff = update.ostree(&[])?;
        let fast = update.composefs("default")?;
        let best = update.composefs("best")?;
        let figure = |(bytes, cpu): (u64, f64)| format!("{:.2} MB, {cpu:.1} s", bytes as f64 / 1e6);
        let row = [(whole, 0.0), (chunks, 0.0)].map(|(bytes, _)| format!("{:.2} MB", bytes as f64 / 1e6)).join(" | ");
        let others = [plain, bsdiff, fast, best].map(figure).join(" | ");
        let import = update.import()?;
        let import = format!("{:.2} s, {:.0} MB", import.cpu, import.memory);
        println!("| {name} | {:.1} MB | {row} | {others} | {import} |", objects as f64 / 1e6);
        ratios.push((*name, bsdiff.0 as f64 / best.0 as f64));
        fs::remove_dir_all(&place)?;
    }
    println!();
    let mean = ratios.iter().map(|(_, ratio)| ratio.ln()).sum::<f64>() / ratios.len() as f64;
    report.goal("bytes of ostree with bsdiff over ours, geometric mean", mean.exp(), 1.0 / WANTED);
    for (name, ratio) in ratios {
        report.goal(format!("{name}: bytes of ostree with bsdiff over ours"), ratio, 1.0);
    }
    Ok(())
}

struct Update<'a> {
    setting: &'a Setting,
    place: &'a Path,
}

impl Update<'_> {
    fn command(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.place);
        command
    }

    /// Runs a program and returns its first line.
    fn line(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self
            .command(program, arguments)
            .output()
            .with_context(|| format!("cannot run {program}: install its package"))?;
        ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.lines().next().unwrap_or_default().to_owned())
    }

    fn ours(&self, arguments: &[&str]) -> Result<(Cost, String)> {
        let program = self.setting.composefs.canonicalize()?;
        let (cost, output) = Cost::with_output(&self.command(program, &[&["--repo=repository"], arguments].concat()))?;
        Ok((cost, String::from_utf8(output)?))
    }

    fn size(&self, path: &str) -> Result<u64> {
        let mut waiting = vec![self.place.join(path)];
        let mut sum = 0;
        while let Some(path) = waiting.pop() {
            let found = fs::symlink_metadata(&path)?;
            sum += if found.is_file() { found.len() } else { 0 };
            if found.is_dir() {
                let below = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
                waiting.extend(below);
            }
        }
        Ok(sum)
    }

    /// Makes both images. Returns the bytes of the new objects, and what they are in a bundle without bases.
    fn whole_objects(&self) -> Result<(u64, u64)> {
        self.ours(&["init", "--insecure"])?;
        self.ours(&["create", "old", "--name=old"])?;
        let list = self.ours(&["images", "--objects"])?.1;
        fs::write(self.place.join("list"), list)?;
        self.ours(&["create", "new", "--name=new"])?;
        let export = ["export", "new", "--have-list=list", "--output=bundle"];
        self.ours(&[&export[..], &["--bundle-version=1"]].concat())?;
        let whole = self.size("bundle")?;
        self.ours(&export)?;
        Ok((whole, self.size("bundle")?))
    }

    fn composefs(&self, effort: &str) -> Result<(u64, f64)> {
        let effort = format!("--effort={effort}");
        let cost = self.ours(&["export", "new", "--have=old", "--output=bundle", &effort])?.0;
        Ok((self.size("bundle")?, cost.cpu))
    }

    /// Imports the last bundle into a repository that has the old image.
    fn import(&self) -> Result<Cost> {
        let program = self.setting.composefs.canonicalize()?;
        let ours = |arguments: &[&str]| Cost::of(&self.command(&program, &[&["--repo=receiver"], arguments].concat()));
        ours(&["init", "--insecure"])?;
        ours(&["create", "old", "--name=old"])?;
        ours(&["import", "bundle"])
    }

    /// Returns the bytes of the chunks that only the new tree has, and of its index.
    fn casync(&self) -> Result<u64> {
        let make = |side: &str| {
            let index = format!("{side}.caidx");
            self.line("casync", &["make", "--store=chunks.castr", "--without=privileged", &index, side])
        };
        make("old")?;
        let before = self.size("chunks.castr")?;
        make("new")?;
        Ok(self.size("chunks.castr")? - before + self.size("new.caidx")?)
    }

    fn ostree(&self, options: &[&str]) -> Result<(u64, f64)> {
        if !self.place.join("ostree").exists() {
            self.line("ostree", &["init", "--repo=ostree", "--mode=bare-user"])?;
        }
        let commit = |side: &str| {
            let tree = format!("--tree=dir={side}");
            self.line("ostree", &["commit", "--repo=ostree", "--branch=tree", "--timestamp=2026-01-01", &tree])
        };
        let ends = [format!("--from={}", commit("old")?), format!("--to={}", commit("new")?)];
        let fixed =
            ["--repo=ostree", "static-delta", "generate", "--inline", "--min-fallback-size=0", "--filename=delta"];
        let ends = ends.each_ref().map(String::as_str);
        let cost = Cost::of(&self.command("ostree", &[&fixed[..], &ends, options].concat()))?;
        Ok((self.size("delta")?, cost.cpu))
    }
}
