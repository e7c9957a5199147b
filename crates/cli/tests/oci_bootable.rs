//! Bootable images of OCI images: `oci pull --bootable` makes those of cfsctl, and the commands for booting take them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcomposefs_testkit::oci::{self, RecordedDigest};
use libcomposefs_testkit::program::{Outcome, Program};
use libcomposefs_testkit::scratch::layout_source;
use libcomposefs_testkit::{efi, skip, stats};
use serde_json::Value;

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn word(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn init(&self, repository: &str, algorithm: &str, version: &str) {
        self.ok(repository, &["init", "--insecure", "--format", version, "--algorithm", algorithm]);
    }

    fn run(&self, repository: &str, arguments: &[&str]) -> Outcome {
        let program = Program { path: Path::new(COMPOSEFS), name: "composefs" };
        program.run([&["--repo", &self.word(repository)][..], arguments].concat(), b"")
    }

    #[track_caller]
    fn ok(&self, repository: &str, arguments: &[&str]) -> String {
        String::from_utf8(self.run(repository, arguments).ok().stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, repository: &str, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(repository, &[arguments, &["--json"]].concat())).unwrap()
    }

    #[track_caller]
    fn refused(&self, repository: &str, arguments: &[&str], says: &[&str]) {
        let ran = self.run(repository, arguments);
        assert_eq!(ran.status, Some(1), "{ran:?}");
        says.iter().for_each(|part| assert!(ran.stderr.contains(part), "no {part:?} in {}", ran.stderr));
    }

    fn pull(&self, repository: &str, source: &str, options: &[&str]) -> Value {
        self.json(repository, &[&["oci", "pull", source, "--name=os", "--keep-blobs=no"], options].concat())
    }

    /// Writes a layout with one layer: a system with these files.
    fn system(&self, name: &str, files: &[(&str, &[u8])]) -> String {
        let tree = self.path(&format!("tree-{name}"));
        for directory in ["bin", "boot", "dev", "etc", "proc", "run", "sbin", "sys", "sysroot", "usr/lib", "var/lib"] {
            fs::create_dir_all(tree.join(directory)).unwrap();
        }
        fs::write(tree.join("usr/lib/os-release"), "ID=test\nPRETTY_NAME=\"Test OS\"\n").unwrap();
        for (path, content) in files {
            fs::create_dir_all(tree.join(path).parent().unwrap()).unwrap();
            fs::write(tree.join(path), content).unwrap();
        }
        let tar = Command::new("tar")
            .args(["--sort=name", "--owner=0", "--group=0", "--mtime=@7", "-cf-", "-C"])
            .arg(&tree)
            .arg(".")
            .output()
            .unwrap();
        let layout = self.path(name);
        oci::write_layout(&layout, "layer.v1.tar", &[(tar.stdout.clone(), tar.stdout)]);
        layout_source(&layout)
    }

    /// Runs `composefs boot` with a disk and a directory that stands for the partition of the boot loader.
    fn boot(&self, words: &[&str]) -> Outcome {
        fs::create_dir_all(self.path("esp")).unwrap();
        let place = [format!("--sysroot={}", self.word("disk")), format!("--esp={}", self.word("esp"))];
        let program = Program { path: Path::new(COMPOSEFS), name: "composefs" };
        program.run([&["boot"], words, &[&place[0], &place[1]]].concat(), b"")
    }
}

fn cfsctl() -> Option<PathBuf> {
    let peers = std::env::var_os("COMPOSEFS_PEERS")?;
    Some(PathBuf::from(peers).join("cfsctl")).filter(|path| path.exists())
}

