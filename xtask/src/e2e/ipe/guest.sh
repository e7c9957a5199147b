# In a guest whose kernel has IPE and trusts the key in /payload: ways to run code, first without a policy, then with the
# one that `composefs ipe-policy` makes of an image. Each line of output is `NAME ran|stopped WHEN`.
set -e
export LANG=C LC_ALL=C
mount -t securityfs securityfs /sys/kernel/security
grep -q ipe /sys/kernel/security/lsm
IPE=/sys/kernel/security/ipe
sign() { # POLICY KEY
    openssl smime -sign -binary -nodetach -noattr -nosmimecap -signer /payload/$2.pem -inkey /payload/$2.key \
        -outform der -in $1 -out $1.p7b
}

# Programs of an image: a static one, a dynamic one with its libraries, and a script.
mkdir -p image/lib64 image/usr/bin image/usr/lib image/tmp other
cp /usr/bin/busybox image/busybox; cp /usr/sbin/sh image/usr/bin/dyn
cp /usr/lib/x86_64-linux-gnu/libc.so.6 image/usr/lib/
cp /usr/lib64/ld-linux-x86-64.so.2 image/lib64/
chmod 644 image/usr/lib/*
{ echo '#!/busybox sh'; seq 1 40 | sed 's/^/# /'; echo 'echo RAN'; } > image/script; chmod 755 image/script
cp /usr/sbin/fsverity other/; cat image/busybox > other/busybox; echo changed >> other/busybox; chmod 755 other/*
composefs init --repo=/mnt/repo
composefs --repo=/mnt/repo create image --name=app; composefs --repo=/mnt/repo create other --name=second
mkdir -p m o f t; composefs --repo=/mnt/repo mount app m; composefs --repo=/mnt/repo mount second o
composefs --repo=/mnt/repo mount app f --via=fuse
object() { echo /mnt/repo/objects/$(fsverity digest --compact $1 | sed 's,^..,&/,'); }

# Ways.
mount -t tmpfs tmpfs t; cp image/busybox t/busybox; mkdir t/upper t/work merged
cp image/busybox busybox-copy; ln busybox-copy busybox-hard; ln -s busybox-copy busybox-symbolic
cp busybox-copy renamed; mv renamed busybox-moved; touch busybox-bound; mount --bind busybox-copy busybox-bound
cp other/busybox busybox-sealed; fsverity enable busybox-sealed
cp image/busybox busybox-resealed; fsverity enable busybox-resealed
cp image/busybox busybox-sha512; fsverity enable busybox-sha512 --hash-alg=sha512
mkdir -p libs; cp image/usr/lib/libc.so.6 libs/; cp image/usr/bin/dyn dyncopy
dd if=/dev/zero of=fs.img bs=1M count=24 2>/dev/null; mkfs.ext4 -q fs.img; mkdir loop; mount -o loop fs.img loop; cp busybox-copy loop/busybox
mount -t overlay overlay -o lowerdir=m,upperdir=t/upper,workdir=t/work merged; echo x >> merged/busybox
echo 'echo RAN' > evil.sh; { echo '#!/mnt/m/busybox sh'; cat evil.sh; } > evil-script; chmod 755 evil-script
chmod 755 $(object image/busybox) $(object other/busybox)
# Perl of the initramfs, which the policy allows, without its modules.
cat > fill.pl <<'P'
sub fill { my ($out, $path, $bytes) = @_; open(my $in, "<", $path) or die; syswrite($out, $bytes) while sysread($in, $bytes, 1 << 20); }
$^F = 1000; 1;
P
cat > memfd.pl <<'P'
require "./fill.pl"; my ($fd, $name) = (0, "x"); $fd = syscall(319, $name, 0); open(my $out, ">&=", $fd) or die; fill($out, $ARGV[0]);
exec {"/proc/self/fd/$fd"} "busybox", "echo", "RAN";
P
cat > tmpfile.pl <<'P'
require "./fill.pl"; sysopen(my $out, "/mnt", 0x410001, 0755) or die; fill($out, $ARGV[0]);
open(my $again, "<", "/proc/self/fd/" . fileno $out) or die; close $out; exec {"/proc/self/fd/" . fileno $again} "busybox", "echo", "RAN";
P
cat > deleted.pl <<'P'
require "./fill.pl"; system("cp", $ARGV[0], "/mnt/gone"); open(my $file, "<", "/mnt/gone") or die; unlink "/mnt/gone";
exec {"/proc/self/fd/" . fileno $file} "busybox", "echo", "RAN";
P
cat > map.pl <<'P'
my ($way, $path) = @ARGV; my $fd = -1; if ($path) { open(F, "<", $path) or die; $fd = fileno F; }
my $flags = $path ? 2 : 0x22; my $first = $way eq "map" ? ($path ? 5 : 7) : ($path ? 1 : 3);
if ($way eq "personality") { syscall(135, 0x0400000); $first = 1; }
my $at = syscall(9, 0, 4096, $first, $flags, $fd, 0); exit 1 if $at == -1;
exit 1 if $way eq "protect" && syscall(10, $at, 4096, 5) == -1;
open(M, "<", "/proc/self/maps"); my $hex = sprintf "%x", $at;
while (<M>) { my ($from, $to, $mode) = /^(\w+)-(\w+) (....)/; print "RAN\n" if hex $from <= $at && $at < hex $to && $mode =~ /x/; }
P

# Runs a program whose name says nothing to busybox.
sh_as() { perl -e 'exec {$ARGV[0]} "busybox", "echo", "RAN"' $1; }
way() { # NAME COMMAND...
    local name=$1 said; shift
    said=$("$@" 2>&1 </dev/null) || true
    case $said in *RAN*) echo "$name ran $WHEN";; *) echo "$name stopped $WHEN"; echo "$name: $said" >&2;; esac
}
ways() {
    way program-of-the-image m/busybox echo RAN
    way dynamic-program-of-the-image chroot m /usr/bin/dyn -c 'echo RAN'
    way script-of-the-image chroot m /script
    way program-by-its-object sh_as $(object image/busybox)
    way program-by-ld.so-of-the-image m/lib64/ld-linux-x86-64.so.2 --library-path m/usr/lib m/usr/bin/dyn -c 'echo RAN'
    way copy-with-the-same-fs-verity-digest ./busybox-resealed echo RAN
    way program-through-the-FUSE-mount f/busybox echo RAN
    way copied-program ./busybox-copy echo RAN
    way hard-link-of-a-copy ./busybox-hard echo RAN
    way symlink-to-a-copy ./busybox-symbolic echo RAN
    way renamed-copy ./busybox-moved echo RAN
    way bind-mount-of-a-copy ./busybox-bound echo RAN
    way copy-on-tmpfs t/busybox echo RAN
    way copy-on-another-file-system loop/busybox echo RAN
    way copy-in-a-memfd perl memfd.pl busybox-copy
    way copy-in-an-unnamed-file perl tmpfile.pl busybox-copy
    way deleted-copy perl deleted.pl busybox-copy
    way copy-with-SHA-512-fs-verity ./busybox-sha512 echo RAN
    way changed-program-with-fs-verity ./busybox-sealed echo RAN
    way program-of-another-image o/busybox echo RAN
    way object-of-another-image sh_as $(object other/busybox)
    way program-changed-in-an-overlay merged/busybox echo RAN
    way copied-program-by-ld.so-of-the-image m/lib64/ld-linux-x86-64.so.2 --library-path m/usr/lib ./dyncopy -c 'echo RAN'
    way copied-library-by-library-path m/lib64/ld-linux-x86-64.so.2 --library-path libs m/usr/bin/dyn -c 'echo RAN'
    way script-with-an-interpreter-of-the-image ./evil-script
    way mapping-of-a-copy perl map.pl map busybox-copy
    way mprotect-of-a-mapping-of-a-copy perl map.pl protect busybox-copy
    way mapping-by-READ_IMPLIES_EXEC perl map.pl personality busybox-copy
    way mapping-of-a-program-of-the-image perl map.pl map m/busybox
    way anonymous-executable-memory perl map.pl map
    way mprotect-of-anonymous-memory perl map.pl protect
    way script-as-argument-of-a-program-of-the-image m/busybox sh evil.sh
    way script-read-by-a-shell-of-the-image m/busybox sh -c '. ./evil.sh'
    way program-of-the-initramfs busybox echo RAN
}

take() { # NAME FILE TO
    if cat $2 > $3 2>/dev/null; then echo "$1 ran $WHEN"; else echo "$1 stopped $WHEN"; fi
}
policies() {
    sed 's/composefs/unsigned/' app.policy > unsigned; take unsigned-policy unsigned $IPE/new_policy
    sed 's/composefs/foreign/' app.policy > foreign; sign foreign other; take policy-of-another-key foreign.p7b $IPE/new_policy
    composefs --repo=/mnt/repo ipe-policy second --policy-version=0.0.1 > older; sign older key
    take older-policy older.p7b $IPE/policies/composefs/update
}

WHEN=without; ways
composefs --repo=/mnt/repo ipe-policy app --policy-version=0.0.2 > app.policy; sign app.policy key
cat app.policy.p7b > $IPE/new_policy
echo 1 > $IPE/policies/composefs/active
WHEN=with; ways; policies
# The twin of the older policy: a newer one, with the programs of the other image.
composefs --repo=/mnt/repo ipe-policy second --policy-version=0.0.3 > newer; sign newer key
take newer-policy newer.p7b $IPE/policies/composefs/update
WHEN=updated
way program-of-the-image m/busybox echo RAN
way program-of-another-image o/busybox echo RAN
echo 0 > $IPE/enforce; WHEN=off
way copied-program ./busybox-copy echo RAN
