//! A small file system, and the record of a boot. These tests need root and mounts.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use libcomposefs_testkit::{privilege, skip};

use crate::place::{COMPOSEFS, Place, refused};

/// Runs a shell line in a mount namespace of its own; `None` if this machine cannot make one.
fn in_namespace(name: &str, place: &Place, line: &str) -> Option<Output> {
    if !privilege::is_root() {
        skip::announce(name, "mounts need root");
        return None;
    }
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("unshare");
    let _ = command.args(["--mount", "--propagation=private", "sh", "-ec", line]).env("PATH", path);
    let _ = command.env("composefs", COMPOSEFS).env("at", place.path("")).env("LC_ALL", "C");
    let ran = command.output().unwrap();
    if ran.status.code() == Some(77) {
        skip::announce(name, &String::from_utf8_lossy(&ran.stderr));
        return None;
    }
    Some(ran)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_partition_without_room_is_refused_before_anything_is_written() {
    let place = Place::new();
    let tree = place.tree("1", &vec![7; 900_000]);
    place.create(&tree, "1");
    // 2 MiB have no room for 900 kB and 600 kB twice. A guest has a test with FAT.
    let line = "\
        mount -t tmpfs -o size=2M none $at/esp || exit 77\n\
        boot() { $composefs boot \"$@\" --sysroot=$at/disk --esp=$at/esp; }\n\
        boot install os/1 --no-verity; find $at/esp -type f | wc -l\n\
        cp $at/tree-1/usr/lib/modules/6.1.0/vmlinuz $at/k; printf x >> $at/k\n\
        cp $at/tree-1/usr/lib/modules/6.1.0/initramfs.img $at/i; truncate -s 600k $at/i\n\
        boot install os/1 --no-verity --kernel=$at/k --initrd=$at/i && exit 1\n\
        find $at/esp -type f | wc -l\n\
        truncate -s 10k $at/i $at/k; boot install os/1 --no-verity --kernel=$at/k --initrd=$at/i";
    let Some(ran) = in_namespace("boot::no_room", &place, line) else { return };
    let (out, said) = (text(&ran.stdout), text(&ran.stderr));
    assert!(ran.status.success(), "{out}{said}");
    let refusal = said.lines().find(|line| line.contains("kernel, initramfs and entry need")).unwrap();
    let numbers: Vec<u64> = refusal.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(numbers.len() == 2 && numbers[0] > 1_500_000 && numbers[1] < numbers[0], "{refusal}");
    assert_eq!(out.lines().filter(|line| *line == "3").count(), 2, "{out}");
}

#[test]
fn the_booted_image_is_known_by_the_record_of_the_boot() {
    let place = Place::new();
    let digest = place.image("1");
    place.install("1", &[]);
    for name in ["2", "3", "4"] {
        place.image(name);
        place.install(name, &["--keep=9"]);
    }
    let record = format!(
        "{{\"digest\":\"{digest}\",\"algorithm\":\"sha256\",\"verity\":\"off\",\"word\":\"w\",\"source\":\"s\"}}"
    );
    fs::write(place.path("boot.json"), record).unwrap();
    place.image("5");
    let line = "\
        mkdir -p /run/composefs; mount -t tmpfs none /run/composefs || exit 77\n\
        repo=$at/disk/composefs; boot() { $composefs boot \"$@\" --sysroot=$at/disk --esp=$at/esp; }\n\
        check() { $composefs --repo=$repo boot check; }\n\
        check && exit 1; boot status; cp $at/boot.json /run/composefs/boot.json\n\
        check; boot status; boot install os/5 --no-verity --keep=1; boot list\n\
        first=$(ls $at/esp/loader/entries | grep composefs-1-); boot remove $first && exit 1\n\
        hex=$($composefs digest $at/tree-1/usr/lib/modules/6.1.0/initramfs.img | cut -c 1-64)\n\
        object=$repo/objects/$(echo $hex | sed 's,^..,&/,'); mv $object $at/kept; check && exit 1\n\
        mv $at/kept $object; check";
    let Some(ran) = in_namespace("boot::booted", &place, line) else { return };
    let (out, said) = (text(&ran.stdout), text(&ran.stderr));
    assert!(ran.status.success(), "{out}{said}");
    assert!(said.contains("this system was not booted from an image"), "{said}");
    assert!(out.contains("booted: no composefs image") && out.contains(&format!("booted: {digest}")), "{out}");
    assert!(out.contains("names: boot/") && out.contains("not verified: the boot did not require fs-verity"), "{out}");
    // The booted entry stays, though it is the oldest, and so does one other image.
    let entries = fs::read_dir(place.path("esp/loader/entries")).unwrap().count();
    assert_eq!(entries, 3, "{out}");
    assert!(out.contains("good, booted"), "{out}");
    assert!(said.contains("is the entry of the booted image"), "{said}");
    assert!(out.contains("No such file or directory"), "{out}");
}

/// The command runs in a root whose mount has the source of an image, as after a boot.
#[test]
fn a_good_boot_by_name_raises_the_floor() {
    let place = Place::new();
    let digest = place.image("1");
    let signed = "\"signed\":{\"name\":\"os/1\",\"rule\":\"os/*\",\"serial\":42,\"keys\":[\"release\"]}";
    let record = format!("{{\"digest\":\"{digest}\",\"verity\":\"off\",\"word\":\"w\",\"source\":\"s\",{signed}}}");
    fs::write(place.path("by-digest.json"), record.replace("\"signed\"", "\"other\"")).unwrap();
    fs::write(place.path("boot.json"), record).unwrap();
    for directory in ["disk/state", "new", "upper"] {
        fs::create_dir_all(place.path(directory)).unwrap();
    }
    let line = "\
        mount -t tmpfs none $at/upper\n\
        mount -t overlay -o lowerdir=$at/upper:/ composefs:$digest $at/new || exit 77\n\
        for dir in proc run sys $(echo $at $composefs | xargs -n 1 dirname | cut -d/ -f2 | sort -u); do\n\
        mount --rbind /$dir $at/new/$dir || exit 77; done\n\
        mount -t tmpfs none $at/new/run; mkdir $at/new/run/composefs\n\
        in_new() { chroot $at/new $composefs boot \"$@\" --sysroot=$at/disk; }\n\
        floors=$at/disk/state/serials.json; record=$at/new/run/composefs/boot.json\n\
        in_new bless && exit 1\n\
        cp $at/by-digest.json $record; in_new bless && exit 1; test ! -e $floors\n\
        cp $at/boot.json $record; in_new status --esp=$at/esp\n\
        in_new bless; in_new status --esp=$at/esp; cat $floors\n\
        in_new bless; in_new bless --rule='os/*' --serial=50; in_new bless; cat $floors\n\
        in_new bless --rule='os/*' --serial=41; cat $floors";
    let line = format!("digest={digest}\n{line}");
    let Some(ran) = in_namespace("boot::bless", &place, &line) else { return };
    let (out, said) = (text(&ran.stdout), text(&ran.stderr));
    assert!(ran.status.success(), "{out}{said}");
    assert!(said.contains("was booted by its digest, not by a name"), "{said}");
    let by = "by name: os/1, serial number 42, signed by release (rule os/*)";
    assert!(out.contains(by) && out.contains("floor: 0; it rises when the boot is good"), "{out}");
    assert!(out.contains("42 or higher is booted, 0 or higher before") && out.contains("floor: 42\n"), "{out}");
    assert!(out.contains("42 or higher is booted, as before") && out.contains("50 or higher is booted, as before"));
    let floors: Vec<_> = out.lines().filter(|line| line.contains("\"os/*\"")).map(str::trim).collect();
    assert_eq!(floors, ["\"os/*\": 42", "\"os/*\": 50", "\"os/*\": 41"]);
}

#[test]
fn a_system_without_a_partition_is_told_so() {
    // On machines that have one, the command would list its entries.
    if ["/efi", "/boot/efi", "/boot"].iter().any(|place| is_fat(Path::new(place))) {
        skip::announce("boot::no_partition", "this machine has an EFI system partition");
        return;
    }
    let ran = crate::place::run(&["boot", "list"]);
    refused(&ran, &["no EFI system partition is mounted at /efi, /boot/efi, /boot", "--esp=DIR"]);
}

fn is_fat(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == 0x4d44)
}
