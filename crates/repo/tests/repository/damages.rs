//! A thousand random damages: each is found by kind and path, no other is, each is repaired, and nothing else is
//! changed.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use libcomposefs_image::Digest;
use libcomposefs_repo::fsck::DamageKind;
use libcomposefs_testkit::{privilege, stats};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::place::{Place, Thing, snapshot};

/// Numbers that look random and are the same in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Damages that fsck must find.
type Expected = BTreeSet<(DamageKind, PathBuf)>;

struct Damager<'p> {
    place: &'p Place,
    numbers: Numbers,
    expected: Expected,
    /// Paths that were damaged in this round.
    touched: BTreeSet<PathBuf>,
}

const IMAGE_REFS: [&str; 3] = ["images/refs/one", "images/refs/folder/two", "images/refs/folder/deep/three"];

impl Damager<'_> {
    fn full(&self, below: &Path) -> PathBuf {
        self.place.path("repo").join(below)
    }

    fn is_image(&self, object: &Path) -> bool {
        self.place.images.iter().any(|image| object == Path::new("objects").join(image.object_path()))
    }

    /// An object that nothing has happened to yet.
    fn object(&mut self, objects: &[PathBuf]) -> Option<PathBuf> {
        let object = objects[self.numbers.below(objects.len())].clone();
        self.touched.insert(object.clone()).then_some(object)
    }

    /// A name of an object that nothing has.
    fn unused(&mut self) -> PathBuf {
        let mut raw = [0; 32];
        raw.iter_mut().for_each(|byte| *byte = self.numbers.below(256) as u8);
        let digest = Digest::new(libcomposefs_image::Algorithm::Sha256, &raw).unwrap();
        let below = Path::new("objects").join(digest.object_path());
        fs::create_dir_all(self.full(&below).parent().unwrap()).unwrap();
        below
    }

    fn expect(&mut self, kind: DamageKind, below: &Path) {
        self.expected.insert((kind, below.to_owned()));
    }

    /// Does one damage; false if it cannot be done now.
    fn damage(&mut self, objects: &[PathBuf]) -> bool {
        match self.numbers.below(20) {
            which @ 0..=12 => {
                let Some(object) = self.object(objects) else { return false };
                self.damage_object(which, &object);
            }
            13 => {
                let below = self.unused().with_file_name(["README", ".hidden", "0123"][self.numbers.below(3)]);
                if !self.touched.insert(below.clone()) {
                    return false;
                }
                fs::write(self.full(&below), "foreign").unwrap();
                self.expect(DamageKind::Foreign, &below);
            }
            14 => {
                let below = PathBuf::from(["objects/zz", "objects/lost", "objects/0"][self.numbers.below(3)]);
                if !self.touched.insert(below.clone()) {
                    return false;
                }
                fs::create_dir(self.full(&below)).unwrap();
                fs::write(self.full(&below).join("inside"), "foreign").unwrap();
                self.expect(DamageKind::Foreign, &below);
            }
            15 | 16 => return self.damage_image_link(),
            17 | 18 => return self.damage_ref(),
            _ => {
                let meta = PathBuf::from("meta.json");
                if !self.touched.insert(meta.clone()) {
                    return false;
                }
                let text = ["", "{", "nonsense", "[]"][self.numbers.below(4)];
                fs::write(self.full(&meta), text).unwrap();
                self.expect(DamageKind::Meta, &meta);
            }
        }
        true
    }

    fn damage_object(&mut self, which: usize, object: &Path) {
        let path = self.full(object);
        let is_image = self.is_image(object);
        let len = fs::metadata(&path).unwrap().len();
        match which {
            0..=2 => {
                let mut content = fs::read(&path).unwrap();
                let at = self.numbers.below(content.len());
                content[at] ^= 1 << self.numbers.below(8);
                fs::write(&path, content).unwrap();
                self.expect(DamageKind::Contents, object);
            }
            3 => {
                let shorter = 1 + self.numbers.below(len as usize - 1) as u64;
                File::options().write(true).open(&path).unwrap().set_len(shorter).unwrap();
                self.expect(if is_image { DamageKind::Contents } else { DamageKind::Truncated }, object);
            }
            4 => {
                File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
                self.expect(DamageKind::Empty, object);
            }
            5 | 6 => {
                fs::remove_file(&path).unwrap();
                self.expect(DamageKind::Missing, object);
            }
            7 => {
                let other = self.unused();
                fs::rename(&path, self.full(&other)).unwrap();
                self.expect(DamageKind::Missing, object);
                // What an image needs that cannot be read is not known.
                self.expect(DamageKind::Misnamed, &other);
            }
            8 => {
                let modes = if privilege::is_root() { &[0o666, 0o4644, 0o020, 0][..] } else { &[0o666, 0o2644] };
                let mode = modes[self.numbers.below(modes.len())];
                fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
                self.expect(DamageKind::Mode, object);
            }
            _ => {
                fs::remove_file(&path).unwrap();
                match which {
                    9 => symlink("nowhere", &path).unwrap(),
                    10 => symlink(path.file_name().unwrap(), &path).unwrap(),
                    11 => mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap(),
                    _ => fs::create_dir(&path).unwrap(),
                }
                self.expect(DamageKind::NotRegular, object);
            }
        }
    }

    fn damage_image_link(&mut self) -> bool {
        let image = self.place.images[self.numbers.below(3)];
        let below = Path::new("images").join(image.to_hex());
        if !self.touched.insert(below.clone()) {
            return false;
        }
        let path = self.full(&below);
        fs::remove_file(&path).unwrap();
        match self.numbers.below(5) {
            0 => {}
            1 => symlink(&below, &path).unwrap(),
            2 => symlink("../objects/00/nowhere", &path).unwrap(),
            3 => symlink(image.to_hex(), &path).unwrap(),
            _ => fs::write(&path, "no link").unwrap(),
        }
        if path.is_symlink() || path.exists() {
            self.expect(DamageKind::ImageLink, &below);
        }
        // And so its name leads to no image.
        let number = self.place.images.iter().position(|other| *other == image).unwrap();
        if !self.touched.contains(Path::new(IMAGE_REFS[number])) {
            self.expect(DamageKind::Dangling, Path::new(IMAGE_REFS[number]));
        }
        true
    }

    fn damage_ref(&mut self) -> bool {
        let number = self.numbers.below(3);
        let below = PathBuf::from(IMAGE_REFS[number]);
        let link = Path::new("images").join(self.place.images[number].to_hex());
        // Without a name and a link nothing tells of an image.
        if self.touched.contains(&link) || !self.touched.insert(below.clone()) {
            return false;
        }
        self.touched.insert(link);
        let path = self.full(&below);
        fs::remove_file(&path).unwrap();
        match self.numbers.below(4) {
            0 => symlink("nowhere", &path).unwrap(),
            1 => symlink(path.file_name().unwrap(), &path).unwrap(),
            2 => symlink("/etc/passwd", &path).unwrap(),
            _ => fs::write(&path, "no link").unwrap(),
        }
        self.expect(DamageKind::Ref, &below);
        true
    }
}

