//! The programs that pull images: each with its store in a directory that is new for each pull.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::mount::UnmountFlags;

use crate::Setting;
use crate::cost::Cost;
use crate::measure::{Watch, program};

/// A program that pulls images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PullEngine {
    Ours,
    Cfsctl,
    Podman,
}

/// Where the settings of an engine and its stores are.
#[derive(Debug)]
pub(super) struct PullEngines {
    composefs: PathBuf,
    cfsctl: Option<PathBuf>,
    /// A home folder whose `registries.conf` allows plain HTTP on the loopback address: older versions of skopeo, which
    /// cfsctl calls, know no variable for that file.
    home: PathBuf,
    /// `storage.conf` of podman.
    storage: PathBuf,
    /// The run root of podman, whose path has at most 50 bytes.
    run: tempfile::TempDir,
}

impl PullEngines {
    pub(super) fn new(setting: &Setting, addresses: &[&str]) -> Result<Self> {
        let home = setting.scratch.join("home").to_owned();
        fs::create_dir_all(home.join(".config/containers"))?;
        let home = home.canonicalize()?;
        let rows = addresses.iter().map(|address| format!("[[registry]]\nlocation = \"{address}\"\ninsecure = true\n"));
        fs::write(home.join(".config/containers/registries.conf"), rows.collect::<String>())?;
        let storage = home.join("storage.conf");
        Ok(Self {
            composefs: setting.composefs.clone(),
            cfsctl: setting.cfsctl(),
            home,
            storage,
            run: tempfile::tempdir()?,
        })
    }

    /// Returns the engines that this machine has.
    pub(super) fn all(&self) -> Vec<PullEngine> {
        let has_podman = Command::new("podman").arg("--version").output().is_ok_and(|found| found.status.success());
        let cfsctl = self.cfsctl.as_ref().map(|_| PullEngine::Cfsctl);
        [Some(PullEngine::Ours), cfsctl, has_podman.then_some(PullEngine::Podman)].into_iter().flatten().collect()
    }

    pub(super) fn name(engine: PullEngine) -> &'static str {
        match engine {
            PullEngine::Ours => "composefs oci pull",
            PullEngine::Cfsctl => "cfsctl 0.9.4 oci pull",
            PullEngine::Podman => "podman pull",
        }
    }

    /// Makes an empty store.
    pub(super) fn init(&self, engine: PullEngine, store: &Path) -> Result<()> {
        if engine == PullEngine::Podman {
            // It makes what it needs when it is first called.
            return program(self.podman(store)?.arg("images"), Watch::Clock).map(drop);
        }
        let mut init = if engine == PullEngine::Ours { Command::new(&self.composefs) } else { self.cfsctl() };
        init.arg("--repo").arg(store).args(["init", "--insecure"]);
        match engine {
            PullEngine::Ours => init.args(["--algorithm=sha512", "--format=1"]),
            _ => init.arg("--algorithm=fsverity-sha512-12"),
        };
        program(&mut init, Watch::Clock).map(drop)
    }

    fn cfsctl(&self) -> Command {
        let mut command = Command::new(self.cfsctl.as_deref().unwrap_or(Path::new("cfsctl")));
        command.env("HOME", &self.home).env_remove("XDG_CONFIG_HOME");
        command
    }

    /// Returns ours or cfsctl with a repository.
    pub(super) fn with_repository(&self, engine: PullEngine, store: &Path) -> Command {
        let mut command = if engine == PullEngine::Ours { Command::new(&self.composefs) } else { self.cfsctl() };
        if engine == PullEngine::Cfsctl {
            command.arg("--insecure");
        }
        command.arg("--repo").arg(store);
        command
    }

    /// Makes a store of podman the one in the home folder, where cfsctl looks.
    pub(super) fn show_to_cfsctl(&self, store: &Path) -> Result<()> {
        let link = self.home.join(".local/share/containers/storage");
        fs::create_dir_all(link.parent().context("a folder")?)?;
        let _ = fs::remove_file(&link);
        Ok(std::os::unix::fs::symlink(store, link)?)
    }

    /// Returns podman with a graph root and partial pulls.
    pub(super) fn podman(&self, store: &Path) -> Result<Command> {
        let (root, run) = (store.display(), self.run.path().display());
        let text = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = \"{root}\"\nrunroot = \"{run}\"\n\
             [storage.options]\npull_options = {{enable_partial_images = \"true\"}}\n"
        );
        fs::write(&self.storage, text)?;
        let mut command = Command::new("podman");
        command.arg("--root").arg(store).arg("--runroot").arg(self.run.path());
        command.args(["--storage-driver=overlay", "--cgroup-manager=cgroupfs", "--events-backend=none"]);
        command.env("CONTAINERS_STORAGE_CONF", &self.storage);
        Ok(command)
    }

    /// Pulls an image, `HOST:PORT/NAME`, into a store.
    pub(super) fn pull(&self, engine: PullEngine, store: &Path, image: &str, more: &[&str]) -> Result<Cost> {
        let source = format!("docker://{image}");
        let mut pull = match engine {
            PullEngine::Podman => self.podman(store)?,
            _ => self.with_repository(engine, store),
        };
        match engine {
            PullEngine::Ours => pull.args(["oci", "pull", &source, "--name=image", "--tls-verify=false"]),
            PullEngine::Cfsctl => pull.args(["oci", "pull", &source, "image"]),
            PullEngine::Podman => pull.args(["pull", "--quiet", "--tls-verify=false", &source]),
        };
        Cost::of(pull.args(more))
    }

    /// Returns the digest of the composefs image of the image in a store.
    pub(super) fn image_digest(&self, engine: PullEngine, store: &Path) -> Result<String> {
        let mut command = self.with_repository(engine, store);
        if engine == PullEngine::Ours {
            let text = output(command.args(["oci", "inspect", "image", "--json"]))?;
            let document: serde_json::Value = serde_json::from_slice(&text)?;
            return Ok(document["images"][0]["digest"].as_str().context("no image")?.to_owned());
        }
        let text = String::from_utf8(output(command.args(["oci", "compute-id", "image"]))?)?;
        Ok(text.lines().last().unwrap_or_default().trim().to_owned())
    }

    /// Removes a store, and what podman has mounted in it.
    pub(super) fn remove(store: &Path) -> Result<()> {
        let _ = rustix::mount::unmount(store.join("overlay"), UnmountFlags::DETACH);
        fs::remove_dir_all(store).with_context(|| format!("remove {}", store.display()))
    }
}

fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}
