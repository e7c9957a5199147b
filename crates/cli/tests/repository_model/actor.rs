//! Runs the steps of an actor, and records the guarantees of finished commands.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use libcomposefs_testkit::privilege;

use crate::fixture::Place;
use crate::run::{Ended, run};
use crate::schedule::{Action, Fate, Grace, Round, Step};

/// Possible targets of a name: an image, or nothing. There are several after a command was killed.
pub(crate) type MayBe = BTreeSet<Option<String>>;

/// Guarantees given to an actor.
#[derive(Debug, Default)]
pub(crate) struct Party {
    pub(crate) number: usize,
    /// Names below `images/refs`, created by our commands and by cfsctl.
    pub(crate) names: BTreeMap<String, MayBe>,
    /// Image files of a finished `mkcomposefs --digest-store`.
    pub(crate) files: Vec<PathBuf>,
    /// Mount point of the actor, and the tree that it shows.
    pub(crate) mount: Option<(PathBuf, usize)>,
    /// OCI images that were pulled.
    pub(crate) pulls: BTreeSet<usize>,
    /// Violations detected at once, by a command that failed.
    pub(crate) broken: Vec<String>,
    /// Log of the steps, for people.
    pub(crate) history: Vec<String>,
    pub(crate) done: u64,
    pub(crate) killed: u64,
}

impl Party {
    pub(crate) fn new(number: usize) -> Self {
        Self { number, ..Self::default() }
    }

    /// Runs the steps of a round.
    pub(crate) fn work(&mut self, place: &Place, round: &Round) {
        let start = Instant::now();
        for step in &round.parties[self.number] {
            std::thread::sleep(step.pause);
            let begun = start.elapsed();
            let Some(ended) = self.act(place, round, step) else { continue };
            match &ended {
                Ended::Killed => self.killed += 1,
                Ended::Broken(what) => self.broken.push(format!("party {}: {step}: {what}", self.number)),
                Ended::Done(_) | Ended::Failed(..) => self.done += 1,
            }
            let (begun, now) = (begun.as_millis(), start.elapsed().as_millis());
            let ended = format!("{ended:?}").chars().take(300).collect::<String>();
            self.history.push(format!("{}.{} {begun}-{now} ms: {step}: {ended}", round.number, self.number));
        }
    }

    /// Runs one step; returns `None` if it was skipped or has nothing to report.
    fn act(&mut self, place: &Place, round: &Round, step: &Step) -> Option<Ended> {
        if place.programs.leave_out(&step.action) {
            return None;
        }
        match &step.action {
            Action::ForeignCreate { .. } | Action::ForeignPull { .. } | Action::ForeignGc => {
                Some(self.foreign(place, step))
            }
            Action::ForeignUntag { name } => {
                // cfsctl has no such command.
                let _ = fs::remove_file(place.path("repo").join("images/refs").join(name));
                self.names.insert(name.clone(), BTreeSet::from([None]));
                Some(Ended::Done(String::new()))
            }
            Action::Plain { tree } => Some(self.plain(place, round, step, *tree)),
            Action::Mount { name } if privilege::is_root() => Some(self.mount(place, step, name)),
            Action::Mount { .. } => None,
            Action::Umount => {
                self.umount(place);
                None
            }
            Action::Rot => {
                place.rot();
                Some(Ended::Done(String::new()))
            }
            Action::Pull { layout } => {
                let ended = self.command(place, step, &arguments(place, self.number, &step.action));
                match &ended {
                    Ended::Done(_) => drop(self.pulls.insert(*layout)),
                    // cfsctl ignores leases. Our command detects that and publishes nothing.
                    Ended::Failed(status, said) if !round.foreign_gc => self.fail(step, *status, said),
                    _ => {}
                }
                Some(ended)
            }
            action => {
                let ended = self.command(place, step, &arguments(place, self.number, action));
                self.keep(place, round, step, &ended);
                Some(ended)
            }
        }
    }

    fn command(&self, place: &Place, step: &Step, arguments: &[String]) -> Ended {
        let mut command = place.program(step, "composefs");
        command.arg("--repo").arg(place.path("repo")).args(arguments);
        run(command, step.fate)
    }

