//! What an installation writes, shares and removes.

use std::fs;

use crate::place::{Place, noise};

#[test]
fn an_installed_image_has_all_that_a_boot_needs() {
    let place = Place::new();
    let digest = place.image("1");
    let name = place.install("1", &["--option=root=LABEL=x quiet"]);
    assert_eq!(name, format!("composefs-1-{}.conf", &digest[..16]));
    let text = place.entry(&name);
    let value = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("no {key} in {text}"));
        line[key.len()..].trim().to_owned()
    };
    assert_eq!(value("title"), "Test OS (os/1)");
    assert_eq!((value("sort-key").as_str(), value("version").as_str()), ("composefs", "1"));
    let word = format!("composefs.digest=?v1-sha256-12:{digest}");
    assert_eq!(value("options"), format!("root=LABEL=x quiet rw panic=10 {word}"));
    let kernel = fs::read(place.path("esp").join(&value("linux")[1..])).unwrap();
    assert_eq!(kernel, noise("1", 50_000));
    let initrd = fs::read(place.path("esp").join(&value("initrd")[1..])).unwrap();
    assert_eq!(initrd, noise("initramfs", 30_000));
    assert_eq!(place.esp_files().len(), 3);
    // The state, as composefs-setup-root expects it, with the image's own /var.
    let state = place.path("disk/state/deploy").join(&digest);
    assert!(state.join("etc/upper").is_dir() && state.join("etc/work").is_dir());
    assert_eq!(fs::read_link(state.join("var")).unwrap().to_str(), Some("../../os/default/var"));
    assert_eq!(fs::read(state.join("var/lib/data")).unwrap(), b"data of the image");
    assert_eq!(place.refs(), [digest]);
}

#[test]
fn the_image_of_an_entry_survives_gc_without_its_name() {
    let place = Place::new();
    let digest = place.image("1");
    place.install("1", &[]);
    let _ = place.repo(&["untag", "os/1"]).ok();
    let _ = place.repo(&["gc", "--grace=0s"]).ok();
    let _ = place.repo(&["check", &digest]).ok();
    // The twin: without an entry nothing protects it.
    let other = place.image("2");
    let _ = place.repo(&["untag", "os/2"]).ok();
    let _ = place.repo(&["gc", "--grace=0s"]).ok();
    assert_ne!(place.repo(&["check", &other]).status, Some(0));
}

#[test]
fn the_newest_entry_is_the_first_and_kernels_are_shared() {
    let place = Place::new();
    let kernel = noise("same", 40_000);
    for name in ["1", "2"] {
        let tree = place.tree(name, &kernel);
        place.create(&tree, name);
        place.install(name, &["--option=quiet"]);
    }
    place.image("3");
    let third = place.install("3", &["--tries=3"]);
    assert!(third.starts_with("composefs-3-") && third.ends_with("+3.conf"), "{third}");
    let order = place.order();
    let numbers: Vec<_> = order.iter().map(|name| name.split('-').nth(1).unwrap()).collect();
    assert_eq!(numbers, ["3", "2", "1"]);
    // Three entries, and two kernels with their initramfs.
    assert_eq!(place.esp_files().len(), 3 + 2 * 2);
    // Words of the entry before, and those for counted attempts.
    let text = place.entry(&third);
    assert!(text.contains("quiet rw panic=10 composefs.refused=reboot composefs.digest="), "{text}");
    assert_eq!(text.matches("composefs.digest=").count(), 1, "{text}");
    assert!(!place.entry(&order[1]).contains("composefs.refused"));
}

#[test]
fn old_entries_go_with_their_kernels_and_refs_and_others_stay() {
    let place = Place::new();
    let entries = place.path("esp/loader/entries");
    fs::create_dir_all(&entries).unwrap();
    fs::create_dir_all(place.path("esp/composefs/mine")).unwrap();
    fs::write(place.path("esp/composefs/mine/file"), "mine").unwrap();
    fs::write(entries.join("arch.conf"), "title Arch\nlinux /arch/vmlinuz\n").unwrap();
    let mut digests = Vec::new();
    for name in ["1", "2", "3", "4"] {
        digests.push(place.image(name));
        place.install(name, &["--keep=2"]);
    }
    let files = place.esp_files();
    let own = |file: &&String| file.starts_with("loader/entries/composefs-");
    assert_eq!(files.iter().filter(own).count(), 2, "{files:?}");
    assert_eq!(files.len(), 2 + 2 * 2 + 2, "{files:?}");
    assert!(
        files.contains(&"loader/entries/arch.conf".to_owned()) && files.contains(&"composefs/mine/file".to_owned())
    );
    let mut kept = digests[2..].to_vec();
    kept.sort_unstable();
    assert_eq!(place.refs(), kept);
    // One entry of another image stays, whatever is asked for.
    place.image("5");
    let last = place.json(&["install", "os/5", "--no-verity", "--keep=1"]);
    assert_eq!(last["removed"].as_array().unwrap().len(), 2, "{last}");
    assert_eq!(place.order().len(), 3);
}

