//! Options of a container: mounts, network, terminal, limits.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};

use libcomposefs_testkit::terminal::Pseudoterminal;
use rustix::termios::{Winsize, tcsetwinsize};

use crate::fixture::{ContainerImage, find, has_cgroups};

pub(crate) fn volumes_and_tmpfs_are_mounted(image: &ContainerImage) {
    let host = image.scratch().join("host");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("file"), "of the host\n").unwrap();
    let (write, read) = (format!("-v{}:/mnt/write", host.display()), format!("-v{}:/data:ro", host.display()));
    let script = "cat /data/file; echo new > /mnt/write/new; echo x > /data/x || echo refused; \
        echo x > /home/app/x; stat -f -c %T /home/app; ls /home/app";
    let output = image.output(&[&write, &read, "--tmpfs=/home/app:size=1m"], &["/bin/sh", "-c", script]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "of the host\nrefused\ntmpfs\nx\n", "{output:?}");
    assert_eq!(fs::read_to_string(host.join("new")).unwrap(), "new\n");
    assert!(!host.join("x").exists() && fs::read_dir(image.root().join("home/app")).unwrap().next().is_none());
}

pub(crate) fn read_only(image: &ContainerImage) {
    fs::write(image.root().join("data/volume/file"), "of the volume\n").unwrap();
    image.configure(r#""Volumes":{"/data/volume":{},"/data/missing":{}}"#);
    let script = "for dir in / /data /etc /run /tmp /var/tmp /dev/shm /data/volume /data/missing; do \
        echo x 2>/dev/null > $dir/x && echo $dir; done; cat /data/volume/file";
    let writable = image.run(&["--read-only"], &["/bin/sh", "-c", script]);
    let expected = "/run\n/tmp\n/var/tmp\n/dev/shm\n/data/volume\n/data/missing\nof the volume\n";
    assert_eq!(writable, expected);
    let all = image.run(&[], &["/bin/sh", "-c", "echo x > /data/missing/x && echo x > /data/x && echo ok"]);
    assert_eq!(all, "ok\n");
    assert!(!image.root().join("data/missing").exists());
}

pub(crate) fn network(image: &ContainerImage) {
    let script = "cat /proc/net/dev | grep -c : ; hostname; cat /etc/hostname; cat /etc/hosts; ls /etc/resolv.conf";
    let own = image.output(&[], &["/bin/sh", "-c", script]);
    let own = String::from_utf8(own.stdout).unwrap();
    let lines: Vec<_> = own.lines().collect();
    assert_eq!((lines[0], lines[1]), ("1", lines[2]), "{own}");
    assert!(own.contains(&format!("127.0.0.1\t{}\n", lines[1])) && !own.contains("resolv.conf"), "{own}");

    let host = image.output(&["--network=host"], &["/bin/sh", "-c", script]);
    let text = String::from_utf8(host.stdout).unwrap();
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let interfaces = fs::read_to_string("/proc/net/dev").unwrap().lines().filter(|line| line.contains(':')).count();
    assert_eq!(text.lines().take(3).collect::<Vec<_>>(), [&interfaces.to_string(), &name, &name], "{text}");
    assert!(text.contains("resolv.conf"), "{text}");
    let resolv_conf = image.run(&["--network=host"], &["/bin/cat", "/etc/resolv.conf"]);
    assert_eq!(resolv_conf, fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
}

pub(crate) fn standard_input(image: &ContainerImage) {
    for (options, expected) in [(&["-i"][..], "words"), (&[], "")] {
        let mut command = image.command(options, &["/bin/cat"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Without -i the command does not read.
        let _ = child.stdin.take().unwrap().write_all(b"words");
        assert_eq!(child.wait_with_output().unwrap().stdout, expected.as_bytes(), "{options:?}");
    }
}

pub(crate) fn terminal(image: &ContainerImage) {
    let (status, message) = image.status(&["-it"], &["/bin/tty"]);
    assert_eq!(status, 125, "{message}");
    assert!(message.contains("-t needs a terminal as standard input"), "{message}");

    let script = find("script").expect("script of Debian's bsdutils, which is essential");
    let words = ["/bin/sh", "-c", "tty; echo $TERM; read -r line; echo got:$line; exit 3"];
    let command = image.command(&["-it"], &words);
    let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''"));
    let line: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect();
    let mut child = Command::new(script);
    child.args(["-qec", &line.join(" "), "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    // The terminal shows the words where they arrive: not before the command waits for them.
    let (mut said, mut output) = (Vec::new(), child.stdout.take().unwrap());
    while !String::from_utf8_lossy(&said).replace('\r', "").ends_with("xterm\n") {
        let mut byte = [0];
        assert_eq!(output.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&said));
        said.push(byte[0]);
    }
    child.stdin.as_mut().unwrap().write_all(b"words\n").unwrap();
    drop(child.stdin.take());
    output.read_to_end(&mut said).unwrap();
    let text = String::from_utf8_lossy(&said).replace('\r', "");
    assert_eq!(child.wait().unwrap().code(), Some(3), "{text}");
    assert!(text.contains("/dev/pts/0\nxterm\n") && text.contains("got:words\n"), "{text}");
}

pub(crate) fn terminal_changes_its_size(image: &ContainerImage) {
    let size = |ws_row, ws_col| Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
    let Pseudoterminal { controller, terminal } = Pseudoterminal::open().unwrap();
    tcsetwinsize(&controller, size(30, 100)).unwrap();
    // Waits for a minute at most. The kernel tells the processes of the terminal's session only.
    let script = "i=0; while [ \"$(stty size)\" = '30 100' ] && [ $i -lt 600 ]; do \
        [ $i = 1 ] && echo waits; sleep 0.1; i=$((i + 1)); done; stty size";
    let command = image.command(&["-it"], &["/bin/sh", "-c", script]);
    let mut session = Command::new(find("setsid").expect("setsid of Debian's util-linux, which is essential"));
    session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
    session.stdin(terminal.try_clone().unwrap()).stdout(terminal.try_clone().unwrap()).stderr(terminal);
    let mut child = session.spawn().unwrap();
    drop(session);
    let mut lines = BufReader::new(controller.try_clone().unwrap()).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("waits"));
    tcsetwinsize(&controller, size(40, 120)).unwrap();
    assert_eq!(lines.next().as_deref(), Some("40 120"));
    assert!(child.wait().unwrap().success());
}

pub(crate) fn refused(image: &ContainerImage) {
    let starts = |options: &[&str], message: &str| {
        let (status, text) = image.status(options, &["/bin/id"]);
        assert!(matches!(status, 2 | 125) && text.contains(message), "{options:?}: {status} {text}");
    };
    starts(&["-p8080:80"], "podman run -p PORT --rootfs DIR:O");
    starts(&["-vname:/data"], "volumes with a name need podman");
    starts(&["-v/tmp:data"], "--volume \"data\" is not a path in the container");
    starts(&["-v/tmp:/data/", "--tmpfs=/data"], "/data is mounted by two options");
    starts(&["--network=bridge"], "invalid value 'bridge'");
    starts(&["--runtime=no-such-runtime"], "the runtime no-such-runtime is not in PATH");
    starts(&["--memory=1m", "--runtime=crun"], "--memory 1048576 is refused");
    if !has_cgroups() {
        starts(&["--memory=1g"], "leave out --cgroups=disabled");
    }
}
