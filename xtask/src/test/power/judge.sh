# Judges the disk as it was at each point: a line of /points is `NUMBER HOW NAME=DIGEST,DIGEST...`, with - for no such name;
# the name of an OCI image has the prefix `oci:`.
mkdir /judge
judged=0 bad=0 repaired=0
names() { sed -E 's,^sha256:(..)([0-9a-f]{62}) .*,\1/\2,'; }
# $1 is NAME=DIGEST,DIGEST... of the manifests that an OCI image of that name may have.
judge_oci() {
    link=$(readlink "$R/streams/refs/oci/${1%%=*}") || link=-
    case ",${1#*=}," in
    *,"${link##*:}",*) ;;
    *) echo "the OCI image ${1%%=*} is $link, not ${1#*=}"; return ;;
    esac
    [ "$link" = - ] || composefs --repo $R oci verify "${1%%=*}" > /said 2>&1 || echo "oci verify: $(head -n 1 /said)"
}
judge() {
    R=/judge/r
    composefs --repo $R images > /said 2>&1 || { echo "it does not open: $(head -n 1 /said)"; return; }
    if ! composefs --repo $R fsck > /said 2>&1; then
        composefs --repo $R fsck --repair > /said 2>&1 || { echo "it is damaged: $(head -n 1 /said)"; return; }
        repaired=$((repaired + 1))
    fi
    for one in $1; do
        case $one in
        oci:*) judge_oci "${one#oci:}"; continue ;;
        esac
        link=$(readlink "$R/images/refs/${one%%=*}") || link=$(readlink "$R/cold/refs/${one%%=*}") || link=-
        case ",${one#*=}," in
        *,"${link##*/}",*) ;;
        *) echo "${one%%=*} is $link, not ${one#*=}"; return ;;
        esac
        # Unpacking a cold image compares every object with its digest.
        [ "$link" = - ] || [ -L "$R/images/refs/${one%%=*}" ] || composefs --repo $R repack --warm "${one%%=*}" \
            > /said 2>&1 || { echo "${one%%=*} stays cold: $(head -n 1 /said)"; return; }
        [ "$link" = - ] || [ -f "$R/images/${link##*/}" ] || { echo "${one%%=*} leads to no image"; return; }
        [ "$link" = - ] || composefs-info objects "$R/images/${link##*/}" | while read -r object; do
            [ -f "$R/objects/$object" ] || echo "$object is not there"
        done
    done
    # By other programs than ours: every object is what its name says, and by the kernel's word too.
    (cd $R/objects && find . -type f | sed 's,^\./,,' | sort) > /objects
    [ -s /objects ] || return
    for how in digest $MEASURE; do
        (cd $R/objects && xargs fsverity $how) < /objects | names | cmp -s - /objects || echo "an object is not its name ($how)"
    done
}
while read -r point how expected; do
    printf 'POINT %s %s' "$point" "$how" | dd of=/dev/vdb bs=4096 seek="$CONTROL" conv=sync,notrunc oflag=direct 2> /dev/null
    blockdev --flushbufs /dev/vdb
    if mount -t ext4 /dev/vdb /judge; then
        judge "$expected" > /problem
        umount /judge
    else
        echo "it cannot be mounted" > /problem
    fi
    judged=$((judged + 1))
    [ ! -s /problem ] || { bad=$((bad + 1)); echo "BAD $point $how: $(head -n 1 /problem)"; }
done < /points
echo "JUDGED $judged $bad $repaired"
