//! `composefs extract` and `composefs check` from the command line: their output and exit status.

use std::fs;
use std::path::{Path, PathBuf};

use libcomposefs_testkit::program::{Outcome, Program};
use serde_json::Value;
use tempfile::TempDir;

/// An image with two files, and their objects.
struct Place {
    dir: TempDir,
}

const ONE: &str = "one content that is an object, as it is longer than 64 bytes: one content that is an object";
const TWO: &str = "two contents that are objects, as they are longer than 64 bytes: two contents that are objects";

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(place.path("tree/sub")).unwrap();
        for (name, content) in [("one", ONE), ("sub/two", TWO), ("sub/again", TWO), ("small", "small")] {
            fs::write(place.path("tree").join(name), content).unwrap();
        }
        let store = format!("--digest-store={}", place.path("objects").display());
        let program = Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name: "mkcomposefs" };
        let arguments = [store, place.text("tree"), place.text("image")];
        let _: Outcome = program.run(arguments, b"").ok();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Runs a command; `@` is replaced by the directory of the fixture.
    fn run(&self, line: &str) -> Outcome {
        let root = format!("{}/", self.dir.path().display());
        let arguments: Vec<_> = line.split(' ').map(|word| word.replace('@', &root)).collect();
        Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name: "composefs" }.run(arguments, b"")
    }

    /// Returns the path of the object with a given content.
    fn object(&self, content: &str) -> PathBuf {
        let fans = fs::read_dir(self.path("objects")).unwrap();
        let mut objects = fans.flat_map(|fan| fs::read_dir(fan.unwrap().path()).unwrap());
        objects
            .find_map(|object| {
                Some(object.unwrap().path()).filter(|path| fs::read(path).unwrap() == content.as_bytes())
            })
            .unwrap()
    }
}

fn json(outcome: &Outcome) -> Value {
    serde_json::from_slice(&outcome.stdout).unwrap_or_else(|e| panic!("{e}: {}", outcome.line()))
}

#[test]
fn complete_extraction_prints_nothing() {
    let place = Place::new();
    let outcome = place.run("extract @image @out --basedir=@objects");
    assert_eq!(outcome, Outcome { status: Some(0), stdout: Vec::new(), stderr: String::new() });
    assert_eq!(fs::read_to_string(place.path("out/sub/again")).unwrap(), TWO);
    let again = place.run("extract @image @out --basedir=@objects");
    assert!(again.status == Some(1) && again.stderr.contains("is not empty\nremedy: "), "{again:?}");
    let merged = place.run("extract @image @out /sub --basedir=@objects --merge --json").ok();
    let report = json(&merged);
    assert_eq!(
        (&report["files"], &report["directories"], &report["failures"]),
        (&2.into(), &2.into(), &Value::Array(vec![]))
    );
    let part = place.run("extract @image @part --basedir=@objects sub/two small");
    assert_eq!(part.status, Some(0), "{}", part.stderr);
    assert!(place.path("part/sub/two").exists() && place.path("part/small").exists());
    assert!(!place.path("part/one").exists() && !place.path("part/sub/again").exists());
}

