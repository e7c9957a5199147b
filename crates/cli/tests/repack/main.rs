//! Cold images: packed by `composefs repack`, unpacked by the commands that need them.

mod cfsctl;
mod chain;
mod odd_states;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcomposefs_testkit::numbers::noise;
use libcomposefs_testkit::program::{Outcome, Program};
use libcomposefs_testkit::scratch::ScratchRepository;

struct Place(ScratchRepository);

impl Place {
    /// A repository with the versions `v1` and `v2` of a tree, which differ in a few bytes of each file.
    fn new() -> Self {
        let place = Self(ScratchRepository::new(env!("CARGO_BIN_EXE_composefs")));
        for version in [1, 2] {
            place.create(version);
        }
        place
    }

    fn create(&self, version: u32) {
        let (tree, name) = (self.tree(version), format!("--name=v{version}"));
        self.0.prints(&["create", tree.to_str().unwrap(), &name]);
    }

    /// Returns a tree of 30 files, of which each version has its own.
    fn tree(&self, version: u32) -> PathBuf {
        let tree = self.tree_path(version);
        fs::create_dir_all(&tree).unwrap();
        for file in 0..30_u32 {
            // Not compressible, so that only a base makes it small.
            let mut bytes = noise(u64::from(file), 20_000);
            bytes[500] = version as u8;
            fs::write(tree.join(format!("f{file}")), bytes).unwrap();
        }
        tree
    }

    fn tree_path(&self, version: u32) -> PathBuf {
        self.0.path(&format!("tree{version}"))
    }

    fn repo(&self) -> PathBuf {
        self.0.path("repo")
    }

    fn digest(&self, name: &str) -> String {
        let images = self.0.prints(&["images"]);
        let line = images.lines().find(|line| line.split(' ').any(|word| word == name));
        line.unwrap_or_else(|| panic!("{name}: {images}"))[..64].to_owned()
    }

    fn cold(&self, name: &str) -> PathBuf {
        self.repo().join("cold").join(name)
    }

    /// Packs `v1`, and removes its objects.
    fn freeze(&self) -> String {
        let digest = self.digest("v1");
        self.0.prints(&["repack", "--cold", "v1", "--base=v2"]);
        self.0.prints(&["gc", "--grace=0"]);
        assert!(!self.object(&digest).exists());
        digest
    }

