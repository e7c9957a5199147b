//! Fixture: a repository, trees, bundles and OCI layouts to fill it from, and the programs.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use libcomposefs_image::{Algorithm, verity};
use serde_json::json;

use crate::run::{Ended, run};
use crate::schedule::{Action, Fate, LAYOUTS, RARE, ROTTEN, Step, TREES, WRITERS};

/// Number of files of a tree, and the tree with many of them.
const FILES: [usize; 2] = [90, 500];

/// Programs that take part.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// The program under test.
    pub(crate) ours: PathBuf,
    /// Another build of the program, which works in the same repository.
    pub(crate) second: PathBuf,
    pub(crate) cfsctl: Option<PathBuf>,
    /// Path of libfaketime, which changes the clock of a command.
    pub(crate) clock: Option<PathBuf>,
    /// Parts left out of the schedule, from `COMPOSEFS_MODEL_WITHOUT`, words separated by commas.
    pub(crate) without: String,
}

impl Programs {
    /// The program under test is `COMPOSEFS_MODEL_PROGRAM`, the second build `COMPOSEFS_MODEL_SECOND`.
    pub(crate) fn find() -> Self {
        let named = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let ours = named("COMPOSEFS_MODEL_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_composefs").into());
        let second = named("COMPOSEFS_MODEL_SECOND").unwrap_or_else(|| ours.clone());
        let cfsctl = named("COMPOSEFS_PEERS").map(|peers| peers.join("cfsctl")).filter(|path| path.exists());
        let libraries = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
        let mut clocks =
            libraries.iter().map(|name| PathBuf::from(format!("/usr/lib/{name}/faketime/libfaketime.so.1")));
        Self {
            ours,
            second,
            cfsctl,
            clock: clocks.find(|path| path.exists()),
            without: std::env::var("COMPOSEFS_MODEL_WITHOUT").unwrap_or_default(),
        }
    }
}

impl Programs {
    /// Returns true if an action is left out, because its program is missing or because `COMPOSEFS_MODEL_WITHOUT` names
    /// a fault of an older build: `pulls`, `names` that only cfsctl accepts, `plain` images, `repair`.
    pub(crate) fn leave_out(&self, action: &Action) -> bool {
        let word = match action {
            Action::ForeignPull { .. } => "pulls",
            Action::ForeignCreate { name, .. } if !name.starts_with("c/plain") && !name.starts_with("c/other") => {
                "names"
            }
            Action::Plain { .. } => "plain",
            Action::Repair => "repair",
            _ => "",
        };
        let is_foreign = matches!(
            action,
            Action::ForeignCreate { .. } | Action::ForeignPull { .. } | Action::ForeignUntag { .. } | Action::ForeignGc
        );
        is_foreign && self.cfsctl.is_none() || !word.is_empty() && self.without.split(',').any(|one| one == word)
    }
}

pub(crate) struct Place {
    dir: tempfile::TempDir,
    pub(crate) programs: Programs,
    /// Digest of the image of each tree.
    pub(crate) digests: Vec<String>,
    /// Digest of the image of each OCI layout.
    pub(crate) pulled: Vec<String>,
}

impl Place {
    pub(crate) fn new(programs: Programs) -> Self {
        let mut place = Self { dir: tempfile::tempdir().unwrap(), programs, digests: Vec::new(), pulled: Vec::new() };
        for repository in ["repo", "scratch", "other"] {
            // cfsctl pulls OCI images only into repositories of this format.
            let _ = place.ok(place.ours(repository, &["init", "--insecure", "--format=1"]));
        }
        for tree in 0..TREES {
            let path = place.path(&format!("trees/{tree}"));
            make_tree(&path, tree);
            let path = path.to_str().unwrap();
            let digest = place.ok(place.ours("scratch", &["create", path]));
            let bundle = place.path(&format!("bundle{tree}")).to_str().unwrap().to_owned();
            let _ = place.ok(place.ours("scratch", &["export", &digest, "--output", &bundle]));
            for party in 0..WRITERS {
                let name = format!("p{party}/sync{tree}");
                let _ = place.ok(place.ours("other", &["create", path, "--name", &name]));
            }
            place.digests.push(digest);
        }
        for layout in 0..LAYOUTS {
            make_layout(&place.path(&format!("oci{layout}")), &place.path("trees"), layout);
            let source = place.layout(layout).into_string().unwrap();
            let name = format!("--name=pulled{layout}");
            let new_link = |place: &Self, pull: Command, repository: &str| {
                let before = place.image_links(repository);
                let _ = place.ok(pull);
                let mut new = place.image_links(repository);
                new.retain(|digest| !before.contains(digest));
                assert_eq!(new.len(), 1, "a pull makes one image");
                new.remove(0)
            };
            let digest = new_link(&place, place.ours("other", &["oci", "pull", &source, &name]), "other");
            if let Some(cfsctl) = &place.programs.cfsctl {
                let mut pull = Command::new(cfsctl);
                pull.arg("--repo").arg(place.path("scratch")).args(["oci", "pull"]).arg(&source);
                assert_eq!(new_link(&place, pull, "scratch"), digest);
            }
            place.pulled.push(digest);
        }
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn tree(&self, tree: usize) -> PathBuf {
        self.path(&format!("trees/{tree}"))
    }

    /// Returns the name of an OCI layout for cfsctl, with its tag.
    pub(crate) fn layout(&self, layout: usize) -> OsString {
        format!("oci:{}:t", self.path(&format!("oci{layout}")).display()).into()
    }

    /// Returns one of our commands for a repository.
    pub(crate) fn ours(&self, repository: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.programs.ours);
        command.arg("--repo").arg(self.path(repository)).args(arguments);
        command
    }

