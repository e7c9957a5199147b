//! `composefs derive` and `composefs prove`: images from images, without contents.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use libcomposefs_testkit::program::{Outcome, Program};
use libcomposefs_testkit::scratch::ScratchRepository;
use libcomposefs_testkit::skip;
use serde_json::Value;

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

/// Runs the program without a repository.
fn composefs(arguments: &[&str]) -> Outcome {
    Program { path: Path::new(COMPOSEFS), name: "composefs" }.run(arguments, b"")
}

/// A repository with a base, a layer and an extension, which have contents of their own.
struct Place(ScratchRepository);

impl Place {
    fn new() -> Self {
        let place = Self(ScratchRepository::new(COMPOSEFS));
        place
            .create("base", &[("etc/os-release", "ID=debian\nVERSION_ID=13\n"), ("usr/bin/tool", "a"), ("etc/x", "b")]);
        place.create("layer", &[("usr/bin/tool", "c"), ("etc/new", "d")]);
        let release = "usr/lib/extension-release.d/extension-release.more";
        place.create("more", &[(release, "ID=debian\nVERSION_ID=13\n"), ("usr/bin/more", "e"), ("etc/not", "f")]);
        place
    }

    /// Makes an image of files whose contents are objects.
    fn create(&self, name: &str, files: &[(&str, &str)]) -> String {
        let tree = self.0.path(&format!("tree-{name}"));
        let _ = fs::remove_dir_all(&tree);
        for (path, content) in files {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let is_release = path.to_string_lossy().contains("release");
            fs::write(&path, if is_release { (*content).to_owned() } else { content.repeat(5000) }).unwrap();
        }
        fs::set_permissions(&tree, fs::Permissions::from_mode(0o755)).unwrap();
        self.ok(&["create", tree.to_str().unwrap(), "--name", name])
    }

    fn ok(&self, arguments: &[&str]) -> String {
        self.0.prints(arguments).trim_end().to_owned()
    }

    fn find(&self, image: &str) -> Vec<String> {
        self.ok(&["find", image, "/"]).lines().map(str::to_owned).collect()
    }

    fn stat(&self, image: &str, path: &str) -> Value {
        let stat: Value = serde_json::from_str(&self.ok(&["stat", "--json", image, path])).unwrap();
        stat[0].clone()
    }

    fn path(&self, name: &str) -> String {
        self.0.path(name).to_str().unwrap().to_owned()
    }

    /// Copies the image of a name to a file.
    fn image_file(&self, name: &str) -> String {
        let file = self.path(&format!("{name}.img"));
        fs::copy(self.path(&format!("repo/images/refs/{name}")), &file).unwrap();
        file
    }

    /// Removes all objects that are not images.
    fn remove_contents(&self) {
        let images = self.ok(&["images", "--json"]);
        for directory in fs::read_dir(self.path("repo/objects")).unwrap() {
            let directory = directory.unwrap().path();
            for object in fs::read_dir(&directory).unwrap() {
                let object = object.unwrap();
                let digest = directory.file_name().unwrap().to_str().unwrap().to_owned();
                if !images.contains(&(digest + object.file_name().to_str().unwrap())) {
                    fs::remove_file(object.path()).unwrap();
                }
            }
        }
    }
}

#[test]
fn a_derived_image_is_published_and_proved() {
    let place = Place::new();
    let recipe = place.path("recipe.json");
    let write = format!("--write-recipe={recipe}");
    let line = ["derive", "base", "+layer", "--without=/etc/x", "--shift-uids=1000", "--name=derived", &write];
    let digest = place.ok(&line);
    let expected = ["/", "/etc", "/etc/new", "/etc/os-release", "/usr", "/usr/bin", "/usr/bin/tool"];
    assert_eq!(place.find("derived"), expected);
    let content = place.ok(&["cat", "derived", "/usr/bin/tool"]);
    assert_eq!(content, "c".repeat(5000));
    let own = place.stat("layer", "/etc/new")["uid"].as_u64().unwrap();
    assert_eq!(place.stat("derived", "/etc/new")["uid"], own + 1000);
    assert!(place.ok(&["prove", "derived", "--recipe", &recipe]).contains(&format!("{digest} is proved: 2 bases, 2 ")));
    assert_eq!(place.ok(&["derive", "--recipe", &recipe, "--print-digest"]), digest);
    // The bases may go: the objects of the result stay.
    for name in ["base", "layer", "more"] {
        place.ok(&["untag", name]);
    }
    place.ok(&["gc", "--grace=0s"]);
    assert_eq!(place.ok(&["cat", "derived", "/usr/bin/tool"]), content);
    place.ok(&["fsck"]);
}

