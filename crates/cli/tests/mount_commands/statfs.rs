//! `--statfs=objects`: the mount shows the numbers of the objects' file system, and is otherwise the same.

use super::fixture::Place;

/// Makes a repository with the image `one`, whose root directory has attributes of all kinds. `free` and `root` print
/// what a mount shows; `attributes` prints all that `rsync` and `tar` keep.
const SETUP: &str = r#"
    mkdir tree tree/sub m0 m1; seq 20000 >tree/file; seq 30 >tree/sub/small; ln tree/file tree/sub/link
    chown 7:8 tree; setfattr -n user.k -v 1 tree; setfattr -n trusted.other -v 2 tree
    setfattr -n trusted.overlay.redirect -v /elsewhere tree; setfattr -n user.sub -v 3 tree/sub
    chmod 3751 tree; touch -d '2001-02-03 04:05:06.789012345 UTC' tree
    composefs --repo=repo init --insecure >/dev/null; image=$(composefs --repo=repo create tree --name=one)
    size() { df --output=size "$1" | tail -1; }
    attributes() { (cd "$1"
        find . ! -type d -printf '%P %y %m %U:%G %T@ %n %s\n' -o -printf '%P %y %m %U:%G %T@\n' | sort
        getfattr -R -d -m- . | sort; find . -type f | sort | xargs sha256sum); }
    immutable() { lsattr -d "repo/statfs/$image" | cut -c5; }
"#;

fn run(place: &Place, script: &str) -> String {
    place.in_namespace(&format!("{SETUP}\n{script}")).succeeds()
}

pub(super) fn it_is_of_the_objects(place: &Place) {
    let script = r#"
        composefs --repo=repo mount one m0; composefs --repo=repo mount one m1 --statfs=objects
        test $(size m1) = $(size repo); test $(size m0) -lt 100; test $(df --output=avail m1 | tail -1) -gt 0
        attributes m0 >0; attributes m1 >1; diff 0 1; grep -c -e trusted.overlay.redirect -e user.k 1
        # The default of the option, and the option itself.
        umount m0; composefs --repo=repo mount one m0 -o statfs=objects; test $(size m0) = $(size repo); umount m0
        composefs --repo=repo mount one m0 --statfs=image -o statfs=objects; test $(size m0) -lt 100; umount m0
        composefs --repo=repo mount one m0 --statfs=objects --via=fuse; test $(size m0) = $(size repo); umount m0
        mount.composefs repo/images/$image m0 -o basedir=repo/objects,statfs=objects; test $(size m0) = $(size repo)
        umount m0; composefs mount repo/images/$image m0 -o basedir=repo/objects,statfs=objects
        test $(size m0) = $(size repo); umount m0
        ls repo/statfs | wc -l
        # gc keeps it while it is mounted, and removes it with the image.
        composefs --repo=repo untag one >/dev/null; composefs --repo=repo gc --grace=0 >/dev/null
        attributes m1 | diff 1 -
        umount m1; composefs --repo=repo gc --grace=0 | grep statfs; ls -A repo/statfs"#;
    let printed = run(place, script);
    assert_eq!(printed, "2\n1\ndirectories in statfs/ of 1 removed image removed\n");
}

pub(super) fn no_names_are_added(place: &Place) {
    let script = r#"
        # Files, attributes and a half-made directory from elsewhere are not used.
        mkdir -p repo/statfs/$image repo/statfs/new/below; chmod 700 repo/statfs; echo bad >repo/statfs/$image/passwd
        if composefs --repo=repo mount one m1 --statfs=objects 2>error; then exit 9; fi; rm -r repo/statfs/new
        composefs --repo=repo mount one m1 --statfs=objects; composefs --repo=repo mount one m0
        attributes m0 >0; attributes m1 | diff 0 -; ls -A repo/statfs | wc -l; umount m1
        chattr -i repo/statfs/$image repo/statfs/$image.1; rm -r repo/statfs
        # What is here is used again, and not even root adds a name where the file system can prevent it.
        composefs --repo=repo mount one m1 --statfs=objects; umount m1
        composefs --repo=repo mount one m1 --statfs=objects; ls -A repo/statfs | wc -l
        if test "$(immutable)" = i; then
            if touch repo/statfs/$image/passwd 2>/dev/null || rmdir repo/statfs/$image 2>/dev/null; then exit 9; fi
        fi
        attributes m1 | diff 0 -; umount m1
        # A directory with the attributes of the root, and a file, is not used.
        chattr -i repo/statfs/$image || true; echo bad >repo/statfs/$image/passwd
        touch -d '2001-02-03 04:05:06.789012345 UTC' repo/statfs/$image
        composefs --repo=repo mount one m1 --statfs=objects; ls -A repo/statfs | wc -l
        attributes m1 | diff 0 -; umount m1
        # A directory of another user is refused.
        chown 1000 repo/statfs; composefs --repo=repo mount one m1 --statfs=objects 2>&1 || true
        chown 0 repo/statfs; chmod 777 repo/statfs; composefs --repo=repo mount one m1 --statfs=objects
        stat -c %a repo/statfs; chattr -i repo/statfs/* || true"#;
    let printed = run(place, script);
    assert!(printed.starts_with("2\n1\n2\ncomposefs: repo/statfs: it belongs to another user"), "{printed}");
    assert!(printed.ends_with("(--via=fuse)\n700\n"), "{printed}");
}

pub(super) fn without_a_place(place: &Place) {
    let script = r#"
        for line in 'composefs mount image m1 -o basedir=objects --statfs=objects' \
            'composefs mount image m1 -o basedir=objects --statfs=objects --dry-run' \
            'mount.composefs image m1 -o basedir=objects,statfs=objects' \
            'composefs mount image m1 -o basedir=repo/objects,statfs=objects' \
            'composefs --repo=repo mount one m1 -o upperdir=m0,workdir=tree --statfs=objects' \
            'composefs --repo=repo mount one m1 -o statfs=objects --image-only' \
            'composefs --repo=repo mount one m1 -o statfs=objects --print-spec' \
            'composefs --repo=repo mount one m1 -o statfs=all'
        do if $line >said 2>&1; then exit 9; fi; cat said; done
        if grep -q " $PWD/m1 " /proc/self/mountinfo; then exit 9; fi; test ! -e repo/statfs
        # Their twins succeed, and a plan makes nothing.
        composefs mount image m1 -o basedir=objects --statfs=objects --via=fuse; umount m1
        composefs --repo=repo mount one m1 --statfs=objects --dry-run | grep -c 'answers statfs'
        composefs --repo=repo mount one m1 --statfs=objects --dry-run --json | grep -c '"statfs": *"objects"'
        test ! -e repo/statfs
        composefs --repo=repo mount one m1 --statfs=objects; chattr -i repo/statfs/* || true"#;
    let said = run(place, script);
    let place = "it needs an empty directory on the file system of the objects, for which an image file has no place";
    assert_eq!(said.matches(place).count(), 4, "{said}");
    assert_eq!(said.matches("composefs --repo=REPO mount REF DIR --statfs=objects").count(), 4, "{said}");
    for rule in ["with upperdir= the file system of the upper", "--image-only", "leave it out", "is not image or"] {
        assert!(said.contains(rule), "{rule}: {said}");
    }
    assert!(said.ends_with("\n1\n1\n"), "{said}");
}
