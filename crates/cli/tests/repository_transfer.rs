//! Transfers between repositories, imports of images, dumps and bundles, and the output of `df` and `why`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use libcomposefs_testkit::program::{Outcome, Program};
use libcomposefs_testkit::{privilege, skip, stats};

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

fn program(name: &str, arguments: &[&str], input: &[u8]) -> Outcome {
    Program { path: Path::new(COMPOSEFS), name }.run(arguments, input)
}

fn composefs(arguments: &[&str]) -> Outcome {
    program("composefs", arguments, b"")
}

#[track_caller]
fn line(arguments: &[&str]) -> String {
    composefs(arguments).ok().line().to_owned()
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        place.tree("tree", 0, 20);
        place
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Creates files `from..to`, each with its own content; one is large.
    fn tree(&self, name: &str, from: u32, to: u32) -> String {
        let tree = self.path(name);
        fs::create_dir_all(&tree).unwrap();
        for file in from..to {
            let len = if file % 16 == 3 { 1_500_000 } else { 100 + file * 900 };
            let bytes: Vec<u8> = (0..len).map(|i| (i.wrapping_mul(file * 2 + 7) >> 3) as u8 ^ file as u8).collect();
            fs::write(format!("{tree}/{file}"), bytes).unwrap();
        }
        tree
    }

    fn repository(&self, name: &str) -> String {
        let repo = self.path(name);
        let _ = line(&["init", "--insecure", &repo]);
        repo
    }

    /// Creates an image with a store by `mkcomposefs`.
    fn image(&self, options: &[&str]) -> (String, String, String) {
        let (image, store) = (self.path("image"), self.path("store"));
        let store_option = format!("--digest-store={store}");
        let tree = self.path("tree");
        let arguments = [options, &["--print-digest", &store_option, &tree, &image]].concat();
        let digest = program("mkcomposefs", &arguments, b"").ok().line().to_owned();
        (image, store, digest)
    }
}

/// Returns every path below a repository except leases and empty directories.
fn all_of(repo: &str) -> BTreeSet<PathBuf> {
    let (mut found, mut waiting) = (BTreeSet::new(), vec![PathBuf::from(repo)]);
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                waiting.push(path);
            } else if !path.ends_with("leases/gc.lock") {
                found.insert(path.strip_prefix(repo).unwrap().to_owned());
            }
        }
    }
    found
}

/// Our own commands follow a symlink operand, like `ls dir/`; `mkcomposefs` rejects it, as the C tool does.
#[test]
fn an_operand_may_be_a_symlink_to_a_directory() {
    let place = Place::new();
    let linked = |name: &str| {
        let link = place.path(&format!("to-{name}"));
        std::os::unix::fs::symlink(name, &link).unwrap();
        link
    };
    // Symlinks below it are stored as symlinks.
    std::os::unix::fs::symlink("1", place.path("tree/link")).unwrap();
    let (tree, repo) = (linked("tree"), place.repository("repo"));
    let digest = line(&["--repo", &repo, "create", &place.path("tree"), "--name", "it"]);
    assert_eq!(line(&["--repo", &linked("repo"), "create", &tree]), digest);
    assert_eq!(composefs(&["diff", &tree, &place.path("tree")]).ok().line(), "");
    let _ = composefs(&["explain-digest", &tree, "--want", &digest]).ok();
    let (image, _, _) = place.image(&[]);
    let store = linked("store");
    let _ = composefs(&["check", &image, "--basedir", &store]).ok();
    let other = place.repository("other");
    assert_eq!(line(&["--repo", &other, "import", &image, "--basedir", &store]), digest);
    let third = place.repository("third");
    let _ = composefs(&["--repo", &third, "sync", &place.path("to-repo"), "it"]).ok();
    fs::create_dir(place.path("out")).unwrap();
    let _ = composefs(&["extract", &image, &linked("out"), "--basedir", &store]).ok();
    assert_eq!(composefs(&["diff", &place.path("out"), &tree]).ok().line(), "");
    // Repair of a lost object.
    let lost = all_of(&format!("{third}/objects")).into_iter().next().unwrap();
    fs::remove_file(format!("{third}/objects/{}", lost.display())).unwrap();
    assert_eq!(composefs(&["--repo", &third, "fsck"]).status, Some(1));
    let _ = composefs(&["--repo", &third, "fsck", "--repair", "--from", &tree, "--from", &place.path("to-repo")]).ok();

    let refused = program("mkcomposefs", &["--print-digest-only", &tree], b"");
    assert_eq!(refused.status, Some(1));
    // A symlink to a file and a dangling one are not directories.
    std::os::unix::fs::symlink("image", place.path("to-image")).unwrap();
    std::os::unix::fs::symlink("nothing", place.path("to-nothing")).unwrap();
    for (name, reason) in [("to-image", "Not a directory"), ("to-nothing", "No such file or directory")] {
        let refused = composefs(&["--repo", &repo, "create", &place.path(name)]);
        assert_eq!(refused.status, Some(1));
        assert!(refused.stderr.contains(name) && refused.stderr.contains(reason), "{}", refused.stderr);
    }
}