#[test]
fn a_thousand_random_damages_are_found_and_repaired() {
    let place = Place::new(60);
    let pristine = snapshot(&place.path("copy"));
    assert_eq!(snapshot(&place.path("repo")), pristine);
    assert!(place.fsck(false, &[]).damages.is_empty());
    let objects = place.objects();
    let (mut done, mut rounds) = (0, 0);
    while done < 1000 {
        rounds += 1;
        let numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ rounds << 32);
        let mut damager = Damager { place: &place, numbers, expected: Expected::new(), touched: BTreeSet::new() };
        let count = 1 + damager.numbers.below(14);
        done += (0..count).filter(|_| damager.damage(&objects)).count();
        let expected = damager.expected;
        let before = snapshot_of_damaged(&place);

        let found = place.fsck(false, &[]);
        let seen: Expected = found.damages.iter().map(|damage| (damage.kind, damage.path.clone())).collect();
        // Of an image that cannot be read it is not known what it needs: a file that would be needed counts as foreign
        // to all.
        let blind = |(kind, path): &(DamageKind, PathBuf)| match kind {
            DamageKind::Misnamed => seen.contains(&(DamageKind::Contents, path.clone())),
            DamageKind::Truncated => seen.contains(&(DamageKind::Contents, path.clone())),
            DamageKind::Missing => !found.damages.iter().any(|d| d.path == *path) && is_blind(&place, &expected),
            _ => false,
        };
        let not_found: Vec<_> = expected.iter().filter(|one| !seen.contains(*one) && !blind(one)).collect();
        assert!(not_found.is_empty(), "round {rounds}: {not_found:?} not among {seen:?}");
        let paths: BTreeSet<_> = expected.iter().map(|(_, path)| path).collect();
        let others: Vec<_> = seen.iter().filter(|(_, path)| !paths.contains(path)).collect();
        assert!(others.is_empty(), "round {rounds}: {others:?} not among {expected:?}");
        assert_eq!(snapshot_of_damaged(&place), before, "round {rounds}: a look has changed something");

        let repaired = place.fsck(true, &["copy"]);
        let left: Vec<_> = repaired.damages.iter().filter(|damage| !damage.remedy.is_mended()).collect();
        assert!(left.is_empty(), "round {rounds}: {left:?}");
        remove_empty_fans(&place, &pristine);
        let after = snapshot(&place.path("repo"));
        let different: Vec<_> =
            after.keys().chain(pristine.keys()).filter(|path| after.get(*path) != pristine.get(*path)).collect();
        assert!(different.is_empty(), "round {rounds}: {different:?} after {expected:?}");
        let again = place.fsck(false, &[]);
        assert!(again.damages.is_empty(), "round {rounds}: {:?}", again.damages);
        let _ = fs::remove_dir_all(place.path("repo/quarantine"));
    }
    stats::show(&format!("fsck: {done} random damages in {rounds} rounds, each found and repaired"));
}

/// Returns whether an image cannot be read, so that the objects that it needs are unknown.
fn is_blind(place: &Place, expected: &Expected) -> bool {
    place.images.iter().any(|image| {
        let object = Path::new("objects").join(image.object_path());
        expected.iter().any(|(kind, path)| *path == object && *kind != DamageKind::Mode)
    })
}

/// A snapshot that bears FIFOs and links that lead nowhere.
fn snapshot_of_damaged(place: &Place) -> Vec<(PathBuf, Thing)> {
    snapshot(&place.path("repo")).into_iter().collect()
}

/// Directories that a foreign name was put in are there still; they are empty, or hold nothing of ours.
fn remove_empty_fans(place: &Place, pristine: &std::collections::BTreeMap<PathBuf, Thing>) {
    for (path, thing) in snapshot(&place.path("repo")) {
        if thing == Thing::Directory && !pristine.contains_key(&path) {
            fs::remove_dir(place.path("repo").join(path)).unwrap();
        }
    }
}
