//! The test of the kernel that lazy mounts rely on: recorded once in each boot, and what follows if it fails.

use std::process::Command;

use super::COMPOSEFS;
use super::lazy_fixture::{FILES, Lazy};

/// Functions for a shell in a mount namespace of its own, whose `/run` is empty: `record` writes a result of this boot,
/// `way` says how a lazy mount would be made, `mount` makes one.
const SHELL: &str = r#"
    mount -t tmpfs -o mode=755 run /run
    results=/run/composefs/self-test
    record() { mkdir -p $results; (umask 077; printf '{"boot":"%s %s","works":%s,"next_layer":%s,"reason":"REASON"}' \
        "${3:-$(cat /proc/sys/kernel/random/boot_id)}" "$(uname -r)" "$1" "$2" > $results/lazy-layers); }
    lazily() { "$COMPOSEFS" --repo=there mount --lazy="$PWD/remote" big mnt "$@"; }
    way() { lazily --dry-run --json "$@" | grep -o '"via": "[a-z]*"'; }
"#;

fn shell(lazy: &Lazy, script: &str) -> String {
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-euc", &format!("{SHELL}{script}")]).current_dir(lazy.place.dir.path());
    let output = command.env("COMPOSEFS", COMPOSEFS).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_kernel_is_tested_once_in_each_boot() {
    let Some(lazy) = Lazy::by_overlay("lazy_self_test::the_kernel_is_tested_once_in_each_boot", 1) else { return };
    let script = r#"
        way; grep -c '"works":true' $results/lazy-layers; stat -c %a /run/composefs $results $results/lazy-layers
        # A result of this boot counts; one of another boot, or that another user can write, does not.
        record false true; way; record false false; way; way -o upperdir=up,workdir=work
        if lazily --via=overlay --dry-run 2> refused; then exit 9; fi; grep -c REASON refused
        record false true another-boot; way; grep -c '"works":true' $results/lazy-layers
        record false true; chmod g+w $results/lazy-layers; way
        record false true; "$COMPOSEFS" doctor . | grep -c 'ok       lazy mounts' || true; way"#;
    let via = |way: &str| format!("\"via\": \"{way}\"\n");
    let (overlay, fuse, kernel) = (via("overlay"), via("fuse"), via("kernel"));
    let expected = format!("{overlay}1\n700\n700\n600\n{kernel}{fuse}{kernel}1\n{overlay}1\n{overlay}1\n{overlay}");
    assert_eq!(shell(&lazy, script), expected);
}

#[test]
fn a_kernel_without_lazy_mounts_gets_the_image_first() {
    let test = "lazy_self_test::a_kernel_without_lazy_mounts_gets_the_image_first";
    let Some(lazy) = Lazy::by_overlay(test, FILES) else { return };
    let script = r#"
        record false true
        lazily 2> told; grep -c 'REASON: all of big is fetched before it is mounted' told
        ls there/objects/*/* | wc -l; "$COMPOSEFS" --repo=there images | grep -c partial || true
        mv remote away; ls mnt/f* | while read file; do cmp $file big/${file#mnt/}; done; mv away remote
        ! grep -q ' - fuse' /proc/self/mountinfo; "$COMPOSEFS" umount mnt
        # The digest that is demanded is compared before anything is fetched.
        rm -rf there; "$COMPOSEFS" --repo=there init --insecure > told
        wrong=$(printf '%064d' 1); if lazily -o digest=$wrong 2> refused; then exit 9; fi; grep -c $wrong refused
        ls there/objects | wc -l"#;
    // The objects of all files, and the image.
    assert_eq!(shell(&lazy, script), format!("1\n{}\n0\n1\n0\n", FILES + 1));
    assert_eq!(lazy.objects(), 0);
}
