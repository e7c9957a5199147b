//! Checks that all guarantees hold.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libcomposefs_image::erofs::read::{ImageReader, load};
use libcomposefs_image::tree::Data;
use libcomposefs_image::{Algorithm, Digest, verity};

use crate::actor::{Party, is_sound, read_tree};
use crate::fixture::Place;
use crate::run::{Ended, run};
use crate::schedule::Fate;

/// Checks a repository in which no process is running.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// Verified objects with inode number and change time; they are not read again unless these change.
    whole: HashMap<String, (u64, i64, i64)>,
    pub(crate) broken: Vec<String>,
}

impl Judge {
    /// Checks all guarantees. A name with several possible states is then known to have the one found.
    pub(crate) fn judge(&mut self, place: &Place, parties: &mut [Party]) {
        let repository = place.path("repo");
        for party in parties {
            self.broken.append(&mut party.broken);
            for (name, may_be) in &mut party.names {
                let link = fs::read_link(repository.join("images/refs").join(name)).ok();
                let found = link.map(|link| link.file_name().unwrap().to_str().unwrap().to_owned());
                if !may_be.contains(&found) {
                    self.broken.push(format!("{name:?} leads to {found:?}, which is not one of {may_be:?}"));
                }
                if let Some(digest) = &found {
                    self.image(&repository, digest, &format!("{name:?}"));
                }
                *may_be = BTreeSet::from([found]);
            }
            for layout in &party.pulls {
                self.image(&repository, &place.pulled[*layout], &format!("the OCI image pulled{layout}"));
            }
            for file in &party.files {
                let bytes = fs::read(file).unwrap();
                self.objects(&repository, &bytes, &format!("{}", file.file_name().unwrap().display()));
            }
            if let Some((target, tree)) = &party.mount {
                match (read_tree(target), read_tree(&place.tree(*tree))) {
                    (Ok(shown), Ok(tree)) if shown == tree => {}
                    (shown, _) => {
                        let why = shown.err().map_or("it shows something else".into(), |error| error.to_string());
                        self.broken.push(format!("the mount {}: {why}", target.display()));
                    }
                }
            }
        }
    }

    /// Checks an image of the repository: its link, the image itself, and its objects.
    fn image(&mut self, repository: &Path, digest: &str, of: &str) {
        let bytes = match fs::read(repository.join("images").join(digest)) {
            Ok(bytes) => bytes,
            Err(error) => return self.broken.push(format!("the image {digest} of {of}: {error}")),
        };
        if verity::digest(Algorithm::Sha256, &bytes).to_hex() != digest {
            return self.broken.push(format!("the image {digest} of {of} has another content"));
        }
        self.objects(repository, &bytes, of);
    }

    fn objects(&mut self, repository: &Path, image: &[u8], of: &str) {
        let (mut missing, objects) = (0, objects_of(image));
        let (count, mut first) = (objects.len(), None);
        for object in objects {
            if let Err(why) = self.object(repository, &object) {
                missing += 1;
                first.get_or_insert(format!("{object}: {why}"));
            }
        }
        if let Some(first) = first {
            self.broken.push(format!("{missing} of {count} objects of {of} are not there or wrong, first {first}"));
        }
    }

    fn object(&mut self, repository: &Path, object: &str) -> Result<(), String> {
        let path = repository.join("objects").join(object);
        let stat = fs::symlink_metadata(&path).map_err(|error| error.to_string())?;
        let now = (stat.ino(), stat.ctime(), stat.ctime_nsec());
        if self.whole.get(object) == Some(&now) {
            return Ok(());
        }
        let content = fs::read(&path).map_err(|error| error.to_string())?;
        if verity::digest(Algorithm::Sha256, &content).object_path() != object {
            return Err("it has another content".into());
        }
        self.whole.insert(object.to_owned(), now);
        Ok(())
    }

    /// Asserts that after a gc without other processes no lease or temporary file is left, and fsck finds nothing.
    pub(crate) fn clean(&mut self, place: &Place) {
        let repository = place.path("repo");
        match run(place.ours("repo", &["gc", "--grace=0"]), Fate::Runs) {
            Ended::Done(_) | Ended::Failed(1, _) => {}
            ended => self.broken.push(format!("gc: {ended:?}")),
        }
        let leases = names(&repository.join("leases"));
        if leases != ["gc.lock"] {
            self.broken.push(format!("leases are left: {leases:?}"));
        }
        let left = names(&repository.join("objects"));
        if let Some(left) = left.iter().find(|name| name.len() != 2) {
            self.broken.push(format!("{left} is left in objects"));
        }
        let fsck = run(place.ours("repo", &["fsck", "--json"]), Fate::Runs);
        let sound = match &fsck {
            Ended::Done(_) => true,
            Ended::Failed(1, said) => is_sound(said),
            _ => false,
        };
        if !sound {
            self.broken.push(format!("fsck: {fsck:?}"));
        }
    }

    /// Asserts that a gc removes everything once all names are removed.
    pub(crate) fn empty(&mut self, place: &Place, parties: &mut [Party]) {
        let repository = place.path("repo");
        for party in parties {
            party.umount(place);
            self.broken.append(&mut party.broken);
            for name in std::mem::take(&mut party.names).into_keys() {
                let _ = fs::remove_file(repository.join("images/refs").join(name));
            }
        }
        let _ = fs::remove_dir_all(repository.join("streams"));
        // The kernel releases the mounted files some time after umount has returned.
        let until = Instant::now() + Duration::from_secs(90);
        while !place.image_links("repo").is_empty() && Instant::now() < until {
            let _ = run(place.ours("repo", &["gc", "--grace=0"]), Fate::Runs);
        }
        self.clean(place);
        let images = place.image_links("repo");
        let fans = names(&repository.join("objects")).into_iter().map(|fan| repository.join("objects").join(fan));
        let objects: usize = fans.map(|fan| names(&fan).len()).sum();
        if !images.is_empty() || objects > 0 {
            self.broken.push(format!("{} images and {objects} objects are left that nothing names", images.len()));
        }
    }
}

fn names(path: &PathBuf) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Returns the objects that an image needs, including its own if it is in a repository.
fn objects_of(image: &[u8]) -> BTreeSet<String> {
    let tree = load(&ImageReader::new(image).unwrap(), &[]).unwrap().tree;
    let objects = tree.inodes().filter_map(|inode| match inode.data() {
        Data::Regular { payload: Some(payload), .. } => Some(String::from_utf8(payload.into_owned()).unwrap()),
        _ => None,
    });
    let objects: BTreeSet<String> = objects.collect();
    debug_assert!(objects.iter().all(|path| Digest::from_object_path(path.as_bytes()).is_some()));
    objects
}
