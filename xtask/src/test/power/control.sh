# Publishes as one should not: the name before the image, the image before its objects, and no sync.
set -e
mark() { printf '%s' "$*" | dd of=/dev/vda bs=4096 seek="$CONTROL" conv=sync,notrunc oflag=direct 2> /dev/null; }
mkdir /tree
seq 30000 > /tree/one
seq 40000 60000 > /tree/two
composefs --repo /good init --insecure
digest=$(composefs --repo /good create /tree --name a)
composefs --repo r init --insecure
mark BEGIN
mark "MAYBE a $digest"
cp -a /good/images r
sync
cp -a /good/objects r
mark "IS a $digest"
mark END