#[test]
fn missing_contents_are_reported_by_message_and_status() {
    let place = Place::new();
    fs::remove_file(place.object(ONE)).unwrap();
    let object = place.object(TWO);
    fs::remove_file(&object).unwrap();
    fs::write(&object, TWO.replace('t', "T")).unwrap();
    let outcome = place.run("extract @image @out --basedir=@objects");
    assert_eq!(outcome.status, Some(1));
    let lines: Vec<_> = outcome.stderr.lines().collect();
    let [one, again, two, last] = &lines[..] else { panic!("{}", outcome.stderr) };
    assert!(one.starts_with("composefs: /one: the object ") && one.contains(" is not in "), "{one}");
    for (line, path) in [(again, "/sub/again"), (two, "/sub/two")] {
        assert!(
            line.starts_with(&format!("composefs: {path}: the object ")) && line.contains(" has the digest "),
            "{line}"
        );
    }
    assert_eq!(*last, "composefs: 3 paths were not extracted");
    assert_eq!(fs::read_to_string(place.path("out/small")).unwrap(), "small");
    let report = json(&place.run("extract @image @json --basedir=@objects --json"));
    assert_eq!(report["failures"].as_array().unwrap().len(), 3);
    assert_eq!(report["failures"][0]["path"], "/one");
    // Without --basedir the message names the missing option.
    let outcome = place.run("extract @image @none");
    assert!(
        outcome.stderr.ends_with("composefs: 3 paths were not extracted; use --basedir to name the object directory\n")
    );

    let outcome = place.run("check @image --basedir=@objects");
    assert_eq!(outcome.status, Some(1), "{}", outcome.line());
    let lines: Vec<_> = outcome.line().lines().collect();
    let [verdict, missing, damaged, count] = &lines[..] else { panic!("{}", outcome.line()) };
    assert!(verdict.contains(": sound: 0 errors, ") && verdict.contains(", canonical, sha256 digest "), "{verdict}");
    assert!(missing.starts_with("missing: ") && missing.ends_with("; needed by /one"), "{missing}");
    assert!(damaged.starts_with("damaged: ") && damaged.ends_with("; needed by /sub/again and 1 more"), "{damaged}");
    assert!(count.starts_with("objects: 0 of 2 correct: "), "{count}");
    let report = json(&place.run("check @image --basedir=@objects --json"));
    assert_eq!((&report["sound"], &report["images"][0]["sound"]), (&false.into(), &true.into()));
    assert_eq!(
        (&report["objects"]["wrong"][1]["kind"], &report["objects"]["wrong"][1]["paths"]),
        (&"damaged".into(), &2.into())
    );
}

#[test]
fn check_reports_damage_by_its_status() {
    let place = Place::new();
    let sound = place.run("check @image --basedir=@objects --strict");
    assert_eq!(sound.status, Some(0), "{}", sound.line());
    assert!(sound.line().contains("objects: 2 of 2 correct: 2 read"), "{}", sound.line());
    let digest = place.run("digest @image").ok().line()[..64].to_owned();
    assert_eq!(place.run(&format!("check @image --digest={digest}")).status, Some(0));
    let other = place.run(&format!("check @image --digest={}", "0".repeat(64)));
    assert!(other.status == Some(1) && other.line().contains(&format!("{digest}, expected 0000")), "{other:?}");
    let refused = place.run(&format!("extract @image @out --basedir=@objects --digest={}", "0".repeat(64)));
    assert!(
        refused.status == Some(1) && refused.stderr.contains("nothing is extracted") && !place.path("out").exists()
    );

    // A warning, then an error as well.
    let mut bytes = fs::read(place.path("image")).unwrap();
    bytes[20] = 1;
    fs::write(place.path("warned"), &bytes).unwrap();
    let warned = place.run("check @warned");
    assert!(
        warned.status == Some(0)
            && warned.line().contains("not canonical (the first difference is at offset 20, in the header)")
    );
    assert_eq!(place.run("check @warned --strict").status, Some(1));
    bytes[1024] = 1;
    fs::write(place.path("broken"), &bytes).unwrap();
    let broken = place.run("check @image @broken");
    assert!(broken.status == Some(1) && broken.line().contains(": broken: 1 error, 1 warning, "), "{}", broken.line());
    assert_eq!(place.run("check @objects").status, Some(2));
    assert_eq!(place.run("check @none").status, Some(2));
    assert_eq!(place.run("check").status, Some(2));
    assert_eq!(place.run("check @image --basedir=@none").status, Some(2));
    assert_eq!(place.run("check @image --read").status, Some(2));
    assert_eq!(place.run("extract @image").status, Some(2));
}

#[test]
fn the_help_has_examples_and_statuses() {
    let place = Place::new();
    for command in ["extract", "check"] {
        let help = place.run(&format!("{command} --help")).ok();
        assert!(help.line().contains("Examples:\n  composefs ") && help.line().contains("Exit status: 0 if "));
    }
}
