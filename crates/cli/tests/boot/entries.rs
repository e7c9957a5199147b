//! The order of entries, counters, rollback and removal.

use std::fs;

use serde_json::Value;

use crate::place::{Place, refused};

/// Returns an entry of the list.
fn listed(place: &Place, name: &str) -> Value {
    let list = place.json(&["list"]);
    let found = list["entries"].as_array().unwrap().iter().find(|entry| entry["entry"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {list}")).clone()
}

#[test]
fn an_entry_without_attempts_left_is_passed_over() {
    let place = Place::new();
    place.image("1");
    let first = place.install("1", &[]);
    place.image("2");
    let second = place.install("2", &["--tries=2"]);
    assert_eq!(listed(&place, &second)["state"], "trying");
    assert_eq!(listed(&place, &second)["next"], true);
    let failed = second.replace("+2", "+0-2");
    place.rename(&second, &failed);
    let entry = listed(&place, &failed);
    assert_eq!((&entry["state"], &entry["tries_failed"], &entry["next"]), (&"failed".into(), &2.into(), &false.into()));
    assert_eq!(listed(&place, &first)["next"], true);
    assert_eq!(place.order(), [first.clone(), failed.clone()]);
    let status = place.json(&["status"]);
    assert_eq!((&status["next"]["entry"], &status["rollback"]), (&first.clone().into(), &Value::Null));
    refused(&place.boot(&["rollback"]), &["no other entry"]);
    // A newer one comes before both.
    place.image("3");
    let third = place.install("3", &[]);
    assert_eq!(place.order(), [third, first, failed]);
}

#[test]
fn a_rollback_makes_the_previous_entry_the_first_and_another_one_leads_back() {
    let place = Place::new();
    let digests = [place.image("1"), place.image("2")];
    place.install("1", &[]);
    let second = place.install("2", &["--tries=3"]);
    let kernels = place.esp_files().len();
    let dry = place.json(&["rollback", "--dry-run"]);
    assert_eq!((&dry["digest"], place.order()[0].clone()), (&digests[0].clone().into(), second.clone()));
    let back = place.boot(&["rollback"]).ok().line().to_owned();
    assert!(back.starts_with("composefs-3-") && back.contains(&digests[0][..16]), "{back}");
    assert_eq!(place.order(), [back.clone(), second.clone()]);
    assert!(place.entry(&back).contains("version  3\n"), "{}", place.entry(&back));
    assert_eq!(place.esp_files().len(), kernels);
    // The counter stays.
    let forth = place.boot(&["rollback"]).ok().line().to_owned();
    assert!(forth.starts_with("composefs-4-") && forth.ends_with("+3.conf"), "{forth}");
    assert_eq!(place.order(), [forth, back]);
}

#[test]
fn a_rollback_needs_the_image() {
    let place = Place::new();
    let digest = place.image("1");
    place.install("1", &[]);
    place.image("2");
    place.install("2", &[]);
    let link = place.path("disk/composefs/images").join(&digest);
    let target = fs::read_link(&link).unwrap();
    fs::remove_file(&link).unwrap();
    let before = place.esp_files();
    refused(&place.boot(&["rollback"]), &[&digest, "which is not in", "remedy: "]);
    assert_eq!(place.esp_files(), before);
    assert_eq!(place.json(&["list"])["entries"][1]["in_repository"], false);
    std::os::unix::fs::symlink(target, &link).unwrap();
    let _ = place.boot(&["rollback"]).ok();
}

#[test]
fn a_kernel_image_of_another_program_can_be_the_previous_entry() {
    let place = Place::new();
    let digest = place.image("1");
    let uki = place.uki("esp/EFI/Linux/os.efi", &format!("rw a=b composefs=?{digest}"));
    place.image("2");
    let second = place.install("2", &[]);
    // The words of the entry before.
    assert!(place.entry(&second).contains("rw a=b panic=10 composefs.digest="), "{}", place.entry(&second));
    // Others sort by their names: `composefs` comes before none at all.
    assert_eq!(place.order(), [second.clone(), "os.efi".to_owned()]);
    let back = place.boot(&["rollback"]).ok().line().to_owned();
    assert!(place.entry(&back).contains("/EFI/Linux/os.efi"), "{}", place.entry(&back));
    assert_eq!(listed(&place, &back)["digest"], digest.as_str());
    assert_eq!(place.order(), [back.clone(), second, "os.efi".to_owned()]);
    assert!(fs::exists(uki).unwrap());
    // Without its file, the boot loader leaves the entry out.
    fs::rename(place.path("esp/EFI/Linux/os.efi"), place.path("os.efi")).unwrap();
    assert_eq!(listed(&place, &back)["state"], "broken");
    assert_eq!(place.order().last(), Some(&back));
}

#[test]
fn loader_conf_takes_precedence_and_that_is_told() {
    let place = Place::new();
    place.image("1");
    let first = place.install("1", &[]);
    fs::write(place.path("esp/loader/loader.conf"), format!("timeout 3\ndefault {}*\n", &first[..11])).unwrap();
    place.image("2");
    let ran = place.boot(&["install", "os/2", "--no-verity"]).ok();
    assert!(ran.stderr.contains("`default` in loader.conf chooses it"), "{}", ran.stderr);
    assert_eq!(place.json(&["status"])["next"]["entry"], first.as_str());
    refused(&place.boot(&["rollback"]), &["loader.conf has `default"]);
    fs::write(place.path("esp/loader/loader.conf"), "timeout 3\n").unwrap();
    let _ = place.boot(&["rollback"]).ok();
}

#[test]
fn entries_are_removed_unless_they_are_needed() {
    let place = Place::new();
    let digest = place.image("1");
    let first = place.install("1", &[]);
    place.image("2");
    let second = place.install("2", &[]);
    fs::write(place.path("esp/loader/entries/other.conf"), "title o\n").unwrap();
    refused(&place.boot(&["remove", &second]), &["is the entry that is started next", "rollback"]);
    refused(&place.boot(&["remove", "other.conf"]), &["of another program"]);
    refused(&place.boot(&["remove", "none.conf"]), &["has no entry none.conf"]);
    let removed = place.json(&["remove", &first]);
    assert_eq!(removed["removed"].as_array().unwrap().len(), 2, "{removed}");
    assert!(!place.refs().contains(&digest));
    assert_eq!(place.order(), [second, "other.conf".to_owned()]);
}

#[test]
fn text_of_the_partition_cannot_control_a_terminal() {
    let place = Place::new();
    let entries = place.path("esp/loader/entries");
    fs::create_dir_all(&entries).unwrap();
    fs::write(entries.join("a\u{1b}[2J.conf"), "title \u{1b}]0;x\u{7}\u{202e}\noptions composefs=\u{1b}[1m\n").unwrap();
    fs::write(entries.join("b.conf"), [b'x'; 70_000]).unwrap();
    fs::write(entries.join("c.conf"), "k v\n".repeat(1000)).unwrap();
    fs::create_dir(entries.join("d.conf")).unwrap();
    for words in [&["list"][..], &["list", "--json"], &["status"], &["status", "--json"]] {
        let ran = place.boot(words).ok();
        let all = [&ran.stdout[..], ran.stderr.as_bytes()].concat();
        assert!(all.iter().all(|byte| *byte >= 0x20 || *byte == b'\n'), "{words:?}");
        assert!(!String::from_utf8(all).unwrap().contains('\u{202e}'), "{words:?}");
        for name in ["b.conf", "c.conf", "d.conf"] {
            assert!(ran.stderr.contains(&format!("loader/entries/{name} is not read")), "{}", ran.stderr);
        }
    }
    assert_eq!(place.json(&["list"])["unread"].as_array().unwrap().len(), 3);
}
