//! OCI images as operands of the commands that look into images: sources outside a repository, and names of OCI images
//! in one.

use std::fs;
use std::ops::Deref;

use libcomposefs_testkit::oci;
use libcomposefs_testkit::scratch::{ScratchRepository, layout_source};
use serde_json::Value;

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

/// A repository, with what these tests do there.
struct Place(ScratchRepository);

impl Deref for Place {
    type Target = ScratchRepository;

    fn deref(&self) -> &ScratchRepository {
        &self.0
    }
}

impl Place {
    fn new() -> Self {
        Self(ScratchRepository::new(COMPOSEFS))
    }

    /// Unpacks a layout, and returns the source.
    fn layout(&self, name: &str) -> String {
        layout_source(&self.0.layout(name))
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.prints(arguments)).unwrap()
    }
}

fn recorded(layout: &str, algorithm: &str, version: &str) -> String {
    let is_wanted = |row: &oci::RecordedDigest| {
        row.layout == layout
            && (row.algorithm.as_str(), row.version.as_str(), row.is_bootable) == (algorithm, version, false)
            && row.xattrs == "allowlist-only"
    };
    oci::recorded().into_iter().find(is_wanted).unwrap().digest.unwrap()
}

#[test]
fn every_command_takes_a_layout_and_a_name() {
    let place = Place::new();
    let source = place.layout("three-layers");
    place.prints(&["oci", "pull", &source, "--name=three"]);
    for image in [source.as_str(), "three"] {
        assert_eq!(place.prints(&["ls", image]), "etc\nusr\nvar\n");
        assert_eq!(place.prints(&["find", image, "--name", "hostname"]), "/etc/hostname\n");
        assert_eq!(place.prints(&["cat", image, "/etc/hostname"]), "box\n");
        assert!(place.prints(&["stat", image, "/etc/hostname"]).contains("type     file\n"));
        assert!(place.prints(&["du", image]).contains(image));
        assert!(place.prints(&["check", image]).contains("sound: 0 errors"));
        let expected = recorded("three-layers", "sha256", "1");
        assert_eq!(place.prints(&["digest", image]), format!("{expected}  {image}\n"));
        assert_eq!(place.prints(&["diff", image, "three"]), "");
        place.prints(&["explain-digest", image, "--want", &expected]);
    }
    // The digest decides on the algorithm of the image.
    for algorithm in ["sha256", "sha512"] {
        let digest = recorded("three-layers", algorithm, "1");
        place.prints(&["check", &source, "--digest", &digest]);
        let wrong = digest.replace(|c: char| c.is_ascii_digit(), "a");
        assert!(place.run(&["check", &source, "--digest", &wrong]).status == Some(1));
    }
    assert!(place.json(&["diff", &source, "three", "--json"])["equal"].as_bool().unwrap());
    let basic = place.layout("basic");
    let differing: Value = serde_json::from_slice(&place.run(&["diff", &basic, "three", "--json"]).stdout).unwrap();
    assert_eq!((&differing["equal"], &differing["a"]["form"]), (&Value::from(false), &Value::from("oci")));
}

#[test]
fn digests_of_images_of_the_repository_are_computed() {
    let place = Place::new();
    let source = place.layout("three-layers");
    let pulled = place.json(&["oci", "pull", &source, "--name=app:1", "--json"]);
    let (manifest, image) = (pulled["manifest"].as_str().unwrap(), pulled["image"].as_str().unwrap());
    for operand in [source.as_str(), "app:1", manifest, image] {
        for (algorithm, version) in [("sha512", "1"), ("sha256", "2")] {
            let algorithm_option = format!("--algorithm={algorithm}");
            let digest = place.prints(&["oci", "digest", operand, &algorithm_option, "--version", version]);
            assert_eq!(digest.trim(), recorded("three-layers", algorithm, version), "{operand}");
        }
    }
    let (other_manifest, other_image) = (format!("sha256:{}", "0".repeat(64)), "0".repeat(64));
    for operand in ["app:2", &other_manifest, &other_image] {
        let error = place.fails(1, &["oci", "digest", operand]);
        assert!(error.contains("composefs oci images") && error.contains(operand), "{error}");
    }
}

