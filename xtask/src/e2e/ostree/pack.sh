# In the chroot: a root for the guest at /root/guest, with the deployment that check.sh made and what mounts it.
G=/root/guest
chattr -R -f -i $G /root/d/phys/ostree/deploy || :
rm -rf $G; mkdir -p $G/{proc,dev,run,tmp,etc/ostree,opt}
cp -a /opt/composefs $G/opt/
program=/usr/lib/ostree/ostree-prepare-root
libraries=$(LD_LIBRARY_PATH=/opt/composefs ldd $program | grep -o '/[^ ]*' | grep -v ^/opt)
cp -L --parents $program $libraries $G/
cp -a /root/d/phys $G/sysroot
printf '[composefs]\nenabled=verity\n' > $G/etc/ostree/prepare-root.conf
