//! `composefs mount --via=overlay`: served layers below overlayfs, beside the kernel's mount and the image server, as
//! root and as a user without privileges.

use crate::fixture::Place;
use crate::fuse::{AS_USER, SERVERS, TREE, run};

/// Functions that compare two mounts by programs of others.
const JUDGES: &str = "
    compare() {
        rsync -naciAXH --delete $1/ $2/
        with() { tar --xattrs --xattrs-include='*' --acls --numeric-owner \"$@\"; }
        with -C $1 -cf judged.tar .; with -C $2 -df judged.tar
        facts() { (cd $1; find . -type d -printf '%p %m %U %G %T@\\n' -o -printf '%p %y %m %n %U %G %s %T@ %l\\n' |
            sort; getfattr -dhR -m - .); }
        facts $1 >first.facts; facts $2 >second.facts; diff first.facts second.facts
        grep -c user.overlay.redirect second.facts; }
    ";

/// The tree without attributes that only root can see, and with one that overlayfs would follow.
const VISIBLE: &str = "\
    setfattr -x trusted.c tree/a/f2; setfattr -x trusted.overlay.redirect tree/a/f3
    setfattr -n user.overlay.redirect -v /etc/passwd tree/a/f5";

fn run_bash(place: &Place, script: &str) -> String {
    place.write("script", &format!("{SERVERS}{JUDGES}{script}"));
    place.in_namespace("bash -e script").succeeds()
}

/// Kernel mount, image server and overlay are equal; there is one mount, and nothing is left after it.
pub(super) fn they_are_equal_to_the_kernels_mount(place: &Place) {
    let script = format!(
        "{TREE}
         {VISIBLE}
         mkcomposefs --hardlinks --digest-store=store tree tree.img
         mkdir kernel fuse
         mount.composefs tree.img kernel -o basedir=store
         composefs-fuse -o source=tree.img,basedir=store,suid,dev,allow_other fuse
         composefs mount tree.img mnt -o basedir=store --via=overlay --json | grep -o '\"verified_by\": .*'
         grep -c 'mnt ro,relatime .* overlay composefs ro,.*userxattr' /proc/self/mountinfo
         grep -c 'fuse.composefs' /proc/self/mountinfo
         compare kernel mnt; compare fuse mnt
         composefs mounts | grep -c -w mnt
         test \"$(df --output=size mnt | tail -1)\" = \"$(df --output=size store | tail -1)\"
         umount kernel fuse; composefs umount mnt; servers_end"
    );
    assert_eq!(run_bash(place, &script), "\"verified_by\": \"server\",\n1\n1\n1\n1\n1\n");
}

/// A writable layer above: files with attributes that root alone can see are copied up too.
pub(super) fn changes_are_stored_above(place: &Place) {
    let script = "\
        mkdir tree upper work; seq 50000 >tree/large; echo a >tree/a; echo gone >tree/gone
        setfattr -n trusted.c -v d tree/a; setfattr -n user.u -v v tree/a
        mkcomposefs --digest-store=store tree tree.img
        unshare -Urm sh -ec '
            composefs mount tree.img mnt -o basedir=store,upperdir=upper,workdir=work --json | grep via
            cmp mnt/large tree/large; echo more >>mnt/large; echo more >>mnt/a; echo new >mnt/new; rm mnt/gone
            tail -n1 mnt/large; cat mnt/a; getfattr --only-values -n user.u mnt/a; echo'
        servers_end; ls upper; tail -n1 upper/large";
    let expected = "    \"via\": \"overlay\",\nmore\na\nmore\nv\na\ngone\nlarge\nnew\nmore\n";
    assert_eq!(run(place, script).succeeds(), expected);
}

/// A changed byte gives an error, and a signal to the server, or its death, ends the mount.
pub(super) fn damage_and_death(place: &Place) {
    let script = "\
        object=$(find objects -type f); printf X | dd of=$object bs=1 seek=7 conv=notrunc 2>/dev/null
        unshare -m sh -ec '
            composefs mount image mnt -o basedir=objects --via=overlay
            cat mnt/dir/inline
            if cat mnt/dir/external; then exit 9; fi 2>&1 | grep -o \"Input/output error\"
            exec sleep 1000' & shell=$!
        for _ in $(seq 200); do test -n \"$(servers)\" && break; sleep 0.05; done; sleep 0.3
        test $(readlink /proc/$(servers)/ns/mnt) != $(readlink /proc/$shell/ns/mnt)
        kill -TERM $(servers); servers_end
        grep -c userxattr /proc/$shell/mountinfo || true
        kill $shell; wait $shell || true
        # The last process of a namespace ends, and its server too.
        unshare -m sh -ec 'composefs mount image mnt -o basedir=objects --via=overlay; cat mnt/dir/inline'
        servers_end
        composefs mount image mnt -o basedir=objects --via=overlay
        kill -KILL $(servers); servers_end
        if cat mnt/dir/inline 2>error; then exit 9; fi
        composefs umount mnt; servers_end";
    assert_eq!(run(place, script).succeeds(), "inline\nInput/output error\n0\ninline\n");
}

/// What overlayfs could not find, or not verify, is refused before anything is mounted.
pub(super) fn what_cannot_be_joined(place: &Place) {
    place.write(
        "dump",
        "/ 0 40755 2 0 0 0 1.0 - - -\n\
         /f 9 100644 1 0 0 0 1.0 elsewhere/file - 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\n\
         /g 9 100644 1 0 0 0 1.0 some/file - -\n",
    );
    let script = "\
        grep -v ^/f dump >none; mkcomposefs --from-file none none.img
        grep -v ^/g dump >one; mkcomposefs --from-file one one.img
        for image in none.img one.img; do
            if composefs mount $image mnt -o basedir=objects --via=overlay 2>>error; then exit 9; fi; done
        servers_end; ls mnt
        composefs mount one.img mnt -o basedir=objects --via=fuse; ls mnt; umount mnt; servers_end
        grep -c 'none.img: the image records no digest for the object some/file' error
        grep -c 'one.img: inode [0-9]* of the image has an object whose path is not that of its digest' error
        grep -c 'remedy: overlayfs finds objects by their digests: use --via=fuse' error";
    assert_eq!(run(place, script).succeeds(), "f\n1\n1\n2\n");
}

/// A user without privileges, in a user namespace of its own: equal to the image server, for which the kernel does
/// nothing but pass requests on.
pub(super) fn a_user_joins_layers(place: &Place) {
    let script = format!(
        "{TREE}
         {VISIBLE}
         setfacl -b tree/a/f4; chown -hR 0:0 tree; chmod -R a+rX tree
         mkcomposefs --hardlinks --digest-store=store tree tree.img
         chmod 644 tree.img; chmod -R a+rX store
         {AS_USER}
         chown tester user; mkdir user/served; chown tester user/served; cd user; export -f compare
         as_user composefs doctor . | grep -o 'way to mount: fuse'
         as_user unshare -Urm bash -ec '
             composefs doctor . | grep -o \"way to mount: overlay\"
             composefs mount ../tree.img mnt -o basedir=../store --json | grep -e via -e verified_by
             composefs mount ../tree.img served -o basedir=../store --via=fuse
             compare served mnt
             cat mnt/a/f5 | cmp - ../tree/a/f5
             if echo x 2>/dev/null >mnt/new; then exit 9; fi'
         servers_end; test -z \"$(cat /proc/self/mountinfo | grep -e served -e userxattr)\""
    );
    place.sh("mkdir user; chmod 755 . bin objects objects/*; chmod 644 image objects/*/*");
    let expected = "way to mount: fuse\nway to mount: overlay\n    \"verified_by\": \"server\",\n    \
                    \"via\": \"overlay\",\n1\n";
    assert_eq!(run_bash(place, &script), expected);
}

/// Returns the reason why the kernel joins no layers in a user namespace.
pub(super) fn no_layers() -> Option<String> {
    let doctor = "unshare -Urm \"$0\" doctor . | grep -q 'way to mount: overlay'";
    let found = std::process::Command::new("sh").args(["-c", doctor, env!("CARGO_BIN_EXE_composefs")]).status();
    let joins = found.is_ok_and(|status| status.success());
    (!joins).then(|| "the kernel joins no layers in a user namespace (Linux 6.16)".to_owned())
}