    /// Makes a symlink in the repository.
    fn link(&self, path: &str, target: &str) {
        let path = self.repo().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    fn object(&self, digest: &str) -> PathBuf {
        self.repo().join("objects").join(&digest[..2]).join(&digest[2..])
    }

    /// Number of objects.
    fn objects(&self) -> usize {
        self.0.prints(&["images", "--objects"]).lines().count()
    }

    #[track_caller]
    fn expect_warm(&self, version: u32) {
        let (name, tree) = (format!("v{version}"), self.tree(version));
        for file in ["f0", "f29"] {
            let outcome = self.0.run(&["cat", &name, file]);
            assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
            assert!(outcome.stdout == fs::read(tree.join(file)).unwrap(), "{file}");
        }
        self.0.prints(&["fsck"]);
    }
}

#[test]
fn a_cold_image_is_small_and_is_unpacked_on_demand() {
    let place = Place::new();
    let all = place.objects();
    let digest = place.freeze();
    assert_eq!(place.objects(), all - 31);
    let pack = fs::metadata(place.cold(&format!("{digest}.pack"))).unwrap().len();
    assert!(pack < 30_000, "{pack} bytes for 600,000");
    let images = place.0.prints(&["images"]);
    assert!(images.contains(&format!("{digest} {pack:>12} cold v1\n")), "{images}");
    assert!(place.0.prints(&["fsck"]).contains("no problems found"));
    let message = place.0.run(&["cat", "v1", "f3"]).stderr;
    assert!(message.contains("unpacking v1, which is cold"), "{message}");
    place.expect_warm(1);
    assert_eq!((place.digest("v1"), place.objects()), (digest, all));
    let left: Vec<_> = fs::read_dir(place.cold("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["refs"]);
    assert!(!place.0.prints(&["images"]).contains("composefs-cold"));
}

#[test]
fn export_and_repack_take_names_and_digests() {
    let place = Place::new();
    let digest = place.freeze();
    let bundle = place.0.path("bundle");
    place.0.prints(&["export", &digest, "--output", bundle.to_str().unwrap()]);
    place.expect_warm(1);
    place.freeze();
    let line = place.0.prints(&["repack", "--warm", "v1", "--json"]);
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["state"], &line["refs"][0], &line["objects"]["new"]), (&"warm".into(), &"v1".into(), &31.into()));
    assert!(place.0.prints(&["repack", "--warm", "v1"]).contains("v1: not cold"));
    let message = place.0.fails(1, &["repack", "--warm", "none"]);
    assert!(message.contains("no cold image is called none"), "{message}");
}

#[test]
fn the_base_stays_as_long_as_it_is_needed() {
    let place = Place::new();
    place.freeze();
    let base = place.digest("v2");
    let name = format!("composefs-cold/{}", place.digest("v1"));
    let error = place.0.fails(1, &["untag", &name]);
    assert!(error.contains("keeps the base of a cold image"), "{error}");
    place.0.prints(&["untag", "v2"]);
    place.0.prints(&["gc", "--grace=0"]);
    assert!(place.object(&base).exists());
    place.expect_warm(1);
    place.0.prints(&["gc", "--grace=0"]);
    assert!(!place.object(&base).exists());
    // Nothing has the image as base any more.
    place.0.prints(&["repack", "--cold", "v1"]);
}

#[test]
fn an_image_without_a_name_and_a_wrong_base_are_refused() {
    let place = Place::new();
    let digest = place.digest("v1");
    place.0.prints(&["untag", "v1"]);
    let error = place.0.fails(1, &["repack", "--cold", &digest]);
    assert!(error.contains("it has no name"), "{error}");
    place.0.prints(&["tag", &digest, "again"]);
    let error = place.0.fails(1, &["repack", "--cold", "again", "--base=again"]);
    assert!(error.contains("its own base"), "{error}");
    assert!(place.0.prints(&["images"]).contains("ref again"));
    place.0.prints(&["repack", "--cold", &digest]);
    assert!(place.0.prints(&["images"]).contains("cold again"));
}

#[test]
fn a_cold_image_without_a_name_is_removed() {
    let place = Place::new();
    let digest = place.freeze();
    place.0.prints(&["untag", "v1"]);
    let report = place.0.prints(&["gc"]);
    assert!(report.contains("1 cold image without a ref, packed less than 1 h ago: kept"), "{report}");
    assert!(place.cold(&digest).exists());
    let report = place.0.prints(&["gc", "--grace=0", "--dry-run"]);
    assert!(report.contains("1 cold image without a ref would be removed"), "{report}");
    assert!(place.cold(&digest).exists());
    let report = place.0.prints(&["gc", "--grace=0"]);
    assert!(report.contains("1 cold image without a ref removed"), "{report}");
    assert!(!place.cold(&digest).exists() && !place.cold(&format!("{digest}.pack")).exists());
    assert!(!place.0.prints(&["images"]).contains("composefs-cold"));
}

#[test]
fn a_name_that_is_given_again_is_that_of_the_new_image() {
    let place = Place::new();
    let digest = place.freeze();
    let tree = place.tree(3);
    place.0.prints(&["create", tree.to_str().unwrap(), "--name=v1"]);
    assert_ne!(place.digest("v1"), digest);
    place.0.prints(&["gc", "--grace=0"]);
    assert!(!place.cold(&digest).exists());
    let outcome = place.0.run(&["cat", "v1", "f0"]);
    assert!(outcome.stdout == fs::read(tree.join("f0")).unwrap());
}

#[test]
fn gc_removes_what_a_crash_has_left() {
    let place = Place::new();
    let digest = place.digest("v1");
    // Killed before the entry was written, and before the names moved.
    fs::create_dir_all(place.cold("refs")).unwrap();
    let (base, leftover) = (place.digest("v2"), place.cold(&format!("{}.pack", "ab".repeat(32))));
    fs::write(&leftover, "part").unwrap();
    fs::write(place.cold(".tmpAbCdEf"), "part").unwrap();
    let stale = format!("composefs-cold/{}", "ab".repeat(32));
    place.link(&format!("images/refs/{stale}"), &format!("../../{base}"));
    place.0.prints(&["gc"]);
    assert!(!leftover.exists() && !place.cold(".tmpAbCdEf").exists());
    assert!(!place.0.prints(&["images"]).contains(&stale));
    // Killed between the entry and the names: the image is both, and stays.
    place.0.prints(&["repack", "--cold", "v1", "--base=v2"]);
    let saved: Vec<_> =
        [digest.clone(), format!("{digest}.pack")].map(|name| fs::read(place.cold(&name)).unwrap()).into();
    place.0.prints(&["repack", "--warm", "v1"]);
    fs::write(place.cold(&digest), &saved[0]).unwrap();
    fs::write(place.cold(&format!("{digest}.pack")), &saved[1]).unwrap();
    place.0.prints(&["gc", "--grace=0"]);
    assert!(!place.cold(&digest).exists());
    place.expect_warm(1);
}

/// Lines of `images` that have a word.
fn lines_with(place: &Place, word: &str) -> Vec<String> {
    place.0.prints(&["images"]).lines().filter(|line| line.contains(word)).map(str::to_owned).collect()
}

#[test]
fn images_with_old_names_are_packed_and_one_stays() {
    let place = Place::new();
    place.create(3);
    // The times of names have seconds only.
    assert!(place.0.prints(&["repack", "--cold", "--older-than=1h"]).is_empty());
    assert!(lines_with(&place, " cold ").is_empty());
    let held = fs::File::open(place.object(&place.digest("v1"))).unwrap();
    place.0.prints(&["repack", "--cold", "--older-than=0"]);
    let cold = lines_with(&place, " cold ");
    assert!(cold.len() == 2 && cold.iter().all(|line| !line.ends_with(" v1")), "{cold:?}");
    drop(held);
    // The only image with a name stays, as base of the others.
    assert!(place.0.prints(&["repack", "--cold", "--older-than=0"]).is_empty());
    place.0.prints(&["repack", "--warm", "v2", "v3"]);
    place.0.prints(&["repack", "--cold", "--older-than=0s"]);
    assert_eq!(lines_with(&place, " cold ").len(), 2);
    place.0.prints(&["gc", "--grace=0"]);
    let error = place.0.fails(2, &["repack", "--cold", "--older-than=0", "v1"]);
    assert!(error.contains("cannot be used with"), "{error}");
    (1..=3).for_each(|version| place.expect_warm(version));
    assert!(lines_with(&place, "cold").is_empty());
}

#[test]
fn df_why_and_doctor_know_cold_images() {
    let place = Place::new();
    let stat = place.0.prints(&["stat", "v1", "f0"]);
    let object = stat.split_whitespace().find(|word| word.len() == 64).unwrap_or_else(|| panic!("{stat}")).to_owned();
    let digest = place.freeze();
    let pack = fs::metadata(place.cold(&format!("{digest}.pack"))).unwrap().len();
    let text = place.0.prints(&["df"]);
    let line = text.lines().find(|line| line.contains("  v1  (cold: ")).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(line.split_whitespace().next(), Some(pack.to_string().as_str()));
    let json: serde_json::Value = serde_json::from_str(&place.0.prints(&["df", "--json"])).unwrap();
    assert_eq!((&json["cold"][0]["digest"], &json["cold"][0]["refs"][0]), (&digest.as_str().into(), &"v1".into()));
    for (wanted, itself) in [(&object, false), (&digest, true)] {
        let text = place.0.prints(&["why", wanted]);
        assert!(text.starts_with(&format!("cold image {digest}, named v1, has it in its pack")), "{text}");
        assert!(text.contains("this image itself") == itself && text.contains("repack --warm"), "{text}");
    }
    assert!(place.0.prints_with(1, &["why", &"ab".repeat(32)]).contains("it does not exist"));
    let doctor = || String::from_utf8_lossy(&place.0.run(&["doctor"]).stdout).into_owned();
    assert!(doctor().contains("1 cold image, "));
    fs::write(place.cold(&digest), "{}").unwrap();
    assert!(doctor().contains("it is damaged"));
    let unknown = |wanted: &str, reason: &str| {
        let outcome = place.0.run(&["why", wanted]);
        let text = outcome.stderr;
        assert!(outcome.status == Some(2) && text.contains(reason), "{text}");
        assert!(text.contains(&format!("cold image {digest} cannot be read, and may have it")), "{text}");
    };
    unknown(&object, "cannot use");
    assert!(String::from_utf8_lossy(&place.0.run(&["why", &object, "--json"]).stdout).contains(&digest));
}

/// A pack that cannot be read hides neither other packs nor other reasons, and is no answer "nothing keeps it".
#[test]
fn why_answers_beside_a_damaged_pack() {
    let place = Place::new();
    let object_of = |name: &str| {
        let stat = place.0.prints(&["stat", name, "f0"]);
        stat.split_whitespace().find(|word| word.len() == 64).unwrap_or_else(|| panic!("{stat}")).to_owned()
    };
    let (packed, kept) = (object_of("v1"), object_of("v2"));
    let digest = place.freeze();
    let pack = place.cold(&format!("{digest}.pack"));
    let good = fs::read(&pack).unwrap();
    let expect_unknown = |reason: &str| {
        let outcome = place.0.run(&["why", &packed]);
        assert!(outcome.status == Some(2) && outcome.stderr.contains(reason), "{}", outcome.stderr);
        let json = String::from_utf8(place.0.run(&["why", &packed, "--json"]).stdout).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["cold_unreadable"][0].as_str(), Some(digest.as_str()));
        place.0.prints(&["why", &kept]);
    };
    for (damaged, reason) in [(&good[..good.len() / 2], "it is damaged"), (&vec![b'x'; good.len()], "wrong at byte")] {
        fs::write(&pack, damaged).unwrap();
        expect_unknown(reason);
    }
    fs::remove_file(&pack).unwrap();
    expect_unknown("it is missing");
    fs::write(&pack, good).unwrap();
    assert!(place.0.prints(&["why", &packed]).contains("has it in its pack"));
}

