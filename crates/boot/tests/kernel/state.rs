//! The state of an image: made if it is missing, refused if it is of the wrong kind.

use std::fs;

use crate::scene::{MOUNTED, Scene, write};
use crate::{Case, nothing};

pub(crate) const CASES: &[Case] = &[
    Case { name: "a_missing_state_is_made", needs: nothing, run: a_missing_state_is_made },
    Case { name: "the_wrong_kind_of_state", needs: nothing, run: the_wrong_kind_of_state },
    Case { name: "a_disk_that_is_read_only", needs: nothing, run: a_disk_that_is_read_only },
    Case { name: "a_state_that_leads_nowhere", needs: nothing, run: a_state_that_leads_nowhere },
];

fn a_missing_state_is_made(scene: &Scene) {
    write(&scene.path("disk/state/os/default/var/shared"), "shared");
    scene.boot(&scene.word(), &[], "cat $T/var/shared").ok().prints("shared");
    let state = scene.path("disk/state/deploy").join(scene.digest.to_hex());
    assert_eq!(fs::read_link(state.join("var")).unwrap().to_str(), Some("../../os/default/var"));
    assert!(state.join("etc/upper").is_dir() && state.join("etc/work").is_dir());
}

fn the_wrong_kind_of_state(scene: &Scene) {
    let etc = scene.path("disk/state/deploy").join(scene.digest.to_hex()).join("etc");
    write(&etc.join("passwd"), "copy");
    scene.boot(&scene.word(), &[], MOUNTED).refused(&["is a full copy, which an overlay would hide"]);
    scene.boot(&scene.word(), &["setup-root"], "cat $T/etc/passwd").ok().prints("copy");
    fs::remove_file(etc.join("passwd")).unwrap();
    scene.boot(&scene.word(), &["setup-root"], MOUNTED).refused(&["is not a full copy"]);
    scene.boot(&scene.word(), &[], MOUNTED).ok();
    scene.boot(&scene.word(), &["setup-root"], MOUNTED).refused(&["has the changes of an overlay"]);
}

fn a_disk_that_is_read_only(scene: &Scene) {
    let before = "mount --bind $D $D && mount -o remount,bind,ro $D";
    scene.boot_after(before, &scene.word(), &[], MOUNTED).refused(&["the disk is mounted read-only", "Write rw"]);
    let config = scene.path("config");
    write(&config, "[etc]\nmount = \"transient\"\n[var]\nmount = \"transient\"\n");
    let option = format!("--config={}", config.display());
    scene.boot_after(before, &scene.word(), &[&option], MOUNTED).ok().prints("MOUNTED");
    assert!(!scene.path("disk/state").exists());
}

fn a_state_that_leads_nowhere(scene: &Scene) {
    let state = scene.path("disk/state/deploy").join(scene.digest.to_hex());
    fs::create_dir_all(&state).unwrap();
    std::os::unix::fs::symlink("../../os/default/var", state.join("var")).unwrap();
    scene.boot(&scene.word(), &[], MOUNTED).refused(&["reading the state"]);
    // A symlink cannot lead out of the disk, however it is written.
    fs::remove_file(state.join("var")).unwrap();
    std::os::unix::fs::symlink("/../../../../../../../..", state.join("var")).unwrap();
    let ran = scene.boot(&scene.word(), &[], "ls $T/var").ok();
    assert!(ran.stdout.contains("composefs\nstate\n"), "{ran:#?}");
}
