//! Tests of the trees that policies make.

use libcomposefs_image::Algorithm;
use libcomposefs_image::dump::{self, Options, Parser};
use libcomposefs_image::policy::{Choice, FileContents, Inline, Policy, Space, Times, Transform, XattrPolicy};
use libcomposefs_image::tree::{Timestamp, Tree};
use libcomposefs_image::verity::digest;
use libcomposefs_testkit::random::series;

/// A policy that changes nothing.
const AS_GIVEN: Policy = Policy { hardlinks: true, inline: Inline::AsGiven, ..Policy::MKCOMPOSEFS };

/// Of each line of [`TREE`] only what policies change is of interest: `DIGEST64` stands for that of 64 times `a`.
const TREE: &str = "\
/ 0 40755 6 0 0 0 10.5 - - - user.root=1
/boot 0 40700 3 1 2 0 11.0 - - - security.selinux=l
/boot/kernel 9 100644 2 0 0 0 12.0 - kkkkkkkkk -
/dev 0 20600 1 0 0 259 13.0 - - -
/kernel-too 9 @100644 2 0 0 0 0.0 /boot/kernel - -
/run 0 41777 2 3 4 0 14.0 - - -
/run/lock 1 100644 1 0 0 0 14.0 - l -
/sysroot 0 40755 2 0 0 0 15.0 - - -
/usr 0 40750 2 5 6 0 16.25 - - - security.capability=c security.selinux=l user.a=1
/usr/file 64 100644 1 0 0 0 17.0 DIGEST64PATH - DIGEST64 security.capability=c trusted.t=1 user.a=1
";

fn tree(text: &str) -> Tree {
    let mut parser = Parser::new(Options::default());
    text.lines().for_each(|line| parser.push_line(line.as_bytes()).unwrap());
    parser.finish().unwrap().tree
}

fn given() -> (Tree, FileContents) {
    let content = [b'a'; 64];
    let own = digest(Algorithm::Sha256, &content);
    let text = TREE.replace("DIGEST64PATH", &own.object_path()).replace("DIGEST64", &own.to_hex());
    let mut contents = FileContents::default();
    contents.keep(own, &content);
    (tree(&text), contents)
}