    /// Returns the program for a step, with its clock and limit of open files, from the build that the step selects.
    pub(crate) fn program(&self, step: &Step, name: &str) -> Command {
        let build = if step.by_second { &self.programs.second } else { &self.programs.ours };
        let build = if name == "cfsctl" { self.programs.cfsctl.as_ref().unwrap_or(build) } else { build };
        let mut command = match step.open_files {
            None => {
                let mut command = Command::new(build);
                command.arg0(name);
                command
            }
            Some(limit) => {
                let mut command = Command::new("sh");
                command.arg("-c").arg(format!("ulimit -n {limit}; exec \"$0\" \"$@\"")).arg(build);
                command
            }
        };
        if let (Some(clock), true) = (&self.programs.clock, step.clock != 0) {
            command.env("LD_PRELOAD", clock).env("FAKETIME", format!("{:+}", step.clock));
            command.env("NO_FAKE_STAT", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        command
    }

    /// Runs a command that must succeed.
    pub(crate) fn ok(&self, command: Command) -> String {
        match run(command, Fate::Runs) {
            Ended::Done(said) => said.trim_end().to_owned(),
            ended => panic!("{ended:?}"),
        }
    }

    /// Path of the object that gets damaged, below the repository.
    pub(crate) fn path_of_rotten(&self) -> String {
        let content = fs::read(self.tree(ROTTEN).join("0")).unwrap();
        format!("objects/{}", verity::digest(Algorithm::Sha256, &content).object_path())
    }

    /// Replaces that object, if it exists, with different content of the same length.
    pub(crate) fn rot(&self) {
        let object = self.path("repo").join(self.path_of_rotten());
        if let Ok(stat) = object.metadata() {
            let rotten = self.path("rotten");
            fs::write(&rotten, vec![b'r'; stat.len() as usize]).unwrap();
            fs::rename(rotten, object).unwrap();
        }
    }

    /// Returns the names below `images`.
    pub(crate) fn image_links(&self, repository: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(repository).join("images")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "refs").collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for party in 0..WRITERS {
            // Something is left to unmount only after a failure.
            let target = self.path(&format!("mnt{party}"));
            if target.exists() {
                let mut command = self.ours("repo", &["umount", "--lazy"]);
                let _ = command.arg(target).stdout(Stdio::null()).stderr(Stdio::null()).status();
            }
        }
    }
}

/// Every other tree contains the file of the previous one, so that one actor needs an object that another is about to
/// lose.
fn make_tree(path: &Path, tree: usize) {
    fs::create_dir_all(path).unwrap();
    let (files, first) = match tree {
        RARE => (FILES[1], 1_000_000),
        ROTTEN => (FILES[0], 2_000_000),
        _ => (FILES[0], 0),
    };
    for file in 0..files {
        let content = (first + file * 31 + (tree + file) / 3) as u32;
        let len = 100 + (content as usize * 7919) % 9000;
        // The damaged object is the largest, because fsck starts with that.
        let len = if tree == ROTTEN && file == 0 { 20_000 } else { len };
        let bytes: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(content | 1) >> 3) as u8).collect();
        let file = path.join(file.to_string());
        fs::write(&file, bytes).unwrap();
        fs::File::open(file).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    // The same seed must produce the same images.
    fs::File::open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
}

/// Creates an OCI layout with one image of one layer, which contains the tree of this number.
fn make_layout(path: &Path, trees: &Path, number: usize) {
    let blobs = path.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |bytes: &[u8]| {
        let file = path.join("blob");
        fs::write(&file, bytes).unwrap();
        let output = Command::new("sha256sum").arg(&file).output().unwrap();
        let hex = String::from_utf8(output.stdout).unwrap()[..64].to_owned();
        fs::rename(&file, blobs.join(&hex)).unwrap();
        (format!("sha256:{hex}"), bytes.len())
    };
    // cfsctl only creates images of trees with /usr.
    let transform = format!("--transform=s/^{number}/usr/");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(trees).args(["--sort=name", "--mtime=@0", &transform, "-cf", "-", &number.to_string()]);
    let layer = tar.output();
    let (layer, layer_size) = blob(&layer.unwrap().stdout);
    let config = json!({ "architecture": "amd64", "os": "linux", "config": {}, "history": [],
        "rootfs": { "type": "layers", "diff_ids": [&layer] }, "author": number.to_string() });
    let (config, config_size) = blob(&serde_json::to_vec(&config).unwrap());
    let kind = |name: &str| format!("application/vnd.oci.image.{name}");
    let manifest = json!({ "schemaVersion": 2, "mediaType": kind("manifest.v1+json"),
        "config": { "mediaType": kind("config.v1+json"), "digest": config, "size": config_size },
        "layers": [{ "mediaType": kind("layer.v1.tar"), "digest": layer, "size": layer_size }] });
    let (manifest, manifest_size) = blob(&serde_json::to_vec(&manifest).unwrap());
    let index = json!({ "schemaVersion": 2, "manifests": [{ "mediaType": kind("manifest.v1+json"), "digest": manifest,
        "size": manifest_size, "annotations": { "org.opencontainers.image.ref.name": "t" } }] });
    fs::write(path.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}