#[test]
fn damaged_packs_are_found_and_publish_nothing() {
    let place = Place::new();
    let digest = place.freeze();
    let pack = place.cold(&format!("{digest}.pack"));
    let good = fs::read(&pack).unwrap();
    let before = place.0.prints(&["images"]);
    for (damaged, found) in [
        (good[..good.len() - 1].to_vec(), "it is damaged"),
        ([&good[..good.len() / 2], &[good[good.len() / 2] ^ 1], &good[good.len() / 2 + 1..]].concat(), "pack: cold: "),
        (b"composefs-bundle".repeat(good.len()).split_at(good.len()).0.to_vec(), "version"),
    ] {
        fs::write(&pack, damaged).unwrap();
        let report = place.0.prints_with(1, &["fsck"]);
        assert!(report.contains(found) && report.contains("v1 needs it"), "{report}");
        place.0.fails(1, &["cat", "v1", "f0"]);
        assert_eq!(place.0.prints(&["images"]), before);
    }
    fs::write(&pack, &good).unwrap();
    let entry = fs::read_to_string(place.cold(&digest)).unwrap();
    fs::write(place.cold(&digest), entry.replace("\"version\":1", "\"version\":7")).unwrap();
    assert!(place.0.prints_with(1, &["fsck"]).contains("version 7"));
    assert!(place.0.fails(1, &["repack", "--warm", "v1"]).contains("version 7"));
    fs::write(place.cold(&digest), entry).unwrap();
    place.expect_warm(1);
}