    /// Records the guarantees of one of our commands, and reports a violation if it had to succeed.
    fn keep(&mut self, place: &Place, round: &Round, step: &Step, ended: &Ended) {
        let digest = |tree: &usize| Some(place.digests[*tree].clone());
        let (name, new) = match &step.action {
            Action::Create { tree, name } | Action::Import { tree, name } => {
                (name.clone(), BTreeSet::from([digest(tree)]))
            }
            Action::Sync { tree } => (format!("p{}/sync{tree}", self.number), BTreeSet::from([digest(tree)])),
            Action::Tag { from, to } => {
                // If it succeeds, the name has an image.
                let mut of_other = self.may_be(from).clone();
                of_other.remove(&None);
                (to.clone(), of_other)
            }
            Action::Untag { name } => (name.clone(), BTreeSet::from([None])),
            action => {
                self.looked(place, action, ended);
                return;
            }
        };
        let may_fail = match &step.action {
            Action::Tag { from, .. } => self.may_be(from).contains(&None),
            Action::Untag { name } => self.may_be(name).contains(&None),
            // cfsctl ignores leases. Our command detects that and publishes nothing.
            _ => round.foreign_gc,
        };
        match ended {
            Ended::Done(_) => drop(self.names.insert(name, new)),
            Ended::Killed => self.may_be(&name).extend(new),
            Ended::Failed(..) if may_fail => {}
            Ended::Failed(status, said) => self.fail(step, *status, said),
            Ended::Broken(_) => self.may_be(&name).extend(new),
        }
    }

    /// A command that does not affect other actors.
    fn looked(&mut self, place: &Place, action: &Action, ended: &Ended) {
        let Ended::Failed(status, said) = ended else { return };
        let is_expected = match action {
            Action::Export { name } => self.may_be(name).contains(&None),
            // Foreign names are reported and may stop a gc. Removing objects is not guaranteed.
            Action::Gc { .. } => *status == 1,
            // The same names count as damage for fsck, but are irrelevant here.
            Action::Fsck => *status == 1 && is_sound(said),
            Action::Repair => *status == 1 && (is_sound(said) || said.contains(&place.path_of_rotten())),
            _ => false,
        };
        if !is_expected {
            self.broken.push(format!("party {}: {action:?}: status {status}: {said}", self.number));
        }
    }

    fn fail(&mut self, step: &Step, status: i32, said: &str) {
        self.broken.push(format!("party {}: {step}: status {status}: {said}", self.number));
    }

    fn may_be(&mut self, name: &str) -> &mut MayBe {
        self.names.entry(name.to_owned()).or_insert_with(|| BTreeSet::from([None]))
    }

    /// Runs cfsctl. It may reject anything; what it has published must stay.
    fn foreign(&mut self, place: &Place, step: &Step) -> Ended {
        let mut command = place.program(step, "cfsctl");
        command.arg("--repo").arg(place.path("repo"));
        match &step.action {
            Action::ForeignCreate { tree, name } => {
                command.args(["create-image", "--no-propagate-usr-to-root"]).arg(place.tree(*tree)).arg(name);
            }
            Action::ForeignPull { layout } => {
                command.args(["oci", "pull"]).arg(place.layout(*layout)).arg(format!("pulled{layout}"));
            }
            _ => drop(command.arg("gc")),
        }
        let ended = run(command, step.fate);
        match (&step.action, &ended) {
            (Action::ForeignCreate { tree, name }, Ended::Done(_)) => {
                self.names.insert(name.clone(), BTreeSet::from([Some(place.digests[*tree].clone())]));
            }
            (Action::ForeignCreate { tree, name }, _) => {
                let new = Some(place.digests[*tree].clone());
                self.may_be(name).insert(new);
            }
            (Action::ForeignPull { layout }, Ended::Done(_)) => drop(self.pulls.insert(*layout)),
            _ => {}
        }
        ended
    }

    /// Creates an image file outside the repository, whose objects are in it.
    fn plain(&mut self, place: &Place, round: &Round, step: &Step, tree: usize) -> Ended {
        let image = place.path(&format!("plain{}-{}.img", round.number, self.history.len()));
        let mut command = place.program(&Step { open_files: None, ..step.clone() }, "mkcomposefs");
        command.arg0("mkcomposefs");
        let mut store = std::ffi::OsString::from("--digest-store=");
        store.push(place.path("repo/objects"));
        command.arg(store).arg(place.tree(tree)).arg(&image);
        let ended = run(command, step.fate);
        match &ended {
            // Without a lease its objects are kept for the grace, and only by a gc that honours one.
            Ended::Done(_) if round.grace == Grace::Hour => self.files.push(image),
            Ended::Failed(status, said) if round.grace == Grace::Hour => self.fail(step, *status, said),
            _ => {}
        }
        ended
    }