fn text(tree: &Tree) -> String {
    let mut text = Vec::new();
    dump::emit(tree, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// The line of a path, without the fields that stand before the time.
fn line(text: &str, path: &str) -> String {
    let line = text.lines().find(|line| line.split(' ').next() == Some(path));
    line.unwrap_or_else(|| panic!("no {path} in\n{text}")).to_owned()
}

fn applied(policy: Policy) -> String {
    let (tree, contents) = given();
    text(&policy.apply(&tree, &contents).unwrap())
}

#[test]
fn what_leaves_all_as_it_is_gives_the_same_image() {
    for (algorithm, version) in Algorithm::ALL.into_iter().flat_map(|a| [0, 1, 2].map(|version| (a, version))) {
        for model in series(algorithm, 40, 60) {
            let tree = model.build();
            let policy = Policy { algorithm, version, ..AS_GIVEN };
            let same = policy.apply(&tree, &FileContents::default()).unwrap();
            let image =
                |tree| policy.plan(tree).map(|image| image.digest(algorithm)).map_err(|error| error.to_string());
            assert_eq!(image(&same), image(&tree));
            assert!(version == 2 || text(&same) == text(&tree), "version 2 has no nanoseconds");
        }
    }
}

#[test]
fn attributes() {
    for (choice, usr, file) in [
        (
            XattrPolicy::All,
            "security.capability=c security.selinux=l user.a=1",
            "security.capability=c trusted.t=1 user.a=1",
        ),
        (XattrPolicy::User, "user.a=1", "user.a=1"),
        (XattrPolicy::None, "", ""),
        (XattrPolicy::Capability, "security.capability=c", "security.capability=c"),
        (XattrPolicy::CapabilityAndUser, "security.capability=c user.a=1", "security.capability=c user.a=1"),
    ] {
        let text = applied(Policy { xattrs: choice, ..AS_GIVEN });
        for (path, want) in [("/usr", usr), ("/usr/file", file)] {
            let found: Vec<_> = line(&text, path).split(' ').skip(11).map(str::to_owned).collect();
            assert_eq!(found.join(" "), want, "{choice:?} {path}");
        }
    }
}

#[test]
fn times() {
    let clamp = Times::ClampTo(Timestamp { sec: 16, nsec: 0 });
    for (choice, usr, file) in [
        (Times::Keep, "16.250000000", "17.0"),
        (Times::Zero, "0.0", "0.0"),
        (Times::ZeroDirectories, "0.0", "17.0"),
        (Times::KeepDirectories, "16.250000000", "0.0"),
        (clamp, "16.0", "16.0"),
    ] {
        let text = applied(Policy { times: choice, ..AS_GIVEN });
        for (path, want) in [("/usr", usr), ("/usr/file", file)] {
            let found = line(&text, path).split(' ').nth(7).unwrap().to_owned();
            assert_eq!(found.trim_end_matches("000000").parse::<f64>(), want.parse(), "{choice:?} {path}");
        }
    }
}

#[test]
fn links_contents_and_devices() {
    let text = applied(Policy { hardlinks: false, ..AS_GIVEN });
    assert_eq!(line(&text, "/kernel-too").split(' ').nth(3), Some("1"));
    assert!(!text.contains('@'), "{text}");
    let text = applied(Policy { inline: Inline::UpTo(64), ..AS_GIVEN });
    assert!(line(&text, "/usr/file").contains(&format!(" - {} -", "a".repeat(64))));
    let text = applied(Policy { inline: Inline::UpTo(8), ..AS_GIVEN });
    let object = digest(Algorithm::Sha256, b"kkkkkkkkk");
    assert!(line(&text, "/boot/kernel").ends_with(&format!("{} - {object}", object.object_path())), "{text}");
    let text = applied(Policy { algorithm: Algorithm::Sha512, ..AS_GIVEN });
    let object = digest(Algorithm::Sha512, &[b'a'; 64]);
    assert!(line(&text, "/usr/file").contains(&format!("{} - {object} ", object.object_path())), "{text}");
    assert!(!applied(Policy { devices: false, ..AS_GIVEN }).contains("/dev "));
}

#[test]
fn transforms() {
    let root = |transform| line(&applied(Policy { transform, ..AS_GIVEN }), "/");
    let own = root(Transform::Nothing);
    assert!(own.contains(" 10.5") && own.ends_with("user.root=1"), "{own}");
    assert_eq!(root(Transform::Boot), own);
    for transform in [Transform::Root, Transform::Container, Transform::ContainerAndBoot] {
        let line = root(transform);
        assert!(line.contains(" 40750 ") && line.contains(" 5 6 0 16.25"), "{line}");
        assert!(line.contains("user.a=1") && !line.contains("user.root"), "{line}");
    }
    let text = applied(Policy { transform: Transform::Container, ..AS_GIVEN });
    assert!(line(&text, "/run").contains(" 41777 2 3 4 0 16.25"), "{text}");
    assert!(!text.contains("/run/lock") && text.contains("/boot/kernel") && text.contains("selinux"), "{text}");
    let text = applied(Policy { transform: Transform::Boot, ..AS_GIVEN });
    assert!(line(&text, "/boot").contains(" 40700 3 1 2 0 16.25"), "{text}");
    // What had its place there has it elsewhere now.
    assert!(line(&text, "/kernel-too").contains(" 9 100644 1 ") && !text.contains("selinux"), "{text}");
    assert!(text.contains("/run/lock") && !text.contains("/boot/"), "{text}");
    let text = applied(Policy { transform: Transform::ContainerAndBoot, ..AS_GIVEN });
    assert!(!text.contains("/run/") && !text.contains("/boot/"), "{text}");
}

/// Random trees, some of them with the directories that transforms want.
fn random_trees() -> impl Iterator<Item = Tree> {
    series(Algorithm::Sha256, 25, 40).enumerate().map(|(n, model)| {
        let text = String::from_utf8(model.dump()).unwrap();
        let taken = ["/usr ", "/run ", "/boot ", "/sysroot "].iter().any(|name| text.contains(name));
        let more = if taken || n % 2 == 0 {
            String::new()
        } else {
            TREE.replace("DIGEST64PATH", "-").replace("DIGEST64", "-")
        };
        let more: Vec<_> = more.lines().filter(|line| !line.starts_with("/ ")).collect();
        tree(&format!("{text}{}", more.join("\n")))
    })
}

fn image_of(policy: &Policy, tree: &Tree) -> Result<libcomposefs_image::Digest, String> {
    let applied = policy.apply(tree, &FileContents::default()).map_err(|error| error.to_string())?;
    policy.plan(&applied).map(|image| image.digest(policy.algorithm)).map_err(|error| error.to_string())
}

#[test]
fn what_a_policy_has_made_it_leaves_as_it_is() {
    let mut tried = 0;
    for tree in random_trees() {
        let limits = [Inline::AsGiven, Inline::UpTo(64), Inline::UpTo(0)];
        let space =
            Space::of(&tree, &FileContents::default(), &limits, Some(Timestamp { sec: 1_600_000_000, nsec: 0 }));
        for policy in space.with_algorithm(Algorithm::Sha256).all().iter().step_by(101) {
            let once = policy.apply(&tree, &FileContents::default()).unwrap();
            let twice = policy.apply(&once, &FileContents::default()).unwrap();
            assert_eq!(text(&once), text(&twice), "{policy}");
            let digest = |tree| policy.plan(tree).ok().map(|image| image.digest(policy.algorithm));
            assert_eq!(digest(&once), digest(&twice), "{policy}");
            tried += 1;
        }
    }
    assert!(tried > 300, "{tried}");
}

#[test]
fn choices_that_are_said_to_be_the_same_give_the_same_image() {
    let clamp = Times::ClampTo(Timestamp { sec: 1_600_000_000, nsec: 0 });
    let limits = [Inline::AsGiven, Inline::UpTo(64), Inline::UpTo(0)];
    let (mut same, mut others) = (0, 0);
    for tree in random_trees() {
        let space =
            Space::of(&tree, &FileContents::default(), &limits, Some(Timestamp { sec: 1_600_000_000, nsec: 0 }));
        let base = Policy { inline: Inline::AsGiven, ..Policy::MKCOMPOSEFS };
        use {Transform as T, XattrPolicy as A};
        let changed =
            [A::User, A::None, A::Capability, A::CapabilityAndUser].map(|xattrs| Policy { xattrs, ..base }).into_iter();
        let times =
            [Times::Zero, Times::ZeroDirectories, Times::KeepDirectories, clamp].map(|times| Policy { times, ..base });
        let transforms =
            [T::Root, T::Container, T::Boot, T::ContainerAndBoot].map(|transform| Policy { transform, ..base });
        let inline = [Inline::UpTo(64), Inline::UpTo(0)].map(|inline| Policy { inline, ..base });
        let others_of = [Policy { hardlinks: true, ..base }, Policy { devices: false, ..base }];
        for policy in changed.chain(times).chain(transforms).chain(inline).chain(others_of) {
            let is_same = image_of(&policy, &tree) == image_of(&base, &tree);
            if space.are_same(&policy, &base) {
                assert!(is_same, "{policy} of\n{}", text(&tree));
                same += 1;
            } else {
                others += 1;
            }
        }
    }
    assert!(same > 40 && others > 400, "{same} {others}");
}

#[test]
fn what_is_not_known_is_said() {
    let (whole, contents) = given();
    let sha512 = Policy { algorithm: Algorithm::Sha512, ..AS_GIVEN };
    assert!(sha512.apply(&whole, &FileContents::default()).unwrap_err().to_string().contains("sha512"));
    let without = tree("/ 0 40755 2 0 0 0 0.0 - - -\n/usr 0 40755 2 0 0 0 0.0 - - -\n/boot 0 40755 2 0 0 0 0.0 - - -");
    for (transform, missing) in [(Transform::Boot, Some("/sysroot")), (Transform::Container, None)] {
        let done = Policy { transform, ..AS_GIVEN }.apply(&without, &contents);
        assert_eq!(
            done.as_ref().err().map(ToString::to_string),
            missing.map(|name| format!("the image has no directory {name}, which a bootable one needs"))
        );
    }
    assert!(Policy { version: 3, ..AS_GIVEN }.plan(&whole).is_err());
}

#[test]
fn only_what_makes_a_difference_is_tried() {
    let limits = [Inline::AsGiven, Inline::UpTo(64), Inline::UpTo(0)];
    let bare = tree("/ 0 40755 2 0 0 0 0.0 - - -");
    let space = Space::of(&bare, &FileContents::default(), &limits, None);
    assert_eq!(space.policies().len(), 6, "three versions, two algorithms");
    assert_eq!(space.indifferent().len(), 6);
    assert_eq!(space.clone().with_algorithm(Algorithm::Sha512).policies().len(), 3);
    let (whole, contents) = given();
    let space = Space::of(&whole, &contents, &limits, Some(Timestamp { sec: 16, nsec: 0 }));
    assert_eq!(space.indifferent(), []);
    let policies = space.policies();
    assert_eq!(policies[0], Policy { inline: Inline::AsGiven, ..Policy::MKCOMPOSEFS });
    let all = space.all();
    assert_eq!(all.len(), 3 * 2 * 5 * 5 * 2 * 3 * 2 * 5);
    let mkcomposefs = 2 * 2 * 3 * 5 * 2 * 3 * 2;
    let cfsctl = 3 * 2 * (3 * 5 * 3 + 2 * 3);
    let both = 2 * 2 * 3;
    assert_eq!(policies.len(), mkcomposefs + cfsctl - both);
    assert!(policies.iter().all(|policy| all.contains(policy)));
    // Each of them is another tree.
    let trees: std::collections::HashSet<_> = all
        .iter()
        .filter(|policy| policy.version == 0)
        .map(|policy| (policy.algorithm, text(&policy.apply(&whole, &contents).unwrap())))
        .collect();
    assert_eq!(trees.len(), all.len() / 3);
    let later = Space::of(&whole, &contents, &limits, Some(Timestamp { sec: 18, nsec: 0 }));
    assert!(later.policies().iter().all(|policy| !matches!(policy.times, Times::ClampTo(_))));
    assert!(!later.indifferent().contains(&Choice::Times));
}