#[test]
fn the_bootable_images_are_those_of_cfsctl() {
    let place = Place::new();
    let rows: Vec<RecordedDigest> = oci::recorded().into_iter().filter(|row| row.is_bootable).collect();
    let (mut asked, cfsctl) = (0, cfsctl());
    for (number, row) in rows.iter().enumerate() {
        let repository = format!("repo-{number}");
        place.init(&repository, &row.algorithm, &row.version);
        let source = layout_source(&oci::unpack_layout(&row.layout, place.0.path()));
        let xattrs = format!("--xattrs={}", row.xattrs);
        let plain = place.pull(&repository, &source, &[&xattrs]);
        assert_eq!(plain["boot_image"], Value::Null);
        let pulled = place.pull(&repository, &source, &[&xattrs, "--bootable"]);
        assert_eq!(pulled["boot_image"].as_str(), row.digest.as_deref(), "{row:?}");
        assert_eq!(pulled["image"], plain["image"]);
        // The images are compared with the layers, and kept as long as the OCI image has a name.
        place.ok(&repository, &["gc", "--grace=0"]);
        let digest = row.digest.as_deref().unwrap();
        assert!(place.path(&repository).join("images").join(digest).exists(), "{row:?}");
        let verified = place.ok(&repository, &["oci", "verify", "os"]);
        assert!(verified.contains("and 2 composefs images are right"), "{verified}");
        let Some(cfsctl) = cfsctl.as_deref().filter(|_| row.xattrs == "allowlist-only") else { continue };
        let repository = place.word(&repository);
        let theirs = |arguments: &[&str]| {
            let before = ["--insecure", "--repo", &repository];
            Program { path: cfsctl, name: "cfsctl" }.run([&before[..], arguments].concat(), b"").ok()
        };
        let inspected: Value = serde_json::from_slice(&theirs(&["oci", "inspect", "os"]).stdout).unwrap();
        assert_eq!(inspected["composefs_boot_erofs"].as_str(), Some(digest), "{inspected}");
        assert_eq!(inspected["composefs_erofs"], pulled["image"], "{inspected}");
        theirs(&["gc"]);
        assert!(Path::new(&repository).join("images").join(digest).exists(), "{row:?}");
        asked += 1;
    }
    assert!(rows.len() >= 16, "{}", rows.len());
    stats::show(&format!("bootable images of OCI images: {}, {asked} read by cfsctl", rows.len()));
}

#[test]
fn cfsctl_pulls_the_same_bootable_image() {
    let test = "cfsctl_pulls_the_same_bootable_image";
    let Some(cfsctl) = cfsctl() else {
        return skip::announce(test, "cfsctl 0.9.4 is not there: COMPOSEFS_PEERS=$(cargo xtask peers --rust)");
    };
    if Command::new("skopeo").arg("--version").output().is_err() {
        return skip::announce(test, "cfsctl reads layouts by skopeo, which is not installed");
    }
    let place = Place::new();
    let source = layout_source(&oci::unpack_layout("boot-selinux", place.0.path()));
    let theirs = |arguments: &[&str]| {
        let repository = place.word("theirs");
        let before = ["--insecure", "--repo", &repository];
        Program { path: &cfsctl, name: "cfsctl" }.run([&before[..], arguments].concat(), b"").ok()
    };
    theirs(&["init", "--insecure", "--algorithm", "fsverity-sha256-12"]);
    let pulled = theirs(&["oci", "pull", "--bootable", &source, "os"]);
    let printed = String::from_utf8(pulled.stdout).unwrap();
    let digest = printed.lines().find_map(|line| line.strip_prefix("Boot image: ")).unwrap().to_owned();
    // The same for a pull of it, and what cfsctl has stored is right and stays.
    place.init("repo", "sha256", "1");
    let from = format!("repo:{}:os", place.word("theirs"));
    assert_eq!(place.pull("repo", &from, &["--bootable"])["boot_image"], digest.as_str());
    assert_eq!(place.ok("theirs", &["oci", "digest", "--bootable", "--algorithm=sha256", "os"]).trim(), digest);
    place.ok("theirs", &["gc", "--grace=0"]);
    let verified = place.ok("theirs", &["oci", "verify", "os"]);
    assert!(verified.contains("and 2 composefs images are right"), "{verified}");
}

