# Containers of `composefs oci run` beside podman's with the same root and options. Images cannot be pulled yet: a test
# program of the crate `composefs-cli` runs them on a directory.
OCI_RUN=/opt/composefs/oci_run
ROOT=/srv/rootfs

# What a process can see of its container. What both differ in is left out: the name, `container`, /run/.containerenv,
# which only podman makes, and the mode of the root, which podman does not take from the image.
FACTS='
grep -E "^(Uid|Gid|Groups|Umask|Cap|NoNewPrivs|Seccomp:)" /proc/self/status
id; pwd; cat /proc/self/limits
env | grep -vE "^(HOSTNAME|container|_|PWD|SHLVL|OLDPWD)=" | sort
sed -E "s/^.* (\/[^ ]*) ([^ ]*) .*- ([^ ]*) [^ ]* ([^ ]*)$/\1 \2 \3 \4/" /proc/self/mountinfo |
    sed -E "s/^(\/) ([^ ]*) overlay .*/\1 \2 overlay/; s/^(\/etc\/[^ ]* [^ ]*) .*/\1/" |
    grep -vE "^/(run/.containerenv)" | sort
for n in cgroup ipc mnt net pid uts user; do echo "namespace $(readlink /proc/self/ns/$n)"; done
ls -ln /dev | tail -n +2 | sed -E "s/ +[A-Z][a-z]{2} +[0-9]+ [0-9:]+ / /"
cat /proc/sys/net/ipv4/ping_group_range; umask
sed "s/$HOSTNAME/NAME/g" /etc/hosts | cut -d " " -f 1; [ "$(cat /etc/hostname)" = "$HOSTNAME" ] && echo hostname
for path in /proc/kcore /proc/keys /proc/timer_list /sys/firmware /proc/acpi; do ls -A $path 2>&1; head -c 1 $path 2>&1; done
for path in /etc /run /tmp /var/tmp /dev /dev/shm /proc/sys/kernel/hostname /sys/fs/cgroup; do [ -w $path ] && echo "$path can be written"; done
mount -t tmpfs x /mnt 2>&1; unshare -U true 2>&1; chroot / true 2>&1 && echo chroot; hostname x 2>&1; ls /mnt'

# Says of each namespace in the file $1 if it is that of the host.
compare_namespaces() {
    local n
    for n in cgroup ipc mnt net pid uts user; do sed -i "s/^namespace $(readlink /proc/self/ns/$n | sed 's/[][]/\\&/g')\$/$n of the host/" $1; done
    sed -i -E 's/^namespace ([a-z]+):.*/\1 of its own/' $1
}

# The configuration of an image, the options of podman that have the same meaning, `--`, options for both.
like_podman() {
    local podman=() config=$1; shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do podman+=("$1"); shift; done; shift
    echo "{\"config\":{$config}}" > /t/image.json
    # Its default, which the configuration here replaces.
    [[ " $* " == *" --network=host "* ]] || podman+=(--sysctl "net.ipv4.ping_group_range=0 0")
    podman run --rm --cgroups=disabled "${podman[@]}" "$@" --rootfs $ROOT:O /bin/sh -c "$FACTS" > /t/wanted 2>&1
    $OCI_RUN container --config /t/image.json --cgroups=disabled "$@" $ROOT -- /bin/sh -c "$FACTS" > /t/found 2>&1
    compare_namespaces /t/wanted; compare_namespaces /t/found
    # podman adds a line to passwd for a number.
    sed -i 's/^uid=1234(1234) /uid=1234 /' /t/wanted
    wc -l < /t/wanted
    [ "$(wc -l < /t/wanted)" -gt 90 ]
    diff /t/wanted /t/found
}

ends_like_podman() {
    echo '{"config":{}}' > /t/image.json
    local line wanted found
    for line in true 'exit 7' 'sh -c "kill -9 $$"; exit $?' 'kill -TERM $$; exit 3'; do
        podman run --rm --cgroups=disabled --rootfs $ROOT:O /bin/sh -c "$line" && wanted=0 || wanted=$?
        $OCI_RUN container --config /t/image.json --cgroups=disabled $ROOT -- /bin/sh -c "$line" && found=0 || found=$?
        echo "$line: $wanted $found"; [ $wanted = $found ]
    done
    for line in none /none /none/x /etc /etc/passwd; do
        podman run --rm --cgroups=disabled --rootfs $ROOT:O $line && wanted=0 || wanted=$?
        $OCI_RUN container --config /t/image.json --cgroups=disabled $ROOT -- $line && found=0 || found=$?
        echo "$line: $wanted $found"; [ $wanted = $found ]
    done
}

# Both configurations, for a comparison of the filters of system calls.
configured() {
    podman rm -f -i configured; rm -rf /t/oci-bundle
    podman create --name configured --cgroups=disabled --rootfs $ROOT:O true; podman init configured
    cp "$(find /t/build /t/store -path "*$(podman inspect -f '{{.Id}}' configured)/userdata/config.json")" /t/podman-config.json
    podman rm -f configured
    echo '{"config":{"Cmd":["true"]}}' > /t/image.json
    $OCI_RUN bundle --config /t/image.json --cgroups=disabled $ROOT /t/oci-bundle
    umount /t/oci-bundle/rootfs /t/oci-bundle/lower
}

containers() {
    export CONTAINERS_STORAGE_CONF=/t/conf/storage-build.conf
    check oci_run_without_options strictly like_podman '' --
    check oci_run_as_a_user strictly like_podman '"User":"www-data","WorkingDir":"/srv"' --user=www-data --workdir=/srv --
    check oci_run_as_a_number strictly like_podman '"User":"1234:games"' --user=1234:games --
    check oci_run_with_variables strictly like_podman '"Env":["A=b c","PATH=/bin:/sbin"]' --env='A=b c' --env=PATH=/bin:/sbin -- --env=B=c
    check oci_run_read_only strictly like_podman '' -- --read-only
    check oci_run_with_mounts strictly like_podman '' -- --volume=/srv:/mnt:ro --tmpfs=/opt:size=1m,noexec --volume=/etc/passwd:/etc/passwd
    check oci_run_with_the_hosts_network strictly like_podman '' -- --network=host
    check oci_run_ends_like_podman strictly ends_like_podman
    check oci_bundle_is_configured strictly configured
}
