//! Boots that succeed: what is mounted, and what is left for the running system.

use std::fs;

use libcomposefs_image::Algorithm;

use crate::scene::{Scene, write};
use crate::{Case, nothing};

pub(crate) const CASES: &[Case] = &[
    Case { name: "the_image_becomes_the_root", needs: nothing, run: the_image_becomes_the_root },
    Case { name: "changes_of_etc_and_var_stay", needs: nothing, run: changes_of_etc_and_var_stay },
    Case { name: "the_face_of_bootc", needs: nothing, run: the_face_of_bootc },
    Case { name: "a_transient_root_forgets", needs: nothing, run: a_transient_root_forgets },
    Case { name: "the_first_image_that_exists_is_booted", needs: nothing, run: the_first_image_that_exists_is_booted },
    Case { name: "a_soft_reboot_has_its_own_target", needs: nothing, run: a_soft_reboot_has_its_own_target },
    Case { name: "a_directory_as_root", needs: nothing, run: a_directory_as_root },
    Case { name: "ostree_is_left_alone", needs: nothing, run: ostree_is_left_alone },
];

fn the_image_becomes_the_root(scene: &Scene) {
    let after = "cat $T/etc/base; echo; cat $T/sbin/init | head -2; ls $T/sysroot; \
                 readlink /run/systemd/volatile-root; \
                 cat /run/composefs/boot.json; grep \" $T \" /proc/self/mountinfo; touch $T/usr/x";
    let ran = scene.boot_in_place(&scene.word(), &[], after).ok();
    let hex = scene.digest.to_hex();
    let verity = if scene.has_verity { "require" } else { "off" };
    for text in [
        "base\n#!/bin/sh\n# init of a test\ncomposefs\nstate\n",
        "/dev/block/",
        &format!("{{\"digest\":\"{hex}\",\"algorithm\":\"sha256\",\"verity\":\"{verity}\""),
        &format!(" overlay composefs:{hex} "),
        "Read-only file system",
    ] {
        assert!(ran.stdout.contains(text), "no {text:?} in {ran:#?}");
    }
    assert_eq!(ran.stdout.contains("verity=require"), scene.has_verity, "{ran:#?}");
    assert!(ran.stderr.contains(&format!("booting {hex}")), "{ran:#?}");
    // Paths that people understand, not those of descriptors.
    let ran = scene.boot_in_place(&scene.word(), &[], "grep \" $T\" /proc/self/mountinfo").ok();
    assert!(ran.stdout.contains("/sysroot/state/deploy/"), "{ran:#?}");
    assert!(!ran.stdout.contains("/proc/self/fd"), "{ran:#?}");
}

fn changes_of_etc_and_var_stay(scene: &Scene) {
    let count =
        "for f in $T/etc/count $T/var/count; do echo x >> $f; wc -l < $f; done; stat -c %a $T/etc; cat $T/etc/base";
    let first = scene.boot(&scene.word(), &[], count).ok();
    assert!(first.stdout.starts_with("1\n1\n755\nbase"), "{first:#?}");
    let second = scene.boot(&scene.word(), &[], count).ok();
    assert!(second.stdout.starts_with("2\n2\n755\nbase"), "{second:#?}");
    let state = scene.path("disk/state/deploy").join(scene.digest.to_hex());
    assert_eq!(fs::read_to_string(state.join("etc/upper/count")).unwrap(), "x\nx\n");
    assert_eq!(fs::read_to_string(state.join("var/count")).unwrap(), "x\nx\n");
}

fn the_face_of_bootc(scene: &Scene) {
    let state = scene.path("disk/state/deploy").join(scene.digest.to_hex());
    write(&state.join("etc/copied"), "copy");
    write(&scene.path("disk/state/os/default/var/shared"), "shared");
    std::os::unix::fs::symlink("../../os/default/var", state.join("var")).unwrap();
    let after = "cat $T/etc/copied $T/var/shared; test -e $T/etc/base || echo bound; touch $T/etc/new $T/var/new; \
                 touch $T/sysroot/new; grep \" $T \" /proc/self/mountinfo";
    let ran = scene.boot(&scene.word(), &["setup-root"], after).ok();
    assert!(ran.stdout.starts_with("copysharedbound\n"), "{ran:#?}");
    assert!(ran.stdout.contains("Read-only file system") && ran.stdout.contains(" ro,"), "{ran:#?}");
    assert!(state.join("etc/new").exists() && scene.path("disk/state/os/default/var/new").exists());
    let volatile = scene.boot(&format!("{} systemd.volatile=state", scene.word()), &["setup-root"], "ls $T/var").ok();
    assert!(!volatile.stdout.contains("shared"), "{volatile:#?}");
    // The other program does not know that word.
    let config = scene.path("config");
    write(&config, "[etc]\nmount = \"bind\"\n");
    let option = format!("--config={}", config.display());
    let line = format!("{} systemd.volatile=state", scene.word());
    scene.boot(&line, &[&option], "ls $T/var").ok().prints("shared");
}

