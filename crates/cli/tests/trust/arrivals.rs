//! Images that arrive: by sync, import and pull, and OCI images.

use std::fs;

use libcomposefs_testkit::oci;

use super::TrustingMachine;

#[test]
fn sync_brings_signatures_and_asks_the_policy() {
    let Some(machine) = TrustingMachine::new("sync_brings_signatures_and_asks_the_policy") else { return };
    let here = machine.text("here");
    machine.ok("here", &["tag", "built", "debian/13"]);
    machine.ok("there", &["init", "--insecure"]);
    machine.release_policy();
    machine.refused("there", &["sync", &here, "debian/13"], &["refuses debian/13"]);
    assert!(!machine.has_ref("there", "debian/13"));
    machine.sign("release", "debian/13", &[]);
    let synced = machine.ok("there", &["sync", &here, "debian/13"]);
    assert!(synced.contains("1 new signature"), "{synced}");
    machine.ok("there", &["trust", "check", "debian/13"]);
    // A signature that was made later comes too.
    machine.sign("audit", "debian/13", &[]);
    let again = machine.ok("there", &["sync", &here, "debian/13"]);
    assert!(again.contains("up to date, 1 new signature"), "{again}");
    assert_eq!(machine.signatures("there", &machine.digest("built")).len(), 2);
}

#[test]
fn pull_asks_the_policy_before_any_content_comes() {
    let Some(machine) = TrustingMachine::new("pull_asks_the_policy_before_any_content_comes") else { return };
    let remote = machine.text("remote");
    machine.ok("here", &["push", "built", &remote, "--as=debian/13"]);
    machine.ok("there", &["init", "--insecure"]);
    machine.release_policy();
    machine.refused("there", &["pull", &remote, "debian/13"], &["refuses debian/13"]);
    assert_eq!(fs::read_dir(machine.path("there/objects")).unwrap().count(), 0);
    machine.sign("release", "debian/13", &[]);
    // The image is there, its signature is not.
    assert!(!machine.ok("here", &["push", "built", &remote, "--as=debian/13"]).contains("up to date"));
    assert!(machine.ok("here", &["push", "built", &remote, "--as=debian/13"]).contains("up to date"));
    machine.ok("there", &["pull", &remote, "debian/13"]);
    machine.ok("there", &["trust", "check", "debian/13"]);
    machine.refused("there", &["pull", &remote, "debian/13", "--name=debian/12"], &["debian/12"]);
    machine.ok("there", &["pull", &remote, "debian/13", "--name=free/13"]);
    let digest = machine.digest("built");
    machine.refused("there", &["pull", &remote, &digest, "--name=debian/12"], &["debian/12"]);
}

#[test]
fn import_names_only_what_the_policy_accepts() {
    let Some(machine) = TrustingMachine::new("import_names_only_what_the_policy_accepts") else { return };
    machine.ok("here", &["tag", "built", "debian/13"]);
    let digest = machine.digest("built");
    let (image, bundle) = (machine.text("image"), machine.text("bundle"));
    let object = machine.path("here/objects").join(&digest[..2]).join(&digest[2..]);
    fs::copy(object, &image).unwrap();
    machine.ok("here", &["export", "debian/13", "--output", &bundle]);
    machine.release_policy();
    for source in [vec![image.as_str(), "--name=debian/13"], vec![&bundle, "--refs"], vec![&bundle, "--name=debian/13"]]
    {
        let repository = format!("there-{}", source.concat().replace(['/', '='], "-"));
        machine.ok(&repository, &["init", "--insecure"]);
        let basedir = format!("--basedir={}", machine.path("here/objects").display());
        let import = [&["import", &basedir], &source[..]].concat();
        machine.refused(&repository, &import, &["refuses debian/13"]);
        assert!(!machine.has_ref(&repository, "debian/13"));
        // Without a name, nothing is judged yet.
        machine.ok(&repository, &["import", &basedir, source[0]]);
        machine.sign("release", "debian/13", &[]);
        let signature = machine.signatures("here", &digest)[0].clone();
        let statement = signature.with_extension("statement");
        machine.ok(&repository, &["sign", "--add", statement.to_str().unwrap(), signature.to_str().unwrap()]);
        machine.ok(&repository, &import);
        assert!(machine.has_ref(&repository, "debian/13"));
        fs::remove_dir_all(machine.path("here/signatures")).unwrap();
    }
}

#[test]
fn bundles_bring_the_signatures_of_their_images() {
    let Some(machine) = TrustingMachine::new("bundles_bring_the_signatures_of_their_images") else { return };
    machine.ok("here", &["tag", "built", "debian/13"]);
    machine.sign("release", "debian/13", &[]);
    let (new, old) = (machine.text("new"), machine.text("old"));
    machine.ok("here", &["export", "debian/13", "--output", &new]);
    machine.ok("here", &["export", "debian/13", "--bundle-version=1", "--output", &old]);
    machine.release_policy();
    machine.ok("there", &["init", "--insecure"]);
    machine.refused("there", &["import", &old, "--refs"], &["refuses debian/13"]);
    machine.refused("there", &["import", &new, "--name=debian/12"], &["refuses debian/12", "have this name signed"]);
    machine.ok("there", &["import", &new, "--refs"]);
    assert_eq!(machine.signatures("there", &machine.digest("built")).len(), 1);
    machine.ok("there", &["trust", "check", "debian/13"]);
}

