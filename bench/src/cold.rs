//! The space of ten versions of a tree: all as they are, nine of them cold, and all of them cold.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::Setting;
use crate::apt_versions::versions_of;
use crate::cost::Cost;
use crate::report::Report;

/// Packages of which the archive has many versions. `APT_CONFIG` can name a configuration of apt with more suites than
/// the machine's own; the figures in `RESULTS.md` are of all suites from bullseye to experimental.
const PACKAGES: &[&str] = &[
    "git",
    "vim-runtime",
    "vim",
    "coreutils",
    "perl-base",
    "openssl",
    "curl",
    "systemd",
    "bash",
    "nginx",
    "locales",
    "gpg",
    "util-linux",
    "libc6",
];
const VERSIONS: usize = 10;
/// The part of the space that is wanted at most.
const WANTED: f64 = 0.25;

pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    report.heading("Space of ten versions of a tree");
    let place = setting.scratch.join("cold");
    fs::create_dir(&place)?;
    let history = History { place: &place, program: setting.composefs.canonicalize()? };
    let versions = history.unpack()?;
    history.ours(&["init", "--insecure"])?;
    for number in 0..VERSIONS {
        history.ours(&["create", &format!("v{number}"), &format!("--name=v{number}")])?;
    }
    println!("{versions} versions of {} packages in {VERSIONS} trees.\n", PACKAGES.len());
    println!("| what | space | CPU s |");
    println!("|---|---|---|");
    let row = |what: &str, bytes: u64, cpu: f64| println!("| {what} | {:.1} MB | {cpu:.1} |", bytes as f64 / 1e6);
    let whole = used(&place.join("repo"))?;
    row("whole objects", whole, 0.0);
    let names: Vec<String> = (0..VERSIONS).map(|number| format!("v{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut ratios = Vec::new();
    for effort in ["default", "best"] {
        let effort_option = format!("--effort={effort}");
        let mut packing = 0.0;
        for (what, names) in [("nine cold", &names[..VERSIONS - 1]), ("ten cold", &names[VERSIONS - 1..])] {
            packing += history.ours(&[&["repack", "--cold", &effort_option], names].concat())?;
            history.ours(&["gc", "--grace=0"])?;
            let packed = used(&place.join("repo"))?;
            let what = format!("{what}, --effort={effort}");
            row(&what, packed, packing);
            ratios.push((what, packed as f64 / whole as f64));
        }
        let unpacking = history.ours(&["repack", "--warm", names[0]])?;
        row("the oldest unpacked", used(&place.join("repo"))?, unpacking);
        let unpacking = history.ours(&[&["repack", "--warm"], &names[1..]].concat())?;
        row("all unpacked", used(&place.join("repo"))?, unpacking);
    }
    println!();
    for (what, ratio) in ratios {
        report.figure(format!("space of that of whole objects, {what}"), ratio);
        if what.starts_with("ten") {
            report.goal(format!("{WANTED} over it, {what}"), WANTED / ratio, 1.0);
        }
    }
    fs::remove_dir_all(&place)?;
    Ok(())
}

struct History<'a> {
    place: &'a Path,
    program: PathBuf,
}

impl History<'_> {
    /// Runs our program and returns its CPU seconds.
    fn ours(&self, arguments: &[&str]) -> Result<f64> {
        let mut command = Command::new(&self.program);
        command.current_dir(self.place).arg("--repo=repo").args(arguments);
        Ok(Cost::of(&command)?.cpu)
    }

    /// Unpacks the trees `v0` to `v9`, in which each package steps through its versions. Returns their number.
    fn unpack(&self) -> Result<usize> {
        let mut count = 0;
        for (package, versions) in versions_of(PACKAGES)? {
            for number in 0..VERSIONS {
                let version = &versions[number * versions.len() / VERSIONS];
                let deb = self.download(&package, version)?;
                let unpacked =
                    Command::new("dpkg-deb").arg("-x").arg(deb).arg(self.place.join(format!("v{number}"))).status()?;
                ensure!(unpacked.success(), "dpkg-deb -x of {package} {version}: {unpacked}");
            }
            count += versions.len();
        }
        Ok(count)
    }

    fn download(&self, package: &str, version: &str) -> Result<PathBuf> {
        let folder = self.place.join(format!("debs/{package}_{}", version.replace(':', "%3a")));
        if !folder.exists() {
            fs::create_dir_all(&folder)?;
            let wanted = format!("{package}={version}");
            let output = Command::new("apt-get").args(["-q", "download", &wanted]).current_dir(&folder).output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(fs::read_dir(&folder)?.next().context("apt-get downloaded nothing")??.path())
    }
}

/// The space on disk of everything in a directory.
fn used(path: &Path) -> Result<u64> {
    let found = fs::symlink_metadata(path)?;
    let mut sum = found.blocks() * 512;
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            sum += used(&entry?.path())?;
        }
    }
    Ok(sum)
}