fn a_transient_root_forgets(scene: &Scene) {
    let config = scene.path("config");
    write(&config, "[root]\ntransient = true\n[etc]\nmount = \"transient\"\n[var]\ntransient = true\n");
    let option = format!("--config={}", config.display());
    let after = "ls $T/usr $T/etc $T/var; echo x > $T/usr/new && echo y > $T/etc/new && echo z > $T/var/new; \
                 cat $T/usr/new $T/etc/new $T/var/new; grep \" $T \" /proc/self/mountinfo; \
                 ls -d /run/composefs/transient-* && echo LEFT";
    for _ in 0..2 {
        let ran = scene.boot(&scene.word(), &[&option], after).ok();
        assert!(ran.stdout.contains("x\ny\nz\n") && !ran.stdout.contains("new"), "{ran:#?}");
        let source = format!(" transient:composefs={} ", scene.digest.to_hex());
        assert!(ran.stdout.contains(&source) && !ran.stdout.contains("LEFT"), "{ran:#?}");
    }
    assert!(!scene.path("disk/state").exists(), "a state was made");
}

fn the_first_image_that_exists_is_booted(scene: &Scene) {
    let second = scene.add_image(Algorithm::Sha512, "second");
    let question = if scene.has_verity { "" } else { "?" };
    let missing = format!("composefs={question}{}", "ab".repeat(32));
    let second = format!("composefs.digest={question}v1-sha512-12:{}", second.to_hex());
    let line = format!("{missing} {second} {}", scene.word());
    let ran = scene.boot(&line, &[], "cat $T/etc/base").ok().prints("second");
    assert!(ran.stderr.contains(&format!("{missing} is not in the repository")), "{ran:#?}");
    let newer = format!("composefs.digest={question}v3-sha256-12:{} {}", "ab".repeat(32), scene.word());
    let ran = scene.boot(&newer, &[], "cat $T/etc/base").ok().prints("base");
    assert!(ran.stderr.contains("unknown format, passed over"), "{ran:#?}");
    let misspelt = format!("{} composefs.vra=none composefs.refused=shell", scene.word());
    let ran = scene.boot(&misspelt, &[], "cat $T/etc/base").ok();
    for word in ["composefs.vra=none", "composefs.refused=shell"] {
        assert!(ran.stderr.contains(&format!("{word}: unknown word or value")), "{ran:#?}");
    }
}

fn a_soft_reboot_has_its_own_target(scene: &Scene) {
    let next = scene.add_image(Algorithm::Sha256, "next");
    let after = "cat $T/etc/base; cat /run/composefs/nextroot.json; ls /run/composefs /run/systemd; ls $D/composefs";
    let ran = scene.boot(&scene.word_of(&next), &[], after).ok();
    assert!(ran.stdout.starts_with(&format!("next{{\"digest\":\"{}", next.to_hex())), "{ran:#?}");
    assert!(!ran.stdout.contains("boot.json") && !ran.stdout.contains("volatile-root"), "{ran:#?}");
    assert!(ran.stdout.contains("meta.json"), "the disk is covered: {ran:#?}");
}

fn a_directory_as_root(scene: &Scene) {
    for directory in ["sbin", "etc", "var", "sysroot"] {
        fs::create_dir_all(scene.path("plain").join(directory)).unwrap();
    }
    write(&scene.path("plain/marker"), "plain");
    let option = format!("--root-fs={}", scene.path("plain").display());
    let ran = scene.boot(&scene.word(), &[&option], "cat $T/marker; ls /run/composefs").ok().prints("plain");
    // Nothing is verified: there is no record that says otherwise.
    assert!(!ran.stdout.contains("nextroot.json") && ran.stderr.contains("nothing is verified"), "{ran:#?}");
}

fn ostree_is_left_alone(scene: &Scene) {
    let ran = scene.boot("ostree=/ostree/boot.1 rw", &[], crate::scene::MOUNTED).ok();
    assert!(!ran.stdout.contains("MOUNTED") && ran.stderr.contains("nothing to do"), "{ran:#?}");
}