#[test]
fn the_bootable_image_lives_as_long_as_the_name_and_is_copied() {
    let place = Place::new();
    place.init("repo", "sha256", "1");
    let source = place.system("one", &[("usr/file", &[7; 900]), ("boot/file", &[8; 900])]);
    let pulled = place.pull("repo", &source, &["--bootable"]);
    let digest = pulled["boot_image"].as_str().unwrap();
    assert_ne!(pulled["image"], digest);
    let inspected = place.json("repo", &["oci", "inspect", "os"]);
    let of = |name: &str| {
        let images = inspected["images"].as_array().unwrap();
        images.iter().find(|image| image["ref"] == name).map(|image| image["digest"].clone())
    };
    assert_eq!(of("composefs.image.boot.v1").as_ref(), Some(&pulled["boot_image"]));
    assert_eq!(of("composefs.image.v1").as_ref(), Some(&pulled["image"]));
    assert!(place.ok("repo", &["why", digest]).contains("os"));
    let link = |repository: &str| place.path(repository).join("images").join(digest);
    // A later pull without the option keeps it, and a copy has it too, also into a repository that has the rest.
    place.pull("repo", &source, &[]);
    place.ok("repo", &["gc", "--grace=0"]);
    assert!(link("repo").exists());
    place.init("copy", "sha256", "1");
    place.pull("copy", &source, &[]);
    assert!(!link("copy").exists());
    let from = place.word("repo");
    place.ok("copy", &["sync", &from, "--oci=os"]);
    assert!(link("copy").exists());
    assert!(place.ok("copy", &["sync", &from, "--oci=os"]).contains("up to date"));
    place.ok("copy", &["oci", "verify", "os"]);
    // The twin: without the name nothing needs it.
    place.ok("repo", &["oci", "untag", "os"]);
    place.ok("repo", &["gc", "--grace=0"]);
    assert!(!link("repo").exists());
}

#[test]
fn the_bootable_image_is_signed_and_goes_by_bundles() {
    if Command::new("ssh-keygen").arg("-?").output().is_err() {
        let test = "the_bootable_image_is_signed_and_goes_by_bundles";
        return skip::announce(test, "ssh-keygen is not installed (Debian: openssh-client)");
    }
    let place = Place::new();
    place.init("repo", "sha256", "1");
    let source = place.system("one", &[("usr/file", &[7; 900]), ("boot/file", &[8; 900])]);
    place.pull("repo", &source, &[]);
    let key = format!("--key={}", place.word("key"));
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(place.path("key")).status();
    assert!(made.unwrap().success());
    place.refused("repo", &["sign", "os", "--bootable", &key], &["has no bootable image", "oci pull --bootable"]);
    let export = |name: &str| place.ok("repo", &["export", "os", "--output", &place.word(name)]);
    export("plain.bundle");
    let pulled = place.pull("repo", &source, &["--bootable"]);
    let (boot, plain) = (&pulled["boot_image"], &pulled["image"]);
    assert_eq!(&place.json("repo", &["sign", "os", "--bootable", &key])["digest"], boot);
    assert_eq!(&place.json("repo", &["sign", "os", &key])["digest"], plain);
    assert_eq!(&place.json("repo", &["trust", "check", "os", "--bootable"])["digest"], boot);
    assert_eq!(&place.json("repo", &["trust", "check", "os"])["digest"], plain);
    // A name that is no OCI image has one image only.
    let tree = place.word("tree-one");
    place.ok("repo", &["create", &tree, "--name=plain"]);
    for command in [&["sign", "plain", "--bootable", &key][..], &["trust", "check", "plain", "--bootable"]] {
        place.refused("repo", command, &["plain is no OCI image", "leave out --bootable"]);
    }
    place.ok("repo", &["sign", "plain", &key]);

    export("boot.bundle");
    for (bundle, has_boot_image) in [("plain", false), ("boot", true)] {
        place.init(bundle, "sha256", "1");
        let imported = place.json(bundle, &["import", "--refs", &place.word(&format!("{bundle}.bundle"))]);
        let found = &imported["oci"][0];
        assert_eq!(found["boot_image"].is_null(), !has_boot_image, "{imported}");
        let link = place.path(bundle).join("images").join(boot.as_str().unwrap());
        assert_eq!(link.exists(), has_boot_image);
    }
    assert_eq!(&place.json("boot", &["trust", "check", "os", "--bootable"])["signatures"], 1);
    place.ok("boot", &["oci", "verify", "os"]);
    place.refused("plain", &["trust", "check", "os", "--bootable"], &["has no bootable image"]);
}