#[test]
fn nothing_is_removed_beside_an_entry_that_cannot_be_read() {
    let place = Place::new();
    for name in ["1", "2"] {
        place.image(name);
        place.install(name, &[]);
    }
    fs::write(place.path("esp/loader/entries/odd.conf"), b"title \xff\n").unwrap();
    place.image("3");
    let ran = place.boot(&["install", "os/3", "--no-verity", "--keep=1", "--json"]).ok();
    let report: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    // The entry goes, and not its kernel.
    assert_eq!(report["removed"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(place.refs().len(), 3);
    let kernels = fs::read_dir(place.path("esp/composefs")).unwrap().count();
    assert_eq!(kernels, 3);
}

#[test]
fn a_unified_kernel_image_is_copied_and_leads_to_its_image() {
    let place = Place::new();
    let digest = place.image("1");
    let line = format!("rw composefs=?{digest}");
    let uki = place.uki("os.efi", &line);
    let name = place.boot(&["install", "os/1", "--uki", &uki]).ok().line().to_owned();
    let text = place.entry(&name);
    let path = text.lines().find_map(|line| line.strip_prefix("efi ")).unwrap().trim();
    assert_eq!(fs::read(place.path("esp").join(&path[1..])).unwrap(), fs::read(&uki).unwrap());
    assert!(!text.contains("options") && !text.contains("linux"), "{text}");
    let listed = &place.json(&["list"])["entries"][0];
    assert_eq!((listed["digest"].as_str(), listed["command_line"].as_str()), (Some(&*digest), Some(&*line)));
}

#[test]
fn the_images_own_entry_gives_kernel_and_words() {
    let place = Place::new();
    let tree = place.tree("1", b"not this one");
    fs::create_dir_all(tree.join("boot/loader/entries")).unwrap();
    fs::write(tree.join("boot/vmlinuz-7"), noise("seven", 9000)).unwrap();
    fs::write(tree.join("boot/initrd-7"), noise("initrd", 8000)).unwrap();
    let entry = |version: u32| {
        format!(
            "title t\nversion {version}\nsort-key x\nlinux /vmlinuz-{version}\ninitrd /initrd-{version}\n\
             options a=b ro composefs=x\n"
        )
    };
    fs::write(tree.join("boot/loader/entries/seven.conf"), entry(7)).unwrap();
    fs::write(tree.join("boot/loader/entries/six.conf"), entry(6)).unwrap();
    place.create(&tree, "1");
    let text = place.entry(&place.install("1", &["--option=more"]));
    assert!(text.contains("a=b ro more panic=10 composefs.digest=?v1-"), "{text}");
    let kernel = text.lines().find_map(|line| line.strip_prefix("linux ")).unwrap().trim();
    assert_eq!(fs::read(place.path("esp").join(&kernel[1..])).unwrap(), noise("seven", 9000));
}

#[test]
fn a_dry_run_changes_nothing() {
    let place = Place::new();
    place.image("1");
    let ran = place.boot(&["install", "os/1", "--no-verity", "--dry-run"]).ok();
    let text = String::from_utf8(ran.stdout).unwrap();
    assert!(text.contains("/vmlinuz (50000 bytes, new)") && text.contains("options"), "{text}");
    assert!(place.esp_files().is_empty() && !place.path("disk/state").exists() && place.refs().is_empty());
}

#[test]
fn files_of_the_administrator_take_precedence() {
    let place = Place::new();
    let tree = place.tree("1", b"of the image");
    fs::remove_file(tree.join("usr/lib/modules/6.1.0/initramfs.img")).unwrap();
    place.create(&tree, "1");
    fs::write(place.path("kernel"), "kernel").unwrap();
    for (name, content) in [("one", "first part"), ("two", "second part")] {
        fs::write(place.path(name), content).unwrap();
    }
    let (kernel, one, two) = (place.word("kernel"), place.word("one"), place.word("two"));
    let words = ["--kernel", &kernel, "--initrd", &one, "--initrd", &two];
    let text = place.entry(&place.install("1", &words));
    let of = |key: &str| -> Vec<Vec<u8>> {
        let paths = text.lines().filter_map(|line| line.strip_prefix(key)).map(str::trim);
        paths.map(|path| fs::read(place.path("esp").join(&path[1..])).unwrap()).collect()
    };
    assert_eq!(of("linux "), [b"kernel"]);
    assert_eq!(of("initrd "), [&b"first part"[..], b"second part"]);
}
