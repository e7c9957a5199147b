//! Compares the process in a container with one of podman 5.4.2 with the same image.

use std::fs;
use std::os::unix::fs::symlink;

use crate::fixture::ContainerImage;

pub(crate) fn is_confined_as_in_podman(image: &ContainerImage) {
    let script = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; id";
    let root = image.run(&[], &["/bin/sh", "-c", script]);
    assert_eq!(
        root.replace('\t', " ").lines().collect::<Vec<_>>(),
        [
            "CapInh: 0000000000000000",
            "CapPrm: 00000000800405fb",
            "CapEff: 00000000800405fb",
            "CapBnd: 00000000800405fb",
            "CapAmb: 0000000000000000",
            "NoNewPrivs: 0",
            "Seccomp: 2",
            "uid=0(root) gid=0(root)",
        ]
    );
    image.configure(r#""User":"app""#);
    let app = image.run(&[], &["/bin/sh", "-c", script]).replace('\t', " ");
    assert!(app.contains("CapPrm: 0000000000000000\nCapEff: 0000000000000000\nCapBnd: 00000000800405fb\n"), "{app}");

    let own = image.run(&[], &["/bin/ls", "-l", "/proc/self/ns"]);
    let of_host = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string();
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "uts"] {
        assert!(own.contains(&format!("{name} -> ")) && !own.contains(&of_host(name)), "{name}: {own}");
    }
    assert!(own.contains(&of_host("user")), "{own}");
    // No descriptor of the program or the runtime; the last one is that of ls.
    assert_eq!(image.run(&[], &["/bin/ls", "/proc/self/fd"]), "0\n1\n2\n3\n");
}

/// Destination, kind and flags of the mounts that podman 5.4.2 makes.
const MOUNTS: &[(&str, &str, &str)] = &[
    ("/", "overlay", "rw"),
    ("/proc", "proc", "rw,nosuid,nodev,noexec"),
    ("/dev", "tmpfs", "rw,nosuid"),
    ("/sys", "sysfs", "ro,nosuid,nodev,noexec"),
    ("/dev/pts", "devpts", "rw,nosuid,noexec"),
    ("/dev/mqueue", "mqueue", "rw,nosuid,nodev,noexec"),
    ("/dev/shm", "tmpfs", "rw,nosuid,nodev,noexec"),
    ("/etc/hostname", "tmpfs", "rw"),
    ("/etc/hosts", "tmpfs", "rw"),
    ("/proc/acpi", "tmpfs", "ro"),
    ("/proc/keys", "devtmpfs", "ro"),
    ("/proc/timer_list", "devtmpfs", "ro"),
    ("/sys/firmware", "tmpfs", "ro"),
    // Newer versions of crun keep nosuid, nodev and noexec of /proc here.
    ("/proc/bus", "proc", "ro"),
    ("/proc/fs", "proc", "ro"),
    ("/proc/irq", "proc", "ro"),
    ("/proc/sys", "proc", "ro"),
];

pub(crate) fn mounts_are_those_of_podman(image: &ContainerImage) {
    let table = image.run(&[], &["/bin/cat", "/proc/self/mountinfo"]);
    let mounts: Vec<(String, &str, String)> = table
        .lines()
        .map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            let kind = words[words.iter().position(|word| *word == "-").unwrap() + 1];
            let flags: Vec<_> = words[5].split(',').filter(|flag| *flag != "relatime").collect();
            // The image has the symlink.
            (words[4].replace("/usr/etc/", "/etc/"), kind, flags.join(","))
        })
        .collect();
    for (destination, kind, flags) in MOUNTS {
        // A kernel may lack a file that is hidden.
        let is_optional = destination.starts_with("/proc/") || destination.starts_with("/sys/");
        let found = mounts.iter().find(|mount| mount.0 == *destination);
        match found {
            Some((_, found, has)) => {
                let is_equal = has == flags || is_optional && has.starts_with(&format!("{flags},"));
                assert!(found == kind && is_equal, "{destination}: {found} {has}\n{table}");
            }
            None => assert!(is_optional, "{destination}\n{table}"),
        }
    }
    let known = |path: &str| MOUNTS.iter().any(|mount| mount.0 == path) || path.starts_with("/sys/");
    let hidden = [
        "/proc/kcore",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_stats",
        "/proc/asound",
        "/proc/sysrq-trigger",
    ];
    let other: Vec<_> = mounts.iter().map(|mount| mount.0.as_str()).filter(|path| !known(path)).collect();
    assert!(other.iter().all(|path| hidden.contains(path)), "{other:?}");
    assert!(table.contains("gid=5,mode=620,ptmxmode=666") && table.contains("size=64000k"), "{table}");
}

