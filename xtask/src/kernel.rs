//! The kernels the tests boot: what the Debian archive offers today, unpacked in the cache.
//!
//! Cloud kernels, since they boot fastest. Which version stands behind a name is asked once a day; without a network
//! the kernel in the cache is used.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};

use crate::apt::{self, Suite};
use crate::paths;

const META_PACKAGE: &str = "linux-image-cloud-amd64";
/// A version that is no longer the current one is kept for a while: a run that started before may still boot it.
const KEEP_OLD: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// A kernel by the role it has in the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kernel {
    /// Debian 12's own: none of the newer mount features.
    #[value(name = "6.1")]
    Debian12,
    /// The first with everything a verified mount wants.
    #[value(name = "6.12")]
    Stable,
    /// The newest the archive has.
    #[value(name = "new")]
    New,
}

impl Kernel {
    pub(crate) const ALL: [Kernel; 3] = [Kernel::Debian12, Kernel::Stable, Kernel::New];
    /// The kernels under which the short form runs the suites: the oldest and the newest. The power cuts boot the other
    /// one.
    pub(crate) const OF_SHORT_FORM: &[Kernel] = &[Kernel::Debian12, Kernel::New];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kernel::Debian12 => "6.1",
            Kernel::Stable => "6.12",
            Kernel::New => "new",
        }
    }

    /// The suites that may have it, the preferred one first.
    fn suites(self) -> &'static [&'static str] {
        match self {
            Kernel::Debian12 => &["bookworm"],
            Kernel::Stable => &["bookworm-backports", "trixie"],
            Kernel::New => &["trixie-backports", "sid"],
        }
    }

    /// Prefix that the release must have; empty for the newest kernel.
    fn release_prefix(self) -> &'static str {
        match self {
            Kernel::Debian12 => "6.1.",
            Kernel::Stable => "6.12.",
            Kernel::New => "",
        }
    }

    /// The kernel, fetched if need be.
    pub(crate) fn fetch(self) -> Result<Fetched> {
        let dir = paths::cache(&format!("kernels/{}", self.name()))?;
        let _lock = paths::lock(&dir)?;
        let current = dir.join("current");
        let have = fs::read_to_string(&current).ok().and_then(|version| Fetched::open(self, &dir.join(version)).ok());
        match have {
            Some(fetched) if apt::is_fresh(&current) => Ok(fetched),
            Some(fetched) => match self.resolve(&dir) {
                Ok(newer) => Ok(newer),
                Err(error) => {
                    eprintln!("kernel {self}: staying at {}: {error:#}", fetched.release);
                    Ok(fetched)
                }
            },
            None => self.resolve(&dir),
        }
    }

    fn resolve(self, dir: &Path) -> Result<Fetched> {
        let mut reasons = Vec::new();
        for suite in self.suites() {
            match self.resolve_in(suite, dir) {
                Ok(fetched) => return Ok(fetched),
                Err(error) => reasons.push(format!("{suite}: {error:#}")),
            }
        }
        bail!("no kernel {self} in the archive: {}", reasons.join("; "))
    }

    fn resolve_in(self, suite: &str, dir: &Path) -> Result<Fetched> {
        let suite = Suite::open(suite)?;
        let meta = suite.show(META_PACKAGE)?.with_context(|| format!("it has no {META_PACKAGE}"))?;
        let home = dir.join(&meta.version);
        if !home.exists() {
            let packages = kernel_packages(&suite, &meta)?;
            eprintln!("kernel {self}: fetching {}", packages.join(", "));
            let work = tempfile::tempdir_in(dir)?;
            let root = work.path().join("root");
            for deb in suite.download(&packages, &work.path().join("deb"))? {
                apt::unpack(&deb, &root)?;
            }
            Fetched::open(self, &root)?;
            // Its time is the package's so far; what matters is how long it has been here.
            File::open(&root)?.set_modified(SystemTime::now())?;
            fs::rename(&root, &home)?;
        }
        let fetched = Fetched::open(self, &home)?;
        fs::write(dir.join("current"), &meta.version)?;
        forget_old(dir, &meta.version)?;
        Ok(fetched)
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The packages that hold image and modules: one until 6.x, `linux-binary-*` and `linux-modules-*` beside it since 7.
fn kernel_packages(suite: &Suite, meta: &apt::Package) -> Result<Vec<String>> {
    let mut packages: Vec<String> = Vec::new();
    let mut open = meta.depends.clone();
    while let Some(name) = open.pop() {
        let kind = ["linux-image-", "linux-binary-", "linux-modules-"].iter().find_map(|kind| name.strip_prefix(kind));
        let versioned = kind.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()));
        if versioned && !packages.contains(&name) {
            let package = suite.show(&name)?.with_context(|| format!("{name} is listed but not there"))?;
            open.extend(package.depends);
            packages.push(name);
        }
    }
    Ok(packages)
}

fn forget_old(dir: &Path, current: &str) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        let old = meta.modified()?.elapsed().is_ok_and(|age| age > KEEP_OLD);
        if meta.is_dir() && old && entry.file_name() != current {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// A kernel in the cache.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) kernel: Kernel,
    /// As `uname -r` says it.
    pub(crate) release: String,
    pub(crate) image: PathBuf,
    pub(crate) modules: PathBuf,
}

impl Fetched {
    fn open(kernel: Kernel, root: &Path) -> Result<Self> {
        let modules = ["usr/lib/modules", "lib/modules"].iter().find_map(|dir| only_entry(&root.join(dir)));
        let modules = modules.with_context(|| format!("{} holds no modules", root.display()))?;
        let release = modules.file_name().and_then(|name| name.to_str()).context("an odd release name")?.to_owned();
        let images = [root.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")];
        let image = images.into_iter().find(|file| file.exists()).context("it holds no kernel image")?;
        if !release.starts_with(kernel.release_prefix()) {
            bail!("the archive offers {release}, which is no {kernel}");
        }
        Ok(Self { kernel, release, image, modules })
    }
}

fn only_entry(dir: &Path) -> Option<PathBuf> {
    fs::read_dir(dir).ok()?.next()?.ok().map(|entry| entry.path())
}

/// The task `cargo xtask kernels`.
pub(crate) fn run() -> Result<()> {
    for kernel in Kernel::ALL {
        println!("{:6}{}", kernel.name(), kernel.fetch()?.release);
    }
    Ok(())
}