#[test]
fn bundles_bring_the_signatures_of_their_oci_images() {
    let Some(machine) = TrustingMachine::new("bundles_bring_the_signatures_of_their_oci_images") else { return };
    let layout = oci::unpack_layout("three-layers", machine.0.path());
    machine.ok("oci", &["init", "--insecure", "--format=1"]);
    machine.ok("oci", &["oci", "pull", &format!("oci:{}", layout.display()), "--name=debian/13"]);
    let (unsigned, signed) = (machine.text("unsigned"), machine.text("signed"));
    machine.ok("oci", &["export", "debian/13", "--output", &unsigned]);
    let (_, key) = (machine.key("release"), format!("--key={}", machine.text("release")));
    machine.ok("oci", &["sign", "debian/13", &key]);
    machine.ok("oci", &["export", "debian/13", "--output", &signed]);
    machine.release_policy();
    machine.ok("there", &["init", "--insecure", "--format=1"]);
    machine.refused("there", &["import", &unsigned, "--refs"], &["refuses debian/13"]);
    machine.ok("there", &["import", &signed, "--refs"]);
    machine.ok("there", &["trust", "check", "debian/13"]);
}

#[test]
fn oci_images_are_judged_by_their_composefs_images() {
    let Some(machine) = TrustingMachine::new("oci_images_are_judged_by_their_composefs_images") else { return };
    let layout = oci::unpack_layout("three-layers", machine.0.path());
    let layout = format!("oci:{}", layout.display());
    machine.ok("oci", &["init", "--insecure", "--format=1"]);
    machine.release_policy();
    let pull = ["oci", "pull", &layout, "--name=debian/13"];
    machine.refused("oci", &pull, &["refuses debian/13"]);
    assert_eq!(machine.ok("oci", &["oci", "images", "-q"]), "");
    let free = machine.json("oci", &["oci", "pull", &layout, "--name=free/13", "--json"]);
    machine.ok("oci", &["oci", "mount", "free/13", "/", "--dry-run"]);
    machine.refused("oci", &["oci", "tag", "free/13", "debian/13"], &["refuses debian/13"]);
    let (_, key) = (machine.key("release"), format!("--key={}", machine.text("release")));
    machine.ok("oci", &["sign", "free/13", &key, "--as=debian/13"]);
    machine.ok("oci", &["oci", "tag", "free/13", "debian/13"]);
    machine.ok("oci", &pull);
    machine.ok("oci", &["oci", "mount", "debian/13", "/", "--dry-run"]);
    machine.ok("oci", &["mount", "debian/13", "/", "--dry-run"]);
    // Another repository asks too, and gets the signatures.
    let from = machine.text("oci");
    machine.ok("other", &["init", "--insecure", "--format=1"]);
    machine.refused("other", &["sync", &from, "--oci=free/12"], &["free/12"]);
    machine.ok("oci", &["oci", "tag", "free/13", "free/12"]);
    machine.ok("other", &["sync", &from, "--oci=free/12"]);
    machine.ok("other", &["sync", &from, "--oci=debian/13"]);
    // A signature that was made since comes too, though the image is here.
    machine.ok("oci", &["sign", "free/13", &key, "--as=debian/14"]);
    assert!(machine.ok("other", &["sync", &from, "--oci=debian/13"]).contains("up to date, 1 new signature"));
    assert!(machine.ok("other", &["sync", &from, "--oci=debian/13"]).trim_end().ends_with("up to date"));
    fs::remove_dir_all(machine.path("other/signatures")).unwrap();
    machine.refused("other", &["oci", "tag", "free/12", "debian/12"], &["refuses debian/12"]);
    let digest = free["image"].as_str().unwrap();
    // By its digest it has no name that a rule could accept.
    machine.refused("oci", &["mount", digest, "/", "--dry-run"], &[digest]);
    fs::remove_dir_all(machine.path("oci/signatures")).unwrap();
    machine.ok("third", &["init", "--insecure", "--format=1"]);
    machine.refused("third", &["sync", &from, "--oci=debian/13"], &["refuses debian/13"]);
    assert_eq!(machine.ok("third", &["oci", "images", "-q"]), "");
    machine.refused("oci", &["oci", "mount", "debian/13", "/", "--dry-run"], &["refuses debian/13"]);
    machine.refused("oci", &["oci", "bundle", "debian/13", &machine.text("bundle")], &["refuses debian/13"]);
    assert!(!machine.path("bundle/config.json").exists());
}