#[test]
fn no_content_is_needed() {
    let place = Place::new();
    let recipe = place.path("recipe.json");
    let write = format!("--write-recipe={recipe}");
    let digest = place.ok(&["derive", "base", "+layer", "--chown=1:2:/usr", "--name=derived", &write]);
    let [base, layer, derived] = ["base", "layer", "derived"].map(|name| place.image_file(name));
    place.remove_contents();
    place.0.fails(1, &["cat", "derived", "/usr/bin/tool"]);
    assert_eq!(place.ok(&["derive", "base", "+layer", "--chown=1:2:/usr", "--print-digest"]), digest);
    place.ok(&["prove", "derived", "--recipe", &recipe]);
    // An image without its objects is not published.
    let message = place.0.fails(1, &["derive", "base", "--chown=3:3:/usr", "--name=other"]);
    assert!(message.contains("were removed"), "{message}");
    // Without any repository.
    let bases = [format!("--base={base}"), format!("--base={layer}")];
    for claimed in [&digest, &derived] {
        let ran = composefs(&["prove", claimed, "--recipe", &recipe, &bases[1], &bases[0]]);
        assert_eq!(ran.status, Some(0), "{ran:?}");
    }
    let ran = composefs(&["derive", "--recipe", &recipe, &layer, &base, "--print-digest"]);
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim_end(), digest, "{ran:?}");
}

