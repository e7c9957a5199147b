//! Images go to a remote in a directory, and come from there, by the commands.

use std::fs;

use libcomposefs_testkit::numbers::noise;
use libcomposefs_testkit::scratch::ScratchRepository;

struct Machines {
    build: ScratchRepository,
    machine: ScratchRepository,
    remote: String,
}

impl Machines {
    /// A repository with the versions `v1` and `v2` of a tree, and an empty one with the remote `site`.
    fn new() -> Self {
        let build = ScratchRepository::new(env!("CARGO_BIN_EXE_composefs"));
        let machine = ScratchRepository::new(env!("CARGO_BIN_EXE_composefs"));
        for version in [1, 2_u8] {
            let tree = build.path(&format!("tree{version}"));
            fs::create_dir(&tree).unwrap();
            for file in 0..20_u32 {
                let mut bytes = noise(u64::from(file), 30_000);
                bytes[500] = version;
                fs::write(tree.join(format!("f{file}")), bytes).unwrap();
            }
            build.prints(&["create", tree.to_str().unwrap(), &format!("--name=v{version}")]);
        }
        let remote = build.path("remote").to_str().unwrap().to_owned();
        machine.prints(&["remote", "add", "site", &remote]);
        Self { build, machine, remote }
    }

    fn push(&self, image: &str) -> String {
        self.build.prints(&["push", image, &self.remote, "--as=debian/13"])
    }
}

#[test]
fn an_update_costs_what_the_plan_says() {
    let machines = Machines::new();
    let Machines { build, machine, remote } = &machines;
    machines.push("v1");
    assert!(machines.push("v1").contains("up to date"));
    let first = machine.prints(&["pull", "site", "debian/13"]);
    assert!(first.contains("20 new objects"), "{first}");
    assert!(machine.prints(&["pull", "site", "debian/13"]).contains("up to date"));
    machines.push("v2");
    let plan: serde_json::Value =
        serde_json::from_str(&machine.prints(&["plan", "site", "debian/13", "--json"])).unwrap();
    let ways = plan["ways"].as_array().unwrap();
    let cost = |way: &str| ways.iter().find(|cost| cost["way"] == way).unwrap();
    assert!(cost("deltas")["bytes"].as_u64() < Some(100_000) && cost("deltas")["chosen"] == true, "{plan}");
    assert!(cost("packs")["bytes"].as_u64() > Some(500_000) && cost("packs")["chosen"] == false, "{plan}");
    assert_eq!(machine.prints(&["pull", "site", "debian/13", "--dry-run"]).lines().count(), 5);
    let pulled: serde_json::Value =
        serde_json::from_str(&machine.prints(&["pull", "site", "debian/13", "--name=here", "--json"])).unwrap();
    let documents = ["indexes", "refs/debian"].map(|path| bytes_below(&build.path("remote").join(path)));
    assert!(pulled["received"].as_u64() < cost("deltas")["bytes"].as_u64(), "{pulled} {documents:?}");
    assert_eq!(pulled["digest"], plan["digest"]);
    machine.prints(&["fsck"]);
    let (ours, theirs) = (machine.prints(&["images", "-q"]), machine.prints(&["remote", "list", "site"]));
    assert!(ours.contains("here") && theirs.contains(pulled["digest"].as_str().unwrap()), "{ours} {theirs}");
    let removed = machine.prints(&["remote", "gc", remote, "--grace=0"]);
    assert!(removed.contains("indexes/") && removed.contains("needed by 1 ref"), "{removed}");
    let other = ScratchRepository::new(env!("CARGO_BIN_EXE_composefs"));
    other.prints(&["pull", remote, "debian/13", "--limit-rate=100M", "--connections=2"]);
    other.prints(&["fsck"]);
}

fn bytes_below(path: &std::path::Path) -> u64 {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { bytes_below(&path) } else { path.metadata().unwrap().len() }).sum()
}

#[test]
fn the_image_alone_goes_to_a_file() {
    let machines = Machines::new();
    machines.push("v1");
    let file = machines.machine.path("v1.img");
    let output = format!("--output={}", file.display());
    let digest = machines.machine.prints(&["pull", "site", "debian/13", "--metadata-only", &output]);
    let listed = machines.machine.prints(&["digest", file.to_str().unwrap()]);
    assert!(listed.contains(digest.trim()), "{listed}");
    assert!(machines.machine.prints(&["images"]).is_empty());
}

#[test]
fn wrong_remotes_are_refused_with_a_remedy() {
    let machines = Machines::new();
    let Machines { build, machine, .. } = &machines;
    machines.push("v1");
    let repository = build.path("repo").to_str().unwrap().to_owned();
    for (arguments, expected) in [
        (&["push", "v1", &repository][..], "composefs sync"),
        (&["push", "v1", "unknown"], "composefs remote add"),
        (&["push", "v1", "gopher://host/x"], "gopher"),
        (&["push", "v1", "https://user:secret@host/x"], "netrc"),
        (&["pull", "./missing", "debian/13"], "composefs push"),
        (&["remote", "remove", "unknown"], "composefs remote list"),
        (&["remote", "add", "a/b", "/srv"], "letters"),
        (&["remote", "add", "new", "site"], "URL"),
    ] {
        let outcome = build.run(arguments);
        assert!(outcome.stderr.contains(expected), "{arguments:?}: {outcome:?}");
        assert!(matches!(outcome.status, Some(1 | 2)) && !outcome.stderr.contains("secret"), "{outcome:?}");
    }
    assert!(machine.fails(1, &["pull", "site", "debian/14"]).contains("has no ref debian/14"));
    assert!(machine.fails(1, &["remote", "add", "site", "/srv"]).contains("remote remove site"));
}

#[test]
fn damage_in_a_remote_is_found_and_named() {
    let machines = Machines::new();
    machines.push("v1");
    let mut packs = Vec::new();
    for directory in fs::read_dir(machines.build.path("remote/packs")).unwrap() {
        packs.extend(fs::read_dir(directory.unwrap().path()).unwrap().map(|entry| entry.unwrap().path()));
    }
    let mut bytes = fs::read(&packs[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&packs[0], &bytes).unwrap();
    let said = machines.machine.fails(1, &["pull", "site", "debian/13"]);
    assert!(said.contains("packs/") && said.contains("at byte"), "{said}");
    assert!(machines.machine.prints(&["images"]).is_empty());
    bytes[middle] ^= 1;
    fs::write(&packs[0], &bytes).unwrap();
    machines.machine.prints(&["pull", "site", "debian/13"]);
    machines.machine.prints(&["fsck"]);
}