#[test]
fn an_image_that_cannot_be_booted_gets_no_name() {
    let place = Place::new();
    place.init("repo", "sha256", "1");
    let source = layout_source(&oci::unpack_layout("basic", place.0.path()));
    let line = ["oci", "pull", &source, "--name=os", "--bootable"];
    place.refused("repo", &line, &["cannot become a bootable one", "/boot"]);
    assert_eq!(place.ok("repo", &["oci", "images", "-q"]), "");
    // The twin: without the option it can be pulled; it has no bootable image to be mounted.
    place.ok("repo", &line[..4]);
    place.refused("repo", &["oci", "mount", "os", "mnt", "--bootable"], &["no bootable image", "oci pull --bootable"]);
}

#[test]
fn an_oci_image_is_installed_by_its_name() {
    let place = Place::new();
    fs::create_dir(place.path("disk")).unwrap();
    place.init("disk/composefs", "sha256", "1");
    let entry = b"title Test\nlinux /vmlinuz\ninitrd /initrd\noptions quiet root=LABEL=x\n";
    let (kernel, initrd) = (vec![1; 9000], vec![2; 8000]);
    let files: [(&str, &[u8]); 3] =
        [("boot/loader/entries/test.conf", entry), ("boot/vmlinuz", &kernel), ("boot/initrd", &initrd)];
    let source = place.system("one", &files);
    let plain = place.pull("disk/composefs", &source, &[]);
    let install = ["install", "os", "--no-verity"];
    let refused = place.boot(&install);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    for part in ["os has no bootable image", "oci pull --bootable", plain["image"].as_str().unwrap()] {
        assert!(refused.stderr.contains(part), "no {part:?} in {}", refused.stderr);
    }
    let pulled = place.pull("disk/composefs", &source, &["--bootable"]);
    let digest = pulled["boot_image"].as_str().unwrap();
    let name = place.boot(&install).ok().line().to_owned();
    let text = fs::read_to_string(place.path("esp/loader/entries").join(name)).unwrap();
    assert!(
        text.contains(&format!("quiet root=LABEL=x rw panic=10 composefs.digest=?v1-sha256-12:{digest}")),
        "{text}"
    );
    let path = text.lines().find_map(|line| line.strip_prefix("linux")).unwrap().trim();
    assert_eq!(fs::read(place.path("esp").join(&path[1..])).unwrap(), kernel);
    assert!(place.path("disk/state/deploy").join(digest).is_dir());
    // Its entry protects it from gc without the name.
    place.ok("disk/composefs", &["oci", "untag", "os"]);
    place.ok("disk/composefs", &["gc", "--grace=0"]);
    place.ok("disk/composefs", &["check", digest]);
}

#[test]
fn a_sealed_oci_image_brings_its_own_kernel() {
    let place = Place::new();
    fs::create_dir(place.path("disk")).unwrap();
    place.init("disk/composefs", "sha256", "1");
    // The bootable image does not contain /boot: its digest can be in the kernel image there.
    let unsealed = place.system("unsealed", &[]);
    let digest = place.ok("disk/composefs", &["oci", "digest", "--bootable", "--algorithm=sha256", &unsealed]);
    let line = |digest: &str| format!("rw composefs=?{digest}");
    let uki = efi::efi_program(0x8664, Some(&line(digest.trim())));
    let sealed = place.system("sealed", &[("boot/EFI/Linux/os.efi", &uki)]);
    let pulled = place.pull("disk/composefs", &sealed, &["--bootable"]);
    assert_eq!(pulled["boot_image"], digest.trim());
    let refused = place.boot(&["install", "os", "--option=quiet"]);
    assert!(refused.status == Some(1) && refused.stderr.contains("its own initramfs and command line"), "{refused:?}");
    let name = place.boot(&["install", "os"]).ok().line().to_owned();
    let text = fs::read_to_string(place.path("esp/loader/entries").join(name)).unwrap();
    let path = text.lines().find_map(|line| line.strip_prefix("efi")).unwrap().trim();
    assert_eq!(fs::read(place.path("esp").join(&path[1..])).unwrap(), uki);
    // The twin: one for another image.
    let other = efi::efi_program(0x8664, Some(&line(&"5".repeat(64))));
    let wrong = place.system("wrong", &[("boot/EFI/Linux/os.efi", &other)]);
    place.pull("disk/composefs", &wrong, &["--bootable"]);
    let refused = place.boot(&["install", "os"]);
    assert!(refused.status == Some(1) && refused.stderr.contains("boots the image 5555"), "{refused:?}");
}