#[test]
fn images_of_every_version_are_imported_unchanged() {
    for options in [&[][..], &["--min-version=1"], &["--use-epoch", "--skip-xattrs"]] {
        let place = Place::new();
        let repo = place.repository("repo");
        let (image, store, digest) = place.image(options);
        assert_eq!(line(&["--repo", &repo, "import", &image, "--basedir", &store, "--name", "a"]), digest);
        assert_eq!(fs::read(format!("{repo}/images/{digest}")).unwrap(), fs::read(&image).unwrap());
        let _ = line(&["--repo", &repo, "fsck"]);
        // Again without a basedir: all objects exist already.
        assert_eq!(line(&["--repo", &repo, "import", &image]), digest);
    }
}

#[test]
fn dumps_are_imported_in_the_format_of_the_repository() {
    let place = Place::new();
    let (image, store, digest) = place.image(&[]);
    let dump = program("composefs-info", &["dump", &image], b"").ok().stdout;
    let repo = place.repository("repo");
    let import = ["--repo", &repo, "import", "-", "--name", "b"];
    // Its contents are in no directory.
    let before = all_of(&repo);
    let refused = program("composefs", &import, &dump);
    assert_eq!(refused.status, Some(1));
    assert!(
        refused.stderr.contains("is not in the repository") && refused.stderr.contains("19 others"),
        "{}",
        refused.stderr
    );
    assert_eq!(all_of(&repo), before);
    let imported = program("composefs", &[&import[..], &["--basedir", &store]].concat(), &dump).ok();
    assert_eq!(imported.line(), digest);
    // An object whose content does not match its name.
    let other = place.repository("other");
    let object = fs::read_dir(format!("{store}/{}", &first_fan(&store))).unwrap().next().unwrap().unwrap().path();
    let mut content = fs::read(&object).unwrap();
    content[0] ^= 1;
    fs::remove_file(&object).unwrap();
    fs::write(&object, content).unwrap();
    let before = all_of(&other);
    let refused = program("composefs", &["--repo", &other, "import", "-", "--basedir", &store], &dump);
    assert_eq!(refused.status, Some(1));
    assert!(refused.stderr.contains("has the digest"), "{}", refused.stderr);
    assert_eq!(all_of(&other), before);
}

fn first_fan(store: &str) -> String {
    let mut fans: Vec<_> =
        fs::read_dir(store).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    fans.sort();
    fans.remove(0)
}

