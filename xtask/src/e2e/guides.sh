# Follows the page $1, in an empty directory; what its commands print is shown.
VARIABLES=
# The system stays from one run to the next, but not what a page made outside its directory.
if id tester > /dev/null 2>&1; then userdel --force --remove tester 2> /dev/null; fi
rm -rf /etc/composefs /var/lib/composefs/serials.json
rm -rf /srv/guide; mkdir /srv/guide; cd /srv/guide
if bash /srv/guide.sh; then echo "test guide_$1 ... ok"; passed=1; else echo "test guide_$1 ... FAILED"; bad=1; fi 2>&1
finish