    fn mount(&mut self, place: &Place, step: &Step, name: &str) -> Ended {
        self.umount(place);
        let target = place.path(&format!("mnt{}", self.number));
        fs::create_dir_all(&target).unwrap();
        let may_be = self.may_be(name).clone();
        let arguments = ["mount", name, target.to_str().unwrap()].map(str::to_owned);
        let ended = self.command(place, step, &arguments);
        match &ended {
            Ended::Done(_) => {
                let shows = read_tree(&target).ok();
                let tree = (0..place.digests.len()).find(|tree| {
                    may_be.contains(&Some(place.digests[*tree].clone())) && shows == read_tree(&place.tree(*tree)).ok()
                });
                match tree {
                    Some(tree) => self.mount = Some((target, tree)),
                    None => {
                        self.broken
                            .push(format!("party {}: {step}: the mount shows no tree of {may_be:?}", self.number));
                        self.mount = Some((target, 0));
                    }
                }
            }
            Ended::Failed(status, said) if !may_be.contains(&None) => self.fail(step, *status, said),
            _ => {}
        }
        ended
    }

    /// Unmounts the actor's mount.
    pub(crate) fn umount(&mut self, place: &Place) {
        let Some((target, _)) = self.mount.take() else { return };
        // A program that another thread is starting may briefly inherit our open descriptors.
        let until = Instant::now() + Duration::from_secs(90);
        loop {
            let mut command = Command::new(&place.programs.ours);
            command.arg("umount").arg(&target);
            match run(command, Fate::Runs) {
                Ended::Done(_) => return,
                Ended::Failed(_, said) if said.contains("busy") && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                ended => return self.broken.push(format!("party {}: umount: {ended:?}", self.number)),
            }
        }
    }
}

/// Returns the contents of the files of a tree.
pub(crate) fn read_tree(path: &std::path::Path) -> std::io::Result<BTreeMap<std::ffi::OsString, Vec<u8>>> {
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry?;
        Ok((entry.file_name(), fs::read(entry.path())?))
    };
    fs::read_dir(path)?.map(read).collect()
}

/// Returns true if fsck reports nothing but foreign names.
pub(crate) fn is_sound(json: &str) -> bool {
    let Ok(report) = serde_json::from_str::<serde_json::Value>(json) else { return false };
    let damages = report["damages"].as_array();
    damages.is_some_and(|damages| damages.iter().all(|damage| damage["kind"] == "ref"))
}

fn arguments(place: &Place, party: usize, action: &Action) -> Vec<String> {
    let path = |path: PathBuf| path.to_str().unwrap().to_owned();
    match action {
        Action::Create { tree, name } => vec!["create".into(), path(place.tree(*tree)), "--name".into(), name.clone()],
        Action::Import { tree, name } => {
            vec!["import".into(), path(place.path(&format!("bundle{tree}"))), "--name".into(), name.clone()]
        }
        Action::Pull { layout } => {
            let layout_text = place.layout(*layout).into_string().unwrap();
            vec!["oci".into(), "pull".into(), layout_text, format!("--name=pulled{layout}")]
        }
        Action::Sync { tree } => vec!["sync".into(), path(place.path("other")), format!("p{party}/sync{tree}")],
        Action::Export { name } => {
            vec!["export".into(), name.clone(), "--output".into(), path(place.path(&format!("export{party}")))]
        }
        Action::Tag { from, to } => vec!["tag".into(), from.clone(), to.clone()],
        Action::Untag { name } => vec!["untag".into(), name.clone()],
        Action::Gc { has_grace: true } => vec!["gc".into()],
        Action::Gc { has_grace: false } => vec!["gc".into(), "--grace=0".into()],
        Action::Fsck => vec!["fsck".into(), "--json".into(), "--threads=1".into()],
        Action::Repair => vec!["fsck".into(), "--repair".into(), "--json".into(), "--threads=1".into()],
        Action::Df => vec!["df".into()],
        _ => unreachable!("{action:?} is not of ours"),
    }
}