#[test]
fn images_with_unknown_bytes_are_not_imported() {
    let place = Place::new();
    let repo = place.repository("repo");
    let (image, store, digest) = place.image(&[]);
    let before = all_of(&repo);
    let import = |image: &str| composefs(&["--repo", &repo, "import", image, "--basedir", &store, "--name", "x"]);
    // A byte that does not affect mounts: the volume name of the superblock.
    let mut bytes = fs::read(&image).unwrap();
    bytes[1024 + 64] = b'x';
    let changed = place.path("changed");
    fs::write(&changed, &bytes).unwrap();
    let refused = import(&changed);
    assert_eq!(refused.status, Some(1));
    assert!(refused.stderr.contains(&digest), "{}", refused.stderr);
    assert_eq!(all_of(&repo), before);
    let rewritten = composefs(&["--repo", &repo, "import", &changed, "--basedir", &store, "--rewrite"]).ok();
    assert_eq!(rewritten.line(), digest);
    assert!(rewritten.stderr.contains("it differs when written again"), "{}", rewritten.stderr);
    // An image of another program, and a file that is not an image.
    let erofs = place.path("erofs");
    let before = all_of(&repo);
    if Command::new("mkfs.erofs")
        .args(["-q", &erofs, &place.path("tree")])
        .output()
        .is_ok_and(|out| out.status.success())
    {
        assert_eq!(import(&erofs).status, Some(1));
    }
    fs::write(place.path("text"), "nothing of the kind").unwrap();
    for none in ["text", "none", "tree"] {
        assert_eq!(import(&place.path(none)).status, Some(1), "{none}");
    }
    assert_eq!(all_of(&repo), before);
    // Contents whose paths are not their digests.
    let dump = format!("/ 0 40755 2 0 0 0 1.0 - - -\n/f 5000 100644 1 0 0 0 1.0 some/where - {}\n", "ab".repeat(32));
    let refused = program("composefs", &["--repo", &repo, "import", "-", "--basedir", &store], dump.as_bytes());
    assert_eq!(refused.status, Some(1));
    assert!(refused.stderr.contains("not an object named by its digest"), "{}", refused.stderr);
}

#[test]
fn bundles_contain_what_the_receiver_lacks() {
    let place = Place::new();
    let (repo, other) = (place.repository("repo"), place.repository("other"));
    let first = line(&["--repo", &repo, "create", &place.path("tree"), "--name", "v1"]);
    place.tree("tree", 20, 24);
    let second = line(&["--repo", &repo, "create", &place.path("tree"), "--name", "v2"]);
    let (full, update) = (place.path("full"), place.path("update"));
    let _ = line(&["--repo", &repo, "export", "v1", "--output", &full]);
    let json = line(&["--repo", &repo, "export", "v2", "--have", "v1", "--output", &update, "--json"]);
    assert!(json.contains("\"objects\": 4") && json.contains("\"left_out\": 20"), "{json}");

    // An incremental bundle alone is not enough, and leaves nothing behind.
    let before = all_of(&other);
    let refused = composefs(&["--repo", &other, "import", &update, "--refs"]);
    assert_eq!(refused.status, Some(1));
    assert!(refused.stderr.contains("which this repository lacks"), "{}", refused.stderr);
    assert_eq!(all_of(&other), before);

    assert_eq!(line(&["--repo", &other, "import", &full, "--refs"]), first);
    assert_eq!(line(&["--repo", &other, "import", &update, "--name", "new"]), second);
    let names = line(&["--repo", &other, "images", "--quiet"]);
    assert_eq!(names.lines().collect::<BTreeSet<_>>(), BTreeSet::from(["new", "v1"]));
    let _ = line(&["--repo", &other, "fsck"]);
    let best = place.path("best");
    let _ = line(&["--repo", &repo, "export", "v2", "--have", "v1", "--output", &best, "--effort=best"]);
    assert_eq!(line(&["--repo", &other, "import", &best]), second);
    // A list of objects gives the same objects, without the bases that make a bundle small.
    let (list, version) = (place.path("list"), "--bundle-version=1");
    let _ = line(&["--repo", &repo, "export", "v2", "--have", "v1", "--output", &update, version]);
    let third = place.repository("third");
    let _ = line(&["--repo", &third, "import", &full, "--refs"]);
    fs::write(&list, line(&["--repo", &third, "images", "--objects"])).unwrap();
    let again = place.path("again");
    let _ = line(&["--repo", &repo, "export", "v2", "--have-list", &list, "--output", &again, version]);
    assert_eq!(fs::read(&again).unwrap(), fs::read(&update).unwrap());
    // Through a pipe.
    let fourth = place.repository("fourth");
    let bundle = composefs(&["--repo", &repo, "export", "v1", "v2"]).ok().stdout;
    let both = program("composefs", &["--repo", &fourth, "import", "-", "--refs"], &bundle).ok();
    assert_eq!(both.line(), format!("{first}\n{second}"));
    // A bundle with the other algorithm.
    let sha512 = place.path("sha512");
    let _ = line(&["init", "--insecure", "--algorithm=sha512", &sha512]);
    let refused = composefs(&["--repo", &sha512, "import", &full]);
    assert!(refused.status == Some(1) && refused.stderr.contains("sha256"), "{}", refused.stderr);
}

