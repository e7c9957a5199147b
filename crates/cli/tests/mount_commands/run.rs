//! `composefs run`: as root, and as a user without privileges, which the test creates.

use crate::fixture::Place;
use crate::fuse::{AS_USER, SERVERS};

/// An image with a shell, the function `contained`, which runs a command in it, and the facts that hold for everyone.
const SHELL: &str = r#"
    programs='sh sleep cat ls id touch'
    mkdir -p os/bin os/proc os/dev os/tmp os/etc
    for program in $programs; do file=$(readlink -f $(command -v $program)); cp $file os/bin/$program
        cp -L --parents $(ldd $file | grep -o '/[^ :]*\.so[^ ]*') os 2>/dev/null || true; done
    mkcomposefs --digest-store=store os os.img; chmod 644 os.img; chmod -R a+rX store
    image=$PWD/os.img; store=$PWD/store
    status() { set +e; "$@" 2>>errors; echo $?; set -e; }
    # Only commands of this test make directories there. The program may be built there.
    cp --remove-destination $(readlink -f bin/composefs) bin/composefs; ln -sf composefs bin/mkcomposefs
    mount -t tmpfs -o mode=1777 tmpfs /var/tmp
    left() { ls /var/tmp; }
    touch errors; chmod 666 errors
    contained() { $AS composefs run $image -o basedir=$store "$@"; }
    facts() {
        contained -- sh -c 'echo $$; ls /; cat /proc/1/comm'
        # The root is read-only, /tmp and /dev/null are not.
        contained -- sh -c 'echo x 2>/dev/null >/new || echo read-only; echo x >/tmp/y; echo x >/dev/null; cat /tmp/y'
        status contained -- sh -c 'exit 7'
        status contained -- missing; status contained -- /etc; status contained -- sh -c 'kill -USR1 $$'
        # Changes go with the command, or stay.
        contained --rw -- sh -c 'echo new >/new; echo more >>/bin/cat; cat /new'
        contained --rw=kept -- sh -c 'echo new >/new'; cat kept/upper/new; contained --rw=kept -- cat /new
        contained --network=none -- cat /proc/net/dev | grep -c :
        status $AS composefs trace $image -o basedir=$store --output=kept/trace -- sh -c 'cat /bin/id >/tmp/x; exit 7'
        sed -n '2,$s/^[0-9a-f]\{64\} //p' kept/trace | grep -x -e /bin/sh -e /bin/cat -e /bin/id; rm -f kept/trace
        status $AS composefs trace $image -o basedir=$store --output=missing/trace -- sh
        own=$(readlink /proc/self/ns/net | grep -o '[[].*')
        test "$(contained -- ls -l /proc/self/ns/net | grep -o '[[].*')" = "$own"
        left; servers_end; }
    # Starts a command that runs until it is ended, and waits until it has begun.
    start() { rm -f kept/upper/begun
        contained --rw=kept -- sh -c 'trap "exit 9" TERM; sleep 4711 & touch /begun; wait' & started=$!
        for _ in $(seq 200); do test -e kept/upper/begun && return; sleep 0.05; done; return 1; }
    ended() { for _ in $(seq 100); do grep -lzs 4711 /proc/[0-9]*/cmdline >/dev/null || return 0; sleep 0.05; done
        grep -lzs 4711 /proc/[0-9]*/cmdline; }
    supervisor() { for process in $(servers); do
        case $(tr '\0' ' ' </proc/$process/cmdline) in *touch*) echo $process; return;; esac; done; }
    lifetime() {
        start; kill -TERM $(supervisor); status wait $started; ended; servers_end
        start; kill -KILL $(supervisor); status wait $started; ended; servers_end; }
    "#;

/// What [`SHELL`]'s `facts` print.
const FACTS: &str = "2\nbin\ndev\netc\nlib\nlib64\nproc\ntmp\ncomposefs\nread-only\nx\n7\n127\n126\n138\nnew\n\
    new\nnew\n1\n7\n/bin/sh\n/bin/cat\n/bin/id\n125\n";

fn run_bash(place: &Place, script: &str) -> String {
    place.write("script", &format!("{SERVERS}{SHELL}{script}"));
    place.in_namespace("bash -e script").succeeds()
}

pub(super) fn as_root(place: &Place) {
    let script = "AS=; mkdir kept; facts; lifetime
        rm -r os/proc os/dev; mkcomposefs --digest-store=store os bare.img; image=$PWD/bare.img
        status contained -- sh -c :; contained --rw -- ls /
        grep -o 'the image has no directory /proc' errors; grep -o 'remedy: use --rw' errors
        status composefs run $image -o basedir=missing -- sh
        status contained --rw=missing -- sh; status contained --via=fuse --rw -- sh; left";
    let bare = "125\nbin\ndev\netc\nlib\nlib64\nproc\ntmp\nthe image has no directory /proc\nremedy: use --rw\n";
    assert_eq!(run_bash(place, script), format!("{FACTS}9\n137\n{bare}125\n125\n125\n"));
}

pub(super) fn as_a_user(place: &Place) {
    let script = format!(
        "{AS_USER}
        AS=as_user; touch user/errors; cd user; chown tester errors; mkdir kept; chown tester kept
        facts; lifetime
        contained -- sh -c 'id -u; cat /proc/self/uid_map' | tr -s ' '
        command -v newuidmap >/dev/null || {{ echo ' 1 200000 65536'; exit 0; }}
        echo tester:200000:65536 >subids; touch /etc/subuid /etc/subgid
        mount --bind subids /etc/subuid; mount --bind subids /etc/subgid
        contained -- cat /proc/self/gid_map | tr -s ' ' | grep ' 1 '; left"
    );
    place.sh("mkdir user; chmod 755 . bin objects objects/*; chmod 644 image objects/*/*");
    let expected = format!("{FACTS}9\n137\n0\n 0 54321 1\n 1 200000 65536\n");
    assert_eq!(run_bash(place, &script), expected);
}