#[test]
fn a_damaged_object_of_the_base_is_named() {
    let place = Place::new();
    place.freeze();
    let file = place.0.prints(&["stat", "v2", "f0"]);
    let object = file.split_whitespace().find(|word| word.len() == 64).unwrap_or_else(|| panic!("{file}")).to_owned();
    let path = place.object(&object);
    let good = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, vec![0; good.len()]).unwrap();
    let message = place.0.fails(1, &["repack", "--warm", "v1"]);
    assert!(message.contains(&object[2..]), "{message}");
    fs::write(&path, good).unwrap();
    place.expect_warm(1);
}

#[test]
fn processes_that_unpack_the_same_image_all_succeed() {
    let place = Place::new();
    place.freeze();
    let repo = format!("--repo={}", place.repo().display());
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_composefs"));
        command.args([&repo, "cat", "v1", "f7"]).output()
    };
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
        running.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
    });
    let content = fs::read(place.tree(1).join("f7")).unwrap();
    for output in outputs {
        assert!(output.status.success() && output.stdout == content, "{}", String::from_utf8_lossy(&output.stderr));
    }
    place.expect_warm(1);
}

#[test]
fn sync_leaves_cold_images_and_bases_out() {
    let place = Place::new();
    place.freeze();
    let other = place.0.path("other");
    let other = other.to_str().unwrap();
    place.0.prints(&["init", "--insecure", "--format=1", other]);
    let run = |arguments: &[&str]| -> Outcome {
        let program = Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name: "composefs" };
        program.run(arguments, b"")
    };
    let (to, from) = (format!("--repo={other}"), place.repo().display().to_string());
    let lines = run(&[&to, "sync", &from]).ok();
    assert_eq!(String::from_utf8(lines.stdout).unwrap().matches(" v2").count(), 1);
    assert!(!String::from_utf8(run(&[&to, "images"]).ok().stdout).unwrap().contains("composefs-cold"));
    let error = run(&[&to, "sync", &from, "v1"]);
    assert!(error.status == Some(1) && error.stderr.contains("repack --warm v1"), "{}", error.stderr);
    place.0.prints(&["repack", "--warm", "v1"]);
    let _ = run(&[&to, "sync", &from, "v1"]).ok();
}