/// A sample by the program; `crates/repo/tests/repository/damaged_bundle.rs` has every byte of the headers.
#[test]
fn a_damaged_bundle_leaves_nothing_behind() {
    let place = Place { dir: tempfile::tempdir().unwrap() };
    let tree = place.path("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(format!("{tree}/a"), [b'a'; 200]).unwrap();
    fs::write(format!("{tree}/b"), [b'b'; 300]).unwrap();
    let (repo, other) = (place.repository("repo"), place.repository("other"));
    let digest = line(&["--repo", &repo, "create", &tree, "--name", "image"]);
    for version in ["1", "2"] {
        let bundle = composefs(&["--repo", &repo, "export", "image", "--bundle-version", version]).ok().stdout;
        damage_leaves_nothing(&other, &bundle, &digest);
    }
}

#[track_caller]
fn damage_leaves_nothing(other: &str, bundle: &[u8], digest: &str) {
    let before = all_of(other);
    let import = |bytes: &[u8]| program("composefs", &["--repo", other, "import", "-", "--refs"], bytes);
    // The magic, the version, headers, contents, and the end.
    for at in [0, 20, 40, 100, bundle.len() / 2, bundle.len() - 20, bundle.len() - 1] {
        let mut changed = bundle.to_vec();
        changed[at] ^= 1;
        for bytes in [&bundle[..at], &changed] {
            let refused = import(bytes);
            assert!(refused.status == Some(1) && !refused.stderr.is_empty(), "{at}: {refused:?}");
            assert_eq!(all_of(other), before, "{at}");
        }
    }
    assert_eq!(import(bundle).ok().line(), digest);
    let _ = line(&["--repo", other, "untag", "image"]);
    let _ = line(&["--repo", other, "gc", "--grace=0"]);
}

/// A damaged object of the receiver gives wrong contents: the message names the object, and not the bundle.
#[test]
fn a_damaged_base_is_named() {
    let place = Place::new();
    let (repo, good, bad) = (place.repository("repo"), place.repository("good"), place.repository("bad"));
    let _ = line(&["--repo", &repo, "create", &place.path("tree"), "--name", "v1"]);
    let changed = format!("{}/13", place.path("tree"));
    let bytes = [b"changed", fs::read(&changed).unwrap().as_slice()].concat();
    fs::write(&changed, &bytes).unwrap();
    let second = line(&["--repo", &repo, "create", &place.path("tree"), "--name", "v2"]);
    let (full, update) = (place.path("full"), place.path("update"));
    for arguments in [&["v1", "--output", &full][..], &["v2", "--have", "v1", "--output", &update]] {
        let _ = line(&[&["--repo", &repo, "export"], arguments].concat());
    }
    assert!(fs::metadata(&update).unwrap().len() < 1500, "the object of {} bytes is a delta", bytes.len());
    let _ = [&good, &bad].map(|other| line(&["--repo", other, "import", &full]));
    let objects = Path::new(&bad).join("objects");
    for object in all_of(objects.to_str().unwrap()).iter().map(|path| objects.join(path)) {
        let wrong: Vec<u8> = fs::read(&object).unwrap().iter().map(|byte| !byte).collect();
        fs::remove_file(&object).and_then(|()| fs::write(&object, wrong)).unwrap();
    }
    let before = all_of(&bad);
    let refused = composefs(&["--repo", &bad, "import", &update]);
    let names_object = refused.stderr.contains(&format!("{bad}/objects/"));
    assert!(refused.status == Some(1) && names_object && !refused.stderr.contains("the bundle is"), "{refused:?}");
    assert_eq!(all_of(&bad), before);
    assert_eq!(line(&["--repo", &good, "import", &update]), second);
}

#[test]
fn sync_copies_names_images_and_objects() {
    let place = Place::new();
    let (from, to) = (place.repository("from"), place.repository("to"));
    let first = line(&["--repo", &from, "create", &place.path("tree"), "--name", "v1"]);
    place.tree("tree", 20, 24);
    let second = line(&["--repo", &from, "create", &place.path("tree"), "--name", "folder/v2"]);
    let dry = line(&["--repo", &to, "sync", &from, "--dry-run"]);
    assert!(dry.contains("v1: the image") && dry.contains("folder/v2: the image"), "{dry}");
    assert!(line(&["--repo", &to, "images"]).is_empty());
    let _ = line(&["--repo", &to, "sync", &from, "v1"]);
    let json = line(&["--repo", &to, "sync", &from, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let brought = json.as_array().unwrap().iter().find(|step| step["name"] == "folder/v2").unwrap();
    // Four files, and the image.
    assert_eq!((brought["objects"]["new"].as_u64(), brought["digest"].as_str()), (Some(5), Some(second.as_str())));
    let _ = line(&["--repo", &to, "fsck"]);
    assert_eq!(line(&["--repo", &to, "images"]).lines().count(), 2);
    // Only the name changes.
    let _ = line(&["--repo", &from, "tag", "v1", "folder/v2"]);
    let moved = line(&["--repo", &to, "sync", &from]);
    assert!(moved.contains("v1: up to date") && moved.contains("folder/v2: 0 objects copied"), "{moved}");
    assert!(line(&["--repo", &to, "images"]).contains(&first));
    let refused = composefs(&["--repo", &to, "sync", &from, "none"]);
    assert!(refused.status == Some(1) && refused.stderr.contains("no image is called none"), "{}", refused.stderr);
    // Damaged objects of the source are not copied.
    let third = place.repository("third");
    let before = all_of(&third);
    let tree = place.path("tree");
    let object = line(&["digest", &format!("{tree}/5")]).split(' ').next().unwrap().to_owned();
    fs::write(format!("{from}/objects/{}/{}", &object[..2], &object[2..]), "damaged").unwrap();
    let refused = composefs(&["--repo", &third, "sync", &from]);
    assert!(refused.status == Some(1) && refused.stderr.contains("/5"), "{}", refused.stderr);
    assert_eq!(all_of(&third), before);
}

#[test]
fn why_prints_what_keeps_an_object() {
    let place = Place::new();
    let repo = place.repository("repo");
    let tree = place.path("tree");
    fs::copy(format!("{tree}/7"), format!("{tree}/copy of 7")).unwrap();
    let image = line(&["--repo", &repo, "create", &tree, "--name", "v1"]);
    let object = line(&["digest", &format!("{tree}/7")]).split(' ').next().unwrap().to_owned();
    let of = |digest: &str| composefs(&["--repo", &repo, "why", digest]);
    assert_eq!(of(&object).ok().line(), format!("image {image}, named v1: /7 and 1 other file"));
    assert_eq!(of(&image).ok().line(), format!("image {image}, named v1: this image itself"));
    let _ = line(&["--repo", &repo, "untag", "v1"]);
    let loose = of(&object);
    assert_eq!(loose.status, Some(1));
    assert!(
        loose.line().contains("without a name") && loose.line().ends_with("older than the grace"),
        "{}",
        loose.line()
    );
    let unknown = of(&"0".repeat(64));
    assert!(unknown.status == Some(1) && unknown.line() == "it does not exist", "{}", unknown.line());
    let json = composefs(&["--repo", &repo, "why", &object, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(json["kept"] == false && json["images"][0]["files"] == 2, "{json}");
}

/// Returns the free space of a file system after a sync.
fn free(path: &str) -> u64 {
    rustix::fs::sync();
    let stat = rustix::fs::statvfs(path).unwrap();
    stat.f_bfree * stat.f_frsize
}

#[test]
fn df_is_exact_with_links_and_shared_extents() {
    let name = "df_is_exact_with_links_and_shared_extents";
    if !privilege::is_root() {
        return skip::announce(name, "mounting takes root");
    }
    for kind in ["xfs", "ext4"] {
        let place = Place::new();
        let (disk, mount) = (place.path("disk"), place.path("mnt"));
        fs::File::create(&disk).unwrap().set_len(400 << 20).unwrap();
        fs::create_dir(&mount).unwrap();
        let options: &[&str] = if kind == "ext4" { &["-q", "-F"] } else { &["-q"] };
        let made = Command::new(format!("mkfs.{kind}")).args(options).arg(&disk).status();
        if !made.is_ok_and(|status| status.success()) {
            return skip::announce(name, &format!("there is no mkfs.{kind}"));
        }
        assert!(Command::new("mount").args(["-o", "loop", &disk, &mount]).status().unwrap().success());
        let result = std::panic::catch_unwind(|| free_what_is_said(&mount, kind));
        let mut umount = Command::new("umount");
        let _ = umount.arg0("umount").arg("-l").arg(&mount).status();
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    }
}

fn free_what_is_said(mount: &str, kind: &str) {
    let repo = format!("{mount}/repo");
    let _ = line(&["init", "--insecure", &repo]);
    // Images of one tree on this disk, which may share its extents, and of another that is removed by then.
    for (tree, from) in [("kept", 0u32), ("gone", 40)] {
        let path = format!("{mount}/{tree}");
        fs::create_dir(&path).unwrap();
        for file in 0..40u32 {
            // The last ten files of one tree are the first of the other.
            let number = if tree == "gone" && file < 10 { 30 + file } else { from + file };
            let bytes: Vec<u8> =
                (0..400_000u32).map(|i| (i.wrapping_mul(number * 2 + 9) >> 4) as u8 ^ number as u8).collect();
            fs::write(format!("{path}/{file}"), bytes).unwrap();
        }
        let _ = line(&["--repo", &repo, "create", &path, "--name", tree]);
    }
    fs::remove_dir_all(format!("{mount}/gone")).unwrap();
    // Some objects have another hard link elsewhere.
    let of = |file: u32| line(&["digest", &format!("{mount}/kept/{file}")]).split(' ').next().unwrap().to_owned();
    for file in [2, 3] {
        let object = of(file);
        fs::hard_link(format!("{repo}/objects/{}/{}", &object[..2], &object[2..]), format!("{mount}/link{file}"))
            .unwrap();
    }
    let usage = || -> serde_json::Value { serde_json::from_str(&line(&["--repo", &repo, "df", "--json"])).unwrap() };
    for name in ["kept", "gone"] {
        let usage = usage();
        let own = usage["refs"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone();
        let said = own["freed"].as_u64().unwrap();
        assert!(said <= own["exclusive"].as_u64().unwrap() && own["exclusive"].as_u64() <= own["used"].as_u64());
        let before = free(mount);
        let _ = line(&["--repo", &repo, "untag", name]);
        let _ = line(&["--repo", &repo, "gc", "--grace=0"]);
        // xfs frees in the background.
        let end = Instant::now() + Duration::from_secs(90);
        let freed = loop {
            let freed = free(mount) as i64 - before as i64;
            if freed + 300_000 > said as i64 || Instant::now() > end {
                break freed;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        // Directories and the file system's own structures are not counted.
        assert!((freed - said as i64).abs() < 300_000, "{kind} {name}: {said} said, {freed} freed: {own}");
        stats::show(&format!("df on {kind}: {name} frees {said} bytes, said; {freed} freed"));
        if kind == "xfs" && name == "kept" {
            assert!(said < 200_000, "the tree has the same extents: {said}");
        } else {
            assert!(said > 3_000_000, "{said}");
        }
    }
}
