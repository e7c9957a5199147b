//! `composefs-fuse` and `composefs mount --via=fuse`: beside the kernel's mount, in the background, and as a user
//! without privileges.

use crate::fixture::{Answer, Place, content};

/// Functions of the scripts: the servers that the test has started, and waiting for their end.
pub(super) const SERVERS: &str = "
    PLACE=$PWD
    servers() { for process in /proc/[0-9]*; do
        case $(cat $process/comm 2>/dev/null) in composefs*)
            if tr '\\0' '\\n' 2>/dev/null <$process/environ | grep -q \"^PATH=.*$PLACE/bin:\"; then
                echo ${process#/proc/}; fi;;
        esac; done; }
    servers_end() { for _ in $(seq 100); do test -n \"$(servers)\" || return 0; sleep 0.05; done
        echo \"servers are left: $(servers)\" >&2; return 1; }
    trap 'umount -l mnt verified user/mnt 2>/dev/null || true; kill $(servers) 2>/dev/null || true' EXIT
    ";

/// Runs a script in a mount namespace of its own, with the functions.
pub(super) fn run(place: &Place, script: &str) -> Answer {
    place.in_namespace(&format!("{SERVERS}{script}"))
}

pub(super) fn the_program_explains_itself(place: &Place) {
    let usage = place.sh("composefs-fuse --help").succeeds();
    assert!(usage.starts_with("usage: composefs-fuse [-fsd] -o source=IMAGE,basedir=DIR"), "{usage}");
    for (line, message) in [
        ("", "no mountpoint specified"),
        ("mnt", "No source path specified"),
        ("mnt extra -o source=image", "invalid argument `extra'"),
        ("mnt -o source=image,frob", "unknown option(s): `-o frob'"),
        ("mnt -o source=missing,basedir=objects", "Failed to open missing: No such file or directory"),
        ("mnt -o source=/dev/null,basedir=objects", "/dev/null"),
        ("mnt -o source=objects/2c,basedir=objects", "Is a directory"),
        ("missing -o source=image,basedir=objects", "cannot mount at missing: No such file or directory"),
        ("image -o source=image,basedir=objects", "cannot mount at image: it is no directory"),
        ("mnt -o source=image,basedir=missing", "cannot open the object directory missing"),
    ] {
        let error = place.sh(&format!("composefs-fuse {line}")).fails(1);
        assert!(error.starts_with("composefs-fuse: ") && error.contains(message), "{line}: {error}");
    }
    place.sh("head -c 5000 /dev/zero >zeros; head -c 100 image >short");
    assert!(place.sh("composefs-fuse mnt -o source=zeros,basedir=objects").fails(1).contains("Wrong cfs magic"));
    assert!(place.sh("composefs-fuse mnt -o source=short,basedir=objects").fails(1).contains("Too small image"));
    let digest = "ab".repeat(32);
    let error = place.sh(&format!("composefs-fuse mnt -o source=image,basedir=objects,digest={digest}")).fails(1);
    assert!(error.contains("expected sha256:abab") && error.contains("\nremedy: "), "{error}");
}

pub(super) fn the_way_is_said_before(place: &Place) {
    let plan = place.sh("composefs mount image mnt -o basedir=objects --via=fuse --dry-run").succeeds();
    assert!(plan.contains("each block is verified by the server"), "{plan}");
    for (words, via, verified_by) in [
        ("--via=fuse", "fuse", "server"),
        ("--via=fuse --insecure", "fuse", "none"),
        ("--via=overlay", "overlay", "server"),
        ("--via=overlay -o verity", "overlay", "server"),
        ("--via=overlay -o upperdir=u,workdir=w", "overlay", "server"),
        ("--via=kernel", "kernel", "none"),
        ("--via=kernel -o verity", "kernel", "kernel"),
        ("--via=auto -o upperdir=u,workdir=w", "kernel", "none"),
    ] {
        let line = format!("composefs mount image mnt -o basedir=objects --dry-run --json {words}");
        let json: serde_json::Value = serde_json::from_str(&place.sh(&line).succeeds()).unwrap();
        assert_eq!((&json["plan"]["via"], &json["plan"]["verified_by"]), (&via.into(), &verified_by.into()), "{line}");
    }
    for (words, message) in [
        ("--via=fuse -o upperdir=u,workdir=w", "upperdir= cannot be used with --via=fuse"),
        ("--via=fuse --image-only", "--image-only cannot be used with --via=fuse"),
        ("--via=overlay --image-only", "--image-only cannot be used with --via=overlay"),
        ("--via=overlay -o idmap=/proc/self/ns/user", "idmap= cannot be used with --via=overlay"),
        ("--via=overlay -o nosymfollow", "nosymfollow cannot be used with --via=overlay"),
        ("--via=overlay --insecure", "--insecure is for --via=fuse"),
        ("--via=kernel --insecure", "--insecure is for --via=fuse"),
    ] {
        let error = place.sh(&format!("composefs mount image mnt -o basedir=objects {words}")).fails(1);
        assert!(error.contains(message), "{words}: {error}");
    }
    place.sh("composefs mount image mnt -o basedir=objects --via=magic").fails(2);
    // An error is printed as JSON too.
    let digest = "ab".repeat(32);
    let line = format!("composefs mount image mnt -o basedir=objects,digest={digest} --via=fuse --json 2>&1 || true");
    let said = place.sh(&line).succeeds();
    let mut json = serde_json::Deserializer::from_str(&said).into_iter::<serde_json::Value>();
    let error = json.next().unwrap().unwrap();
    assert!(error["error"]["message"].as_str().unwrap().contains("image has another digest"), "{said}");
    assert!(error["error"]["remedy"].is_string(), "{said}");
}

pub(super) fn it_serves_in_the_background(place: &Place) {
    let script = "\
        composefs-fuse -o source=image,basedir=objects mnt
        grep -o ' ro,nosuid,nodev,relatime - fuse.composefs composefs ro' /proc/self/mountinfo >&2
        cat mnt/dir/inline mnt/dir/external
        composefs umount mnt
        servers_end
        composefs mount image mnt -o basedir=objects,noexec --via=fuse --json >json
        grep -q '\"verified_by\": \"server\"' json
        composefs mounts | grep -q mnt
        cat mnt/dir/external
        umount mnt
        servers_end
        # A signal ends a server in the foreground, and unmounts.
        composefs-fuse -f -o source=image,basedir=objects mnt & server=$!
        for _ in $(seq 100); do mountpoint -q mnt && break; sleep 0.05; done
        cat mnt/dir/inline; kill -TERM $server; wait $server
        if mountpoint -q mnt; then exit 9; fi
        # And one in the background, which is in another mount namespace.
        composefs-fuse -o source=image,basedir=objects mnt
        test $(readlink /proc/$(servers)/ns/mnt) != $(readlink /proc/self/ns/mnt)
        cat mnt/dir/inline; kill -TERM $(servers); servers_end
        if mountpoint -q mnt; then exit 9; fi";
    let printed = run(place, script).succeeds();
    assert_eq!(printed, format!("inline\n{0}{0}inline\ninline\n", content()));
}

pub(super) fn damage_is_not_served(place: &Place) {
    let script = "\
        object=$(find objects -type f); printf X | dd of=$object bs=1 seek=7 conv=notrunc 2>/dev/null
        composefs mount image mnt -o basedir=objects --via=fuse
        cat mnt/dir/inline
        if cat mnt/dir/external; then exit 9; fi 2>&1 | grep -o 'Input/output error'
        umount mnt
        servers_end
        composefs mount image mnt -o basedir=objects --via=fuse --insecure
        head -c 9 mnt/dir/external
        umount mnt
        servers_end";
    assert_eq!(run(place, script).succeeds(), "inline\nInput/output error\ncomposeXs");
}

/// A random tree, by the kernel's mount and by ours, compared by rsync, tar, find and getfattr.
pub(super) fn it_is_equal_to_the_kernels_mount(place: &Place) {
    let script = format!(
        "{TREE}
         mkcomposefs --hardlinks --digest-store=store tree tree.img
         mkdir kernel fuse
         mount.composefs tree.img kernel -o basedir=store
         composefs-fuse -o source=tree.img,basedir=store,suid,dev,allow_other fuse
         rsync -naciAXH --delete kernel/ fuse/
         with() {{ tar --xattrs --xattrs-include='*' --acls --numeric-owner \"$@\"; }}
         with -C kernel -cf kernel.tar .; with -C fuse -df kernel.tar
         facts() {{ (cd $1; find . -type d -printf '%p %m %U %G %T@\\n' -o -printf '%p %y %m %n %U %G %s %T@ %l\\n') |
             sort; }}
         facts kernel >kernel.facts; facts fuse >fuse.facts; diff kernel.facts fuse.facts
         getfattr -dhR -m - kernel | sed s,kernel,, >kernel.xattrs
         getfattr -dhR -m - fuse | sed s,fuse,, >fuse.xattrs
         grep -c security.capability kernel.xattrs
         # One escape is taken away by both.
         grep -c trusted.overlay.redirect kernel.xattrs
         diff kernel.xattrs fuse.xattrs
         getfacl -R kernel 2>/dev/null | grep -c user:1234:r
         diff <(cd kernel; getfacl -R .) <(cd fuse; getfacl -R .)
         test $(stat -c %i fuse/hard1) = $(stat -c %i fuse/hard2)
         umount kernel fuse
         servers_end"
    );
    place.write("script", &format!("{SERVERS}{script}"));
    assert_eq!(place.in_namespace("bash -e script").succeeds(), "1\n1\n1\n");
}

/// Files of many lengths, names, owners and types, chosen by a fixed seed.
pub(super) const TREE: &str = "\
    mkdir tree; cd tree; RANDOM=4711
    for d in a b c/d/e 'name with space'; do mkdir -p \"$d\"; for f in $(seq 30); do
        head -c $((RANDOM * RANDOM % 300000)) /dev/urandom >\"$d/f$f\"
        chmod $((RANDOM % 8))$((RANDOM % 8))$((RANDOM % 8)) \"$d/f$f\"; chown $RANDOM:$RANDOM \"$d/f$f\"
        touch -d @$((RANDOM * RANDOM)).$RANDOM \"$d/f$f\"
    done; done
    mkdir many; (cd many; seq -f file%.0f 3000 | xargs touch)
    echo one >hard1; ln hard1 hard2; head -c 100000 /dev/urandom >large; ln large c/large
    ln -s a/f1 link; ln -s $(printf 'x%.0s' $(seq 3000)) long; mkfifo fifo; mknod null c 1 3; mknod disk b 8 1
    echo setuid >setuid; chmod 4755 setuid; mkdir sticky; chmod 1777 sticky
    setfattr -n user.a -v b a/f1; setfattr -n trusted.c -v d a/f2
    setfattr -n user.big -v $(printf 'y%.0s' $(seq 900)) a
    setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 setuid
    setfattr -n trusted.overlay.redirect -v /etc/passwd a/f3
    setfacl -m u:1234:r a/f4
    cd ..";

/// A killed server answers nothing, and what it leaves can be unmounted.
pub(super) fn a_killed_server(place: &Place) {
    let script = "\
        composefs mount image mnt -o basedir=objects --via=fuse
        cat mnt/dir/external
        kill -KILL $(servers); servers_end
        # A request between the end of the process and that of its connection has another error.
        for _ in $(seq 100); do
            if cat mnt/dir/inline 2>error; then exit 9; fi
            grep -q 'Software caused connection abort' error || break
        done
        grep -o 'Transport endpoint is not connected' error
        # What was read is right or not there.
        if cat mnt/dir/external >rest 2>error; then cmp rest objects/*/*; fi
        composefs mounts | grep -c $PWD/mnt
        composefs umount mnt
        composefs mount image mnt -o basedir=objects --via=fuse
        cat mnt/dir/inline; umount mnt; servers_end";
    let expected = format!("{}Transport endpoint is not connected\n1\ninline\n", content());
    assert_eq!(run(place, script).succeeds(), expected);
}

/// A namespace that ends takes its mounts along, and these their servers.
pub(super) fn a_namespace_ends(place: &Place) {
    let script = "\
        for server in 'composefs-fuse -o source=image,basedir=objects mnt' \
            'composefs mount image mnt -o basedir=objects --via=fuse'; do
            unshare -m sh -ec \"$server; cat mnt/dir/inline\"
            servers_end
        done
        # In a user namespace the choice is FUSE, too.
        unshare -Urm sh -ec '
            composefs mount image mnt -o basedir=objects --json | grep -o \"verified_by.*server\"
            cat mnt/dir/external; df --output=target mnt | tail -1'
        servers_end";
    let mount = place.path("mnt").canonicalize().unwrap();
    let expected = format!("inline\ninline\nverified_by\": \"server\n{}{}\n", content(), mount.display());
    assert_eq!(run(place, script).succeeds(), expected);
}

/// An image of a repository: its digest is demanded, and gc keeps the image as long as it is served.
pub(super) fn gc_keeps_what_is_served(place: &Place) {
    let script = "\
        mkdir tree; seq 20000 >tree/file; composefs --repo=repo init --insecure >/dev/null
        composefs --repo=repo create tree --name=one >/dev/null
        composefs --repo=repo mount one mnt --via=fuse
        test $(df --output=size mnt | tail -1) = $(df --output=size repo | tail -1)
        composefs --repo=repo untag one >/dev/null
        composefs --repo=repo gc --grace=0 >/dev/null; cmp mnt/file tree/file
        object=$(find repo/objects -type f -size +64k); test -n \"$object\"
        umount mnt; servers_end
        composefs --repo=repo gc --grace=0 >/dev/null; test -z \"$(find repo/objects -type f)\"
        # Another image by the same name is not served.
        composefs --repo=repo create tree --name=one >/dev/null
        image=$(readlink -f repo/images/refs/one); printf X | dd of=$image bs=1 seek=1100 conv=notrunc 2>/dev/null
        if composefs --repo=repo mount one mnt --via=fuse 2>error; then exit 9; fi
        grep -o 'digest' error | head -1";
    assert_eq!(run(place, script).succeeds(), "digest\n");
}

/// The kernel's mount reads verified contents from a file system without fs-verity, and the image itself too.
pub(super) fn objects_are_served(place: &Place) {
    let script = "\
        digest=$(composefs digest image | cut -d' ' -f1); image=$(echo $digest | sed 's,^..,&/,')
        mkdir -p verified objects/${image%/*}; cp image objects/$image
        composefs serve-objects objects verified
        composefs mount verified/$image mnt -o basedir=verified
        cat mnt/dir/external; ls mnt/dir
        composefs mounts | grep -c -e verified -e mnt
        composefs umount mnt; composefs umount verified; servers_end
        # A block of the image, and one of an object: an error, never the byte.
        chmod u+w objects/$image; printf X | dd of=objects/$image bs=1 seek=1100 conv=notrunc 2>/dev/null
        object=$(find objects -type f -size 1); printf X | dd of=$object bs=1 seek=7 conv=notrunc 2>/dev/null
        composefs serve-objects objects verified
        if composefs mount verified/$image mnt -o basedir=verified 2>error; then exit 9; fi
        composefs mount image mnt -o basedir=verified
        if cat mnt/dir/external; then exit 9; fi 2>&1 | grep -o 'Input/output error'
        umount mnt; composefs umount verified; servers_end";
    let printed = run(place, script).succeeds();
    let (first, rest) = printed.split_at(content().len());
    assert_eq!(first, content());
    assert!(rest.contains("inline\n") && rest.ends_with("\n2\nInput/output error\n"), "{rest}");
}

/// Makes a user without privileges, and the function `as_user`, which runs a command as this user. The user has a copy
/// of the program, as it need not be able to read the directory of the build.
pub(super) const AS_USER: &str = "\
        mount -t tmpfs tmpfs user; mknod -m 666 user/fuse c 10 229; mount --bind user/fuse /dev/fuse
        sed '$a tester:x:54321:54321::/:/bin/sh' /etc/passwd >user/passwd; mount --bind user/passwd /etc/passwd
        mkdir user/mnt; chown tester user/mnt; chmod 755 . user
        cp $(readlink -f bin/composefs) user/composefs; ln -s composefs user/composefs-fuse; PATH=$PWD/user:$PATH
        as_user() { setpriv --reuid=tester --regid=54321 --clear-groups --inh-caps=-all \"$@\"; }
    ";

/// A user without privileges, made for this test, mounts by fusermount3, where the device is accessible as on a
/// usual machine.
pub(super) fn a_user_mounts(place: &Place) {
    let script = "\
        as_user id -un
        as_user composefs mount image user/mnt -o basedir=objects --dry-run | grep -o 'verified by the server'
        as_user composefs mount image user/mnt -o basedir=objects --json | grep -o '\"fuse\": .*\"'
        as_user cat user/mnt/dir/external
        # The mount is its user's alone.
        cat user/mnt/dir/external 2>&1 | grep -o 'Permission denied'
        # A mount in use stays.
        as_user sh -c 'exec 9<user/mnt/dir/external; ! composefs umount user/mnt' 2>error
        grep -o 'fusermount3: .*busy' error; grep -o 'remedy: something still uses it' error
        as_user composefs umount user/mnt
        servers_end
        as_user composefs-fuse -o source=image,basedir=objects user/mnt
        as_user fusermount3 -u user/mnt
        servers_end
        # Where it owns nothing, a user cannot mount.
        if as_user composefs mount image mnt -o basedir=objects --via=fuse 2>error; then exit 9; fi
        grep -o 'remedy: the user must own the mount point' error
        servers_end";
    let expected = format!(
        "tester\nverified by the server\n\"fuse\": \"fusermount3\"\n{}Permission denied\n\
         fusermount3: failed to unmount {}: Device or resource busy\nremedy: something still uses it\n\
         remedy: the user must own the mount point\n",
        content(),
        place.path("user/mnt").display()
    );
    place.sh("mkdir user; chmod 755 . bin objects objects/*; chmod 644 image objects/*/*");
    assert_eq!(run(place, &format!("{AS_USER}{script}")).succeeds(), expected);
}

/// Returns the reason why no user can mount here.
pub(super) fn no_user_mounts() -> Option<String> {
    let found = std::process::Command::new("fusermount3").arg("--version").output();
    found.err().map(|error| format!("fusermount3 cannot be run: {error}"))
}