#[test]
fn a_wrong_claim_is_answered_with_the_first_difference() {
    let place = Place::new();
    let recipe = place.path("recipe.json");
    let write = format!("--write-recipe={recipe}");
    let expected = place.ok(&["derive", "base", "--chown=7:7:/etc", "--name=right", &write]);
    place.ok(&["derive", "base", "--chown=7:7:/etc", "--chown=7:8:/etc/x", "--name=wrong"]);
    let answer = place.0.prints_with(1, &["prove", "wrong", "--recipe", &recipe]);
    assert!(answer.contains(&format!("is not proved: the recipe makes {expected}")), "{answer}");
    assert!(answer.contains("\n/etc/x: gid 7 -> 8 (recipe -> image)\n"), "{answer}");
    let json = place.0.prints_with(1, &["prove", "wrong", "--recipe", &recipe, "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["proved"], &json["path"], &json["computed"]),
        (&false.into(), &"/etc/x".into(), &expected.into())
    );
    place.ok(&["derive", "base", "--without=/etc/x", "--name=less"]);
    assert!(place.0.prints_with(1, &["prove", "less", "--recipe", &recipe]).contains("/etc: uid 7 -> "));
    place.ok(&["derive", "base", "--chown=7:7:/etc", "--format=0", "--name=other-format"]);
    let answer = place.0.prints_with(1, &["prove", "other-format", "--recipe", &recipe]);
    assert!(answer.contains("the trees are equal; the format is 0, and that of the recipe 1"), "{answer}");
    let unknown = "0".repeat(64);
    let answer = place.0.prints_with(1, &["prove", &unknown, "--recipe", &recipe]);
    assert!(answer.contains("the image itself is not here"), "{answer}");
    // Errors have their own status.
    place.0.fails(2, &["prove", "none", "--recipe", &recipe]);
    let message = place.0.fails(2, &["prove", "right", "--recipe", &recipe, "--base=layer"]);
    assert!(message.contains("which is not that of a base of the recipe"), "{message}");
    place.ok(&["prove", "right", "--recipe", &recipe, "--base=base"]);
}

#[test]
fn only_canonical_recipes_are_read() {
    let place = Place::new();
    let recipe = place.path("recipe.json");
    let write = format!("--write-recipe={recipe}");
    place.ok(&["derive", "base", "--print-digest", &write]);
    let text = fs::read_to_string(&recipe).unwrap();
    for (from, to, expected) in [
        ("\"steps\":", "\"steps\": ", "not a canonical recipe: byte"),
        ("\"steps\":[]", "\"steps\":[{\"step\":\"run\"}]", "unknown variant `run`"),
        ("\"version\":1", "\"version\":9", "a recipe of version 9"),
    ] {
        fs::write(&recipe, text.replace(from, to)).unwrap();
        let message = place.0.fails(1, &["derive", "--recipe", &recipe, "--print-digest"]);
        assert!(message.contains(expected), "{message}");
        place.0.fails(2, &["prove", "base", "--recipe", &recipe]);
    }
    fs::write(&recipe, &text).unwrap();
    place.ok(&["prove", "base", "--recipe", &recipe]);
    let missing = text.replacen("\"digest\":\"", "\"digest\":\"00", 1);
    let end = missing.find("\",\"kind\"").unwrap();
    fs::write(&recipe, [&missing[..end - 2], &missing[end..]].concat()).unwrap();
    let message = place.0.fails(1, &["derive", "--recipe", &recipe, "--print-digest"]);
    assert!(message.contains("cannot read the base 00"), "{message}");
}

#[test]
fn steps_are_made_in_the_order_of_the_line() {
    let place = Place::new();
    place.ok(&["derive", "base", "--chown=5:5:/", "--shift-uids=10", "--name=one"]);
    place.ok(&["derive", "base", "--shift-uids=10", "--chown=5:5:/", "--name=two"]);
    assert_eq!([&place.stat("one", "/etc")["uid"], &place.stat("two", "/etc")["uid"]], [15, 5]);
    let early = ["derive", "base", "--clamp-mtime=2001-02-03", "--xattrs=none", "--set-label=a:b:c:s0:/etc"];
    place.ok(&[&early[..], &["--name=three"]].concat());
    let etc = place.stat("three", "/etc");
    assert!(etc.to_string().contains("2001-02-03T00:00:00"), "{etc}");
    assert!(etc.to_string().contains("security.selinux"), "{etc}");
    assert!(!place.stat("three", "/usr").to_string().contains("security.selinux"));
    let line = ["derive", "base", "--map-uids=0:0:1", "--chown=70:70:/etc", "--map-uids=0:5:1", "--print-digest"];
    let message = place.0.fails(1, &[&line[..], &["--chown=0:0:/"]].concat());
    assert!(message.contains("is in no range of the map"), "{message}");
}

#[test]
fn extensions_are_merged_by_their_own_rules() {
    let place = Place::new();
    let json: Value = serde_json::from_str(&place.ok(&["derive", "base", "+more", "--name=merged", "--json"])).unwrap();
    assert_eq!((&json["bases"][0]["kind"], &json["bases"][1]["kind"]), (&"layer".into(), &"sysext".into()));
    let found = place.find("merged");
    assert!(found.contains(&"/usr/bin/more".to_owned()) && !found.contains(&"/etc/not".to_owned()), "{found:?}");
    // As a base it is an image like any other.
    assert!(place.find(&place.ok(&["derive", "more", "+layer"])).contains(&"/etc/not".to_owned()));
    let release = "usr/lib/extension-release.d/extension-release.more";
    place.create("more", &[(release, "ID=debian\nVERSION_ID=12\n"), ("usr/bin/more", "e")]);
    let message = place.0.fails(1, &["derive", "base", "+more"]);
    assert!(message.contains("cannot merge more: ") && message.contains("for VERSION_ID=12"), "{message}");
    place.create("more", &[(release, "ID=_any\n"), ("usr/bin/more", "e")]);
    place.ok(&["derive", "base", "+more"]);
    // The system's file may be an object; it is then read, and compared with its digest.
    place.create("more", &[(release, "ID=other\n")]);
    let message = place.0.fails(1, &["derive", "layer", "+more"]);
    assert!(message.contains("neither /etc/os-release nor"), "{message}");
}

#[test]
fn configuration_extensions_are_merged_in_etc() {
    let place = Place::new();
    let [system, config] = ["usr/lib/extension-release.d", "etc/extension-release.d"];
    let release = |directory: &str, name: &str| format!("{directory}/extension-release.{name}");
    place.create("conf", &[(&release(config, "conf"), "ID=debian\nVERSION_ID=13\n"), ("etc/x", "g"), ("usr/not", "h")]);
    let both = [release(system, "both"), release(config, "both")];
    let files = [(&*both[0], "ID=_any\n"), (&*both[1], "ID=_any\n"), ("opt/o", "i"), ("etc/e", "j"), ("var/not", "k")];
    place.create("both", &files);
    let recipe = place.path("recipe.json");
    let write = format!("--write-recipe={recipe}");
    let line = ["derive", "base", "+conf", "+more", "+both", "+layer", "--name=merged", "--json", &write];
    let json: Value = serde_json::from_str(&place.ok(&line)).unwrap();
    let kinds: Vec<_> = json["bases"].as_array().unwrap().iter().map(|base| base["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["layer", "confext", "sysext", "sysext+confext", "layer"]);
    let found = place.find("merged");
    for path in ["/etc/x", "/etc/e", "/opt/o", "/usr/bin/more", "/etc/new", "/etc/os-release"] {
        assert!(found.iter().any(|name| name == path), "{path}: {found:?}");
    }
    assert!(!found.iter().any(|name| name.ends_with("not")), "{found:?}");
    assert_eq!(place.ok(&["cat", "merged", "/etc/x"]), "g".repeat(5000));
    place.ok(&["prove", "merged", "--recipe", &recipe]);
    // Each release file of an image with both kinds must fit.
    let files = [(&*both[0], "ID=_any\n"), (&*both[1], "ID=other\n")];
    place.create("both", &files);
    let message = place.0.fails(1, &["derive", "base", "+both"]);
    assert!(message.contains(&format!("/{}", both[1])) && message.contains("ID=other"), "{message}");
}

/// Returns the objects that are no images, with what of them changes if one is read or written.
fn contents(place: &Place) -> Vec<(std::path::PathBuf, [i64; 5])> {
    use std::os::unix::fs::MetadataExt as _;
    let images = place.ok(&["images", "--json"]);
    let mut all = Vec::new();
    for directory in fs::read_dir(place.path("repo/objects")).unwrap() {
        for object in fs::read_dir(directory.unwrap().path()).unwrap() {
            let path = object.unwrap().path();
            let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
            let hex = name(path.parent().unwrap()) + &name(&path);
            if !images.contains(&hex) {
                let stat = path.metadata().unwrap();
                let times = [stat.atime(), stat.atime_nsec(), stat.mtime(), stat.ctime(), stat.ctime_nsec()];
                all.push((path, times));
            }
        }
    }
    all.sort();
    all
}

#[test]
fn contents_are_neither_read_nor_written() {
    let place = Place::new();
    // Under relatime, a file whose last access is before its last change gets a new time when it is read.
    for (path, _) in contents(&place) {
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        let times = fs::FileTimes::new().set_accessed(old).set_modified(old + std::time::Duration::from_secs(1));
        fs::File::options().write(true).open(path).unwrap().set_times(times).unwrap();
    }
    let before = contents(&place);
    assert!(before.len() >= 6, "{before:?}");
    place.ok(&["derive", "base", "+layer", "--shift-uids=7", "--without=/etc/x", "--name=derived"]);
    assert_eq!(contents(&place), before);
    place.ok(&["cat", "derived", "/usr/bin/tool"]);
    if contents(&place) == before {
        skip::announce("contents_are_neither_read_nor_written", "the file system keeps no times of access");
    }
}

#[test]
fn whiteouts_of_a_layer_are_made_effective() {
    let place = Place::new();
    let dump = place.path("upper.dump");
    fs::write(&dump, "/ 0 40755 2 0 0 0 1.0 - - -\n/etc 0 40755 2 0 0 0 1.0 - - -\n/etc/x 0 20000 1 0 0 0 1.0 - - -\n")
        .unwrap();
    place.ok(&["import", &dump, "--name=upper"]);
    place.ok(&["derive", "base", "+upper", "--name=derived"]);
    assert!(!place.find("derived").contains(&"/etc/x".to_owned()));
    place.stat("derived", "/etc/os-release");
}

#[test]
fn refusals_name_a_remedy() {
    let place = Place::new();
    let base = place.image_file("base");
    for (line, expected) in [
        (vec!["derive", "base", "layer"], "layer is no layer: images after the first have a +"),
        (vec!["derive", "base", "--without=/none"], "step 1: the tree has no /none"),
        (vec!["derive", "base", "--algorithm=sha512", "--print-digest"], "use --algorithm=sha256"),
        (vec!["derive", "docker://localhost:1/x"], "pull it first: composefs oci pull"),
        (vec!["derive", "none"], "no ref or OCI image of that name"),
        (vec!["derive", "base", "--shift-uids=4294967295"], "is not an ID"),
        (vec!["derive", "base", "--map-uids=0:0:2", "--map-uids=1:5:1"], "ID 1 is in two ranges"),
    ] {
        let message = place.0.fails(1, &line);
        assert!(message.contains(expected), "{line:?}: {message}");
    }
    for line in [
        vec!["derive"],
        vec!["derive", "base", "--without="],
        vec!["derive", "base", "--format=3"],
        vec!["derive", "--recipe=r", "--without=/x"],
        vec!["derive", "base", "--print-digest", "--name=x"],
        vec!["prove", "base"],
    ] {
        place.0.fails(2, &line);
    }
    // Images of two formats need an answer.
    let old = place.ok(&["derive", "base", "--format=0", "--name=old"]);
    let message = place.0.fails(1, &["derive", "old", "+layer"]);
    assert!(message.contains("old has 0, layer has 1") && message.contains("--format=0"), "{message}");
    place.ok(&["derive", "old", "+layer", "--format=0"]);
    assert_eq!(place.ok(&["derive", "base", "--format=0", "--print-digest"]), old);
    // So do images whose contents have digests of two algorithms; what an option chooses, one base does not have.
    let (repo, tree) = (format!("--repo={}", place.path("strong")), place.path("tree-layer"));
    let _ = composefs(&[&repo, "init", "--insecure", "--format=1", "--algorithm=sha512"]).ok();
    let _ = composefs(&[&repo, "create", &tree, "--name=strong"]).ok();
    let strong = place.path("strong/images/refs/strong");
    let message = place.0.fails(1, &["derive", "base", &format!("+{strong}"), "--print-digest"]);
    assert!(message.contains("differ in their algorithm") && message.contains("--algorithm=sha256"), "{message}");
    let message = place.0.fails(1, &["derive", "base", &format!("+{strong}"), "--algorithm=sha512", "--print-digest"]);
    assert!(message.contains("use --algorithm=sha256"), "{message}");
    place.ok(&["derive", "base", "+layer", "--algorithm=sha256", "--print-digest"]);
    // A file is a base if the repository has its objects.
    place.ok(&["derive", &base, "--shift-uids=1", "--name=of-file"]);
    let other = ScratchRepository::new(COMPOSEFS);
    let message = other.fails(1, &["derive", &base, "--name=x"]);
    assert!(message.contains("cannot publish") && message.contains("composefs import"), "{message}");
    // Results of another algorithm than the repository's are not stored, but computed.
    symlink("nowhere", place.path("tree-base/link")).unwrap();
    let tree = place.path("tree-base/link");
    fs::remove_dir_all(place.path("tree-base/usr")).unwrap();
    fs::remove_dir_all(place.path("tree-base/etc")).unwrap();
    assert!(fs::symlink_metadata(&tree).is_ok());
    place.ok(&["create", &place.path("tree-base"), "--name=plain"]);
    let digest = place.ok(&["derive", "plain", "--algorithm=sha512", "--print-digest"]);
    assert_eq!(digest.len(), 128);
    let message = place.0.fails(1, &["derive", "plain", "--algorithm=sha512", "--name=x"]);
    assert!(message.contains("the result has sha512 digests"), "{message}");
}