pub(crate) fn user_is_that_of_the_image(image: &ContainerImage) {
    image.configure(
        r#""User":"app","Env":["A=of image","HOME=/h"],"WorkingDir":"/data/new","Entrypoint":["/bin/sh","-c"],
        "Cmd":["id; pwd; echo $A $HOME $container; umask; echo $PATH"]"#,
    );
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let ids = "uid=1000(app) gid=1001(app) groups=1001(app),2000(extra)";
    assert_eq!(image.run(&[], &[]), format!("{ids}\n/data/new\nof image /h oci\n0022\n{path}\n"));
    assert_eq!(image.run(&["-eA=x"], &["echo $A"]), "x\n");
    // As in podman, what the image lacks belongs to the user, and what it has stays.
    image.configure(r#""User":"app","WorkingDir":"/data/new/er","Volumes":{"/own":{},"/data/volume":{}}"#);
    let script = "stat -c '%u %g %a' . .. /own /data/volume; touch ./x /own/x && echo written";
    assert_eq!(image.run(&[], &["/bin/sh", "-c", script]), "1000 1001 755\n0 0 755\n1000 1001 755\n0 0 755\nwritten\n");
    image.configure(r#""WorkingDir":"/data/new/../x""#);
    let (status, message) = image.status(&[], &["/bin/id"]);
    assert!(
        status == 125 && message.contains("WorkingDir \"/data/new/../x\" is not a path in the container"),
        "{message}"
    );
    for (user, expected) in [
        ("1234", "uid=1234 gid=0(root) groups=0(root)\n/"),
        ("1234:extra", "uid=1234 gid=2000(extra) groups=2000(extra)\n/"),
        ("app:0", "uid=1000(app) gid=0(root) groups=0(root)\n/home/app"),
        ("root", "uid=0(root) gid=0(root) groups=0(root)\n/root"),
        ("", "uid=0(root) gid=0(root)\n/root"),
    ] {
        image.configure(&format!("\"User\":\"{user}\""));
        assert_eq!(image.run(&[], &["/bin/sh", "-c", "id; echo $HOME"]), format!("{expected}\n"), "{user}");
    }
    image.configure(r#""User":"daemon""#);
    let (status, message) = image.status(&[], &["/bin/id"]);
    assert_eq!(status, 125, "{message}");
    assert!(message.contains("user \"daemon\" is not in the image's /etc/passwd"), "{message}");

    // The passwd of the host has this user, and the link leads to it from the directory, but not from the image.
    let passwd = image.root().join("etc/passwd");
    fs::remove_file(&passwd).unwrap();
    symlink("../../../../../../../../etc/passwd", &passwd).unwrap();
    assert_eq!(image.status(&[], &["/bin/id"]).0, 125);
}

pub(crate) fn privileged_calls_are_refused(image: &ContainerImage) {
    for words in [&["/bin/mount", "-t", "tmpfs", "x", "/tmp"][..], &["/bin/hostname", "other"]] {
        let (status, message) = image.status(&[], words);
        assert!(
            status == 1 && (message.contains("denied") || message.contains("not permitted")),
            "{words:?}: {message}"
        );
    }
    // The capability for this one is not taken away.
    assert_eq!(image.status(&[], &["/bin/chroot", "/", "/bin/id"]).0, 0);
}