/// A digest leads to its own image also where cfsctl has written a tag that looks like one, and such a tag, which is no
/// new name, is listed, resolved and removed.
#[test]
fn a_digest_is_no_name_and_is_taken_where_names_are() {
    let place = Place::new();
    let pull = |layout: &str, name: &str| {
        let source = place.layout(layout);
        place.json(&["oci", "pull", &source, &format!("--name={name}"), "--json"])["manifest"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (three, basic) = (pull("three-layers", "three"), pull("basic", "basic"));
    let shown = |name: &str| place.json(&["oci", "inspect", name, "--json"])["manifest"].as_str().unwrap().to_owned();
    for refused in [three.as_str(), "oci:x", "repo:x", "docker://x", "/abs", "a/../b", "a/"] {
        let error = place.fails(2, &["oci", "tag", "basic", refused]);
        assert!(error.contains("choose another name"), "{error}");
        let error = place.fails(2, &["oci", "pull", &place.layout("basic"), &format!("--name={refused}")]);
        assert!(error.contains("choose another name"), "{error}");
    }
    assert_eq!(place.prints(&["oci", "images", "-q"]), "basic\nthree\n");
    assert_eq!(shown(&three), three);
    assert_eq!(place.prints(&["ls", &three]), place.prints(&["ls", "three"]));
    assert!(place.fails(1, &["untag", "three"]).contains("`composefs oci untag` removes it"));
    assert!(!place.fails(1, &["untag", "four"]).contains("oci untag"));
    assert!(place.prints(&["oci", "layers", &three]).contains("diff ID"));
    assert!(place.prints(&["oci", "verify", &three]).contains("are right"));
    let plan = place.run(&["oci", "mount", &three, place.path("mnt").to_str().unwrap(), "--dry-run"]);
    assert!(!plan.stderr.contains("no OCI image"), "{plan:?}");
    let archive = format!("oci-archive:{}", place.path("three.tar").display());
    assert_eq!(place.json(&["oci", "export", &three, &archive, "--json"])["manifest"].as_str(), Some(three.as_str()));
    let bundle = |name: &str| place.run(&["oci", "bundle", name, place.path("none/bundle").to_str().unwrap()]).stderr;
    let absent = format!("sha256:{}", "0".repeat(64));
    assert!(!bundle(&three).contains("no OCI image") && bundle(&absent).contains(&absent), "{}", bundle(&three));
    place.prints(&["oci", "tag", &three, "again"]);
    assert_eq!(shown("again"), three);
    // What cfsctl can have written.
    for tag in [&three, &absent] {
        let link = place.path("repo/streams/refs/oci").join(tag);
        std::os::unix::fs::symlink(format!("../../oci-manifest-{basic}"), link).unwrap();
    }
    assert_eq!((shown(&three), shown(&absent)), (three.clone(), basic));
    assert!(place.prints(&["oci", "images", "-q"]).contains(&three));
    place.prints(&["oci", "untag", &three]);
    place.prints(&["oci", "untag", &absent]);
    assert_eq!(place.prints(&["oci", "images", "-q"]), "again\nbasic\nthree\n");
    assert!(place.fails(1, &["oci", "inspect", &absent]).contains(&absent));
}

#[test]
fn sources_that_do_not_exist_are_refused() {
    let place = Place::new();
    let source = place.layout("three-layers");
    for operand in ["oci:none", "docker-archive:none", "dir:none", &format!("{source}:none")] {
        assert!(!place.fails(1, &["ls", operand]).is_empty());
        assert!(!place.fails(2, &["diff", operand, &source]).is_empty());
    }
    assert!(place.fails(1, &["ls", "dir:none"]).contains("skopeo copy"));
    assert!(place.fails(1, &["mount", &source, "."]).contains("composefs oci pull"));
    assert!(place.fails(2, &["explain-digest", &source, "--against", &source]).contains("composefs diff"));
    place.prints(&["ls", &source]);
    // With a path in front, and with --ref, it is no transport.
    assert!(place.fails(1, &["ls", "./oci:none"]).contains("Failed to open './oci:none'"));
    assert!(place.fails(1, &["ls", "--ref", "oci:none"]).contains("no ref"));
    assert_eq!(place.fails(1, &["ls", "three"]).matches("no ref or OCI image of that name").count(), 1);
}

/// An archive of docker gives its only name to the image, and each kind of archive names the transport of the other.
#[test]
fn a_docker_archive_names_its_image() {
    let place = Place::new();
    place.prints(&["oci", "pull", &place.layout("three-layers"), "--name=three"]);
    let at = |transport: &str, file: &str| format!("{transport}:{}", place.path(file).display());
    place.prints(&["oci", "export", "three", &format!("{}:example/app:1", at("docker-archive", "docker.tar"))]);
    place.prints(&["oci", "export", "three", &format!("{}:app", at("oci-archive", "oci.tar"))]);
    // The short form of a name that skopeo writes whole, and none of another one.
    place.prints(&[
        "oci",
        "export",
        "three",
        &format!("{}:docker.io/library/app:1", at("docker-archive", "short.tar")),
    ]);
    place.prints(&["ls", &format!("{}:app:1", at("docker-archive", "short.tar"))]);
    assert!(place.fails(1, &["ls", &format!("{}:app:2", at("docker-archive", "short.tar"))]).contains("no image is"));
    for (suffix, tags) in [("", "example/app:1\nthree\n"), (":@0", "three\n")] {
        let source = format!("{}{suffix}", at("docker-archive", "docker.tar"));
        if suffix.is_empty() {
            place.prints(&["oci", "pull", &source]);
            assert_eq!(place.prints(&["oci", "images", "-q"]), tags);
            place.prints(&["oci", "untag", "example/app:1"]);
        } else {
            assert_eq!(place.json(&["oci", "pull", &source, "--json"])["name"], "example/app:1");
        }
    }
    for (wrong, right, file) in
        [("oci-archive", "docker-archive", "docker.tar"), ("docker-archive", "oci-archive", "oci.tar")]
    {
        let error = place.fails(1, &["oci", "pull", &at(wrong, file), "--name=x"]);
        assert!(error.contains(&at(right, file)), "{error}");
    }
    std::fs::create_dir(place.path("empty")).unwrap();
    let error = place.fails(1, &["oci", "pull", &at("oci", "empty"), "--name=x"]);
    assert!(error.contains("empty has no file index.json"), "{error}");
}

/// The store of podman is where storage.conf says.
#[test]
fn storage_conf_names_the_store() {
    let place = Place::new();
    let (conf, store) = (place.path("storage.conf"), place.path("no-store"));
    std::fs::write(&conf, format!("[storage]\ndriver = \"overlay\"\ngraphroot = {:?}\n", store)).unwrap();
    let pull = |source: &str| {
        let mut command = std::process::Command::new(COMPOSEFS);
        let repo = place.path("repo");
        command.arg("--repo").arg(repo).args(["oci", "pull", source]).env("CONTAINERS_STORAGE_CONF", &conf);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let error = pull("containers-storage:debian:1");
    assert!(error.contains(store.to_str().unwrap()), "{error}");
    for source in ["containers-storage:", "containers-storage:[/srv", "containers-storage:[/srv]"] {
        let error = pull(source);
        assert!(error.contains("names no image"), "{error}");
    }
}

/// Options of podman that `oci run` does not have lead to the way round.
#[test]
fn options_of_containers_name_the_way_round() {
    let place = Place::new();
    for (words, expected) in [
        (&["--user=1000", "debian"][..], "User of the image"),
        (&["-u", "1000", "debian"], "User of the image"),
        (&["--user", "1000", "debian"], "User of the image"),
        (&["--entrypoint=/bin/sh", "debian"], "Entrypoint of the image"),
        (&["-w", "/srv", "debian"], "WorkingDir of the image"),
        (&["debian", "ls"], "'-- ls'"),
    ] {
        let error = place.fails(2, &[&["oci", "run"], words].concat());
        assert!(error.contains(expected), "{error}");
    }
    // Elsewhere the tip would be wrong.
    assert!(!place.fails(2, &["images", "--user=1000"]).contains("config.json"));
}

/// The way round that a refusal names is a command that skopeo understands, and leads to the same image.
#[test]
fn transports_that_are_not_read_name_the_way_round() {
    let test = "transports_that_are_not_read_name_the_way_round";
    let place = Place::new();
    let pull = |source: &str| place.fails(1, &["oci", "pull", source, "--name=x"]);
    let daemon = pull("docker-daemon:app:1");
    assert!(daemon.contains("skopeo copy docker-daemon:app:1 docker-archive:FILE"), "{daemon}");
    let copy = place.path("copy");
    let copied = format!("dir:{}", copy.display());
    let refused = pull(&copied);
    let remedy = format!("skopeo copy {copied} oci:DIR:NAME");
    assert!(refused.contains(&remedy), "{refused}");
    // The repository has got nothing.
    assert_eq!(place.prints(&["oci", "images", "-q"]), "");

    let source = place.layout("three-layers");
    let around = format!("oci:{}:app", place.path("around").display());
    for (from, to) in [(&source, &copied), (&copied, &around)] {
        let mut skopeo = std::process::Command::new("skopeo");
        match skopeo.args(["--insecure-policy", "copy", "--quiet", from, to]).status() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return libcomposefs_testkit::skip::announce(test, "skopeo is not installed");
            }
            status => assert!(status.unwrap().success(), "skopeo copy {from} {to}"),
        }
    }
    let digest = |source: &str| place.prints(&["oci", "digest", source]);
    assert_eq!(digest(&around), digest(&source));
    place.prints(&["oci", "pull", &around, "--name=x"]);
}

#[test]
fn a_name_of_both_kinds_needs_an_option() {
    let place = Place::new();
    let source = place.layout("three-layers");
    place.prints(&["oci", "pull", &source, "--name=both"]);
    place.prints(&["oci", "tag", "both", "example/app:1"]);
    let tree = place.path("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("only-here"), "").unwrap();
    let digest = place.prints(&["create", tree.to_str().unwrap(), "--name=both"]);
    place.prints(&["tag", digest.trim(), "one"]);

    for command in ["ls", "check", "du", "find", "stat"] {
        let error = place.fails(if command == "check" { 2 } else { 1 }, &[command, "both"]);
        assert!(error.contains("both is a ref and an OCI image of") && error.contains("--oci"), "{error}");
    }
    assert!(place.fails(1, &["tag", "both", "new"]).contains("--ref takes the ref"));
    assert!(place.fails(1, &["mount", "both", ".", "--dry-run"]).contains("--ref takes the ref"));
    assert!(place.fails(1, &["export", "both", "--output=bundle"]).contains("--ref takes the ref"));
    assert_eq!(place.prints(&["ls", "both", "--ref"]), "only-here\n");
    assert_eq!(place.prints(&["ls", "both", "--oci"]), "etc\nusr\nvar\n");
    assert_eq!(place.prints(&["ls", "one"]), "only-here\n");
    assert_eq!(place.prints(&["ls", "example/app:1"]), "etc\nusr\nvar\n");
    assert!(place.fails(1, &["ls", "one", "--oci"]).contains("no OCI image is called \"one\""));
    assert!(place.fails(1, &["ls", "example/app:1", "--ref"]).contains("no ref"));
    place.fails(2, &["ls", "both", "--ref", "--oci"]);

    place.prints(&["tag", "--oci", "both", "new"]);
    assert_eq!(place.prints(&["ls", "new"]), "etc\nusr\nvar\n");
    place.prints(&["mount", "example/app:1", ".", "--dry-run"]);

    let oci = recorded("three-layers", "sha256", "1");
    let images = place.prints(&["images"]);
    let rows: Vec<Vec<&str>> = images.lines().map(|line| line.split_whitespace().collect()).collect();
    let row = |kind: &str, image: &str| {
        let row = rows.iter().find(|row| row[0] == image && row[2] == kind);
        row.unwrap_or_else(|| panic!("{images}"))[3..].join(" ")
    };
    assert_eq!(row("oci", &oci), "both example/app:1");
    assert_eq!(row("ref", &oci), "new");
    assert_eq!(row("ref", digest.trim()), "both one");
    let list = place.json(&["images", "--json"]);
    let found = list["images"].as_array().unwrap().iter().find(|image| image["digest"] == oci.as_str()).unwrap();
    assert_eq!(
        (&found["refs"], &found["oci"]),
        (&serde_json::json!(["new"]), &serde_json::json!(["both", "example/app:1"]))
    );
}

/// Every digest that cfsctl has given to these layouts is found in one command: with their attributes, links, times and
/// whiteouts, for bootable images too.
#[test]
fn digests_of_other_programs_are_explained() {
    let place = Place::new();
    let layouts = ["xattr-acl", "opaque-last", "boot-nanoseconds", "hardlink-cross-layer", "modes"];
    let mut count = 0;
    for layout in layouts {
        let source = place.layout(layout);
        place.prints(&["oci", "pull", &source, &format!("--name={layout}")]);
        for row in oci::recorded().into_iter().filter(|row| row.layout == layout) {
            let Some(digest) = &row.digest else { continue };
            let names = if row.xattrs == "keep-user-xattrs" { vec![&*source] } else { vec![&*source, layout] };
            for image in names {
                let report = place.json(&["explain-digest", image, "--want", digest, "--json"]);
                let found = report["found"].as_array().unwrap();
                assert_eq!(found.len(), 1, "{row:?}: {report}");
                count += 1;
                // The line for the layers gives the digest again.
                let commands = found[0]["commands"].as_array().unwrap();
                let mut line = commands.iter().filter_map(|command| command["line"].as_str());
                let line = line.find(|line| line.contains("oci digest"));
                let Some(line) = line else { panic!("{row:?}: {report}") };
                let words: Vec<&str> = line.split(' ').skip(1).collect();
                assert_eq!(place.prints(&words).trim(), digest, "{line}");
            }
        }
    }
    assert!(count > 40, "{count}");
}

/// The bootable images, labels by the policy in the layers included, of a layout and of a pulled image.
#[test]
fn bootable_digests_are_those_of_cfsctl() {
    let place = Place::new();
    let mut count = 0;
    for row in oci::recorded().into_iter().filter(|row| row.is_bootable) {
        let Some(expected) = &row.digest else { continue };
        let source = place.layout(&row.layout);
        place.prints(&["oci", "pull", &source, &format!("--name={}", row.layout)]);
        for image in [&*source, &*row.layout] {
            let options = [
                "--bootable".to_owned(),
                format!("--algorithm={}", row.algorithm),
                format!("--version={}", row.version),
                format!("--xattrs={}", row.xattrs),
            ];
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            let digest = place.prints(&[&["oci", "digest", image], &*options].concat());
            assert_eq!(digest.trim(), expected, "{row:?} {image}");
            let digest = place.prints(&[&["digest", image], &*options].concat());
            assert_eq!(digest, format!("{expected}  {image}\n"), "{row:?}");
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
    let source = place.layout("three-layers");
    let error = place.fails(1, &["oci", "digest", "--bootable", &source]);
    assert!(error.contains("no directory /boot"), "{error}");
}

#[test]
fn the_rule_for_whiteouts_is_found() {
    let place = Place::new();
    let source = place.layout("opaque-last");
    let ours = place.prints(&["oci", "digest", &source, "--whiteouts=spec"]);
    assert_ne!(ours.trim(), recorded("opaque-last", "sha512", "1"));
    let report = place.json(&["explain-digest", &source, "--want", ours.trim(), "--json"]);
    assert_eq!(report["found"][0]["whiteouts"], "spec");
    let text = place.prints(&["explain-digest", &source, "--want", ours.trim()]);
    assert!(text.contains("--whiteouts=spec") && text.contains("whiteouts hide lower layers only"), "{text}");
    let list = place.json(&["explain-digest", &source, "--list", "--json"]);
    let has = |rule| list["digests"].as_array().unwrap().iter().any(|row| row["whiteouts"] == rule);
    assert!(has("spec") && has("in-order"));
    // The layers of another image have no such choice.
    let list = place.json(&["explain-digest", &place.layout("basic"), "--list", "--json"]);
    assert!(list["digests"][0].get("whiteouts").is_none());
}

#[test]
fn differences_from_an_image_of_the_repository_are_printed() {
    let place = Place::new();
    let (wanted, other) = (place.layout("three-layers"), place.layout("basic"));
    place.prints(&["oci", "pull", &wanted, "--name=three"]);
    let digest = recorded("three-layers", "sha256", "1");
    let outcome = place.run(&["explain-digest", &other, "--want", &digest]);
    let text = String::from_utf8(outcome.stdout).unwrap();
    assert_eq!(outcome.status, Some(1), "{text}");
    assert!(text.contains("This comes closest:") && text.contains("/etc/hostname"), "{text}");
    // Without that image there is nothing to compare with.
    let unknown = recorded("three-layers", "sha512", "1");
    let outcome = place.run(&["explain-digest", &other, "--want", &unknown]);
    let text = String::from_utf8(outcome.stdout).unwrap();
    assert_eq!(outcome.status, Some(1), "{text}");
    assert!(text.contains("use --against=FILE") && !text.contains("comes closest"), "{text}");
}
