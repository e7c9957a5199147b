//! One run of qemu: its command line, and following it to its end.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::volatile_disk::VolatileDisk;
use super::{Disk, End, Exit, Machine, Stream, UefiFiles, base, disk};
use crate::process;

/// `cx16` off: the translator's cmpxchg16b was seen to corrupt the guest's slab allocator under load (QEMU 7.2).
const CPU: &str = "max,-cx16";
/// A panic ends the machine at once (`panic=-1` with `-no-reboot`); the rest makes the boot shorter.
const KERNEL_COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 oops=panic mitigations=off random.trust_cpu=on \
    cryptomgr.notests no_timer_check audit=0";

/// Boots the machine and follows it to its end.
pub(super) fn run(machine: &Machine, on_line: &mut dyn FnMut(Stream, &str)) -> Result<Exit> {
    let start = Instant::now();
    let dir = tempfile::Builder::new().prefix("composefs-vm.").tempdir()?;
    let initrd = dir.path().join("initrd");
    write_initrd(machine, &initrd)?;
    let (scratch, new) = machine.scratch.prepare(dir.path(), "scratch")?;
    if new {
        disk::make_ext4(&scratch, machine.scratch.is_kept() || machine.power_cut.is_some())?;
    }
    let socket = dir.path().join("disk.sock");
    let volatile = machine.power_cut.as_ref().map(|_| VolatileDisk::serve(&scratch, &socket)).transpose()?;

    let mut drives = vec![match &volatile {
        Some(_) => format!("file=nbd:unix:{},format=raw,cache=writeback", socket.display()),
        None => drive(&machine.scratch, &scratch),
    }];
    if let Some(second) = &machine.second {
        drives.push(drive(second, &second.prepare(dir.path(), "second")?.0));
    }
    let (guest_stderr, writer) = io::pipe()?;
    let mut command = command_line(machine, dir.path(), &initrd, &drives)?;
    let child = command.stdin(writer).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = Running(child.context("cannot start qemu")?);
    // It holds the write end of a pipe, whose reader must see the end with qemu's.
    drop(command);

    let mut seen = follow(child, guest_stderr, machine, start + machine.timeout, on_line)?;
    let loss = machine.power_cut.as_ref().filter(|_| seen.end == Some(End::PowerCut)).map(|cut| cut.loss);
    let disk = volatile.map(|disk| disk.end(loss)).transpose()?;

    let read = |name| fs::read(dir.path().join(name)).map(|text| String::from_utf8_lossy(&text).into_owned());
    let verdict = read("verdict").unwrap_or_default();
    let value = |key: &str| verdict.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
    let exited = value("exit").and_then(|status| status.parse().ok()).filter(|_| value("failed").is_none());
    let end = seen.end.or(exited.map(End::Exited)).unwrap_or(End::Died);
    let mut console = read("console").unwrap_or_default();
    console.push_str(value("failed").unwrap_or_default());
    console.push_str(&String::from_utf8_lossy(&std::mem::take(&mut seen.qemu)));
    let release = value("release").unwrap_or_default().to_owned();
    Ok(Exit { end, release, stdout: seen.stdout, stderr: seen.stderr, console, took: start.elapsed(), disk })
}

fn write_initrd(machine: &Machine, initrd: &Path) -> Result<()> {
    let mut out = BufWriter::new(File::create(initrd)?);
    if let Some(made) = &machine.initramfs {
        io::copy(&mut File::open(made)?, &mut out)?;
        return Ok(());
    }
    if !machine.is_whole {
        io::copy(&mut File::open(base::initramfs(&machine.kernel)?)?, &mut out)?;
    }
    machine.payload.write(&mut out)?;
    Ok(())
}

/// A disk as a drive. One that is thrown away need not honour flushes.
fn drive(disk: &Disk, file: &Path) -> String {
    let shown = file.display().to_string().replace(',', ",,");
    match disk {
        Disk::Served { .. } => format!("file=nbd:unix:{shown},format=raw,cache=writeback"),
        Disk::Kept { .. } => format!("file={shown},format=raw,cache=writeback"),
        Disk::Fresh { .. } => format!("file={shown},format=raw,cache=unsafe"),
    }
}

fn command_line(machine: &Machine, dir: &Path, initrd: &Path, drives: &[String]) -> Result<Command> {
    // Whatever happens to this process, the machine goes with it.
    let mut command = Command::new(process::require("setpriv")?);
    command.args(["--pdeathsig", "KILL"]).arg(process::require("qemu-system-x86_64")?);
    let board = if machine.firmware.is_some() { "q35,usb=off" } else { "pc,usb=off" };
    command.args(["-M", board, "-accel", "tcg,thread=multi,tb-size=256", "-cpu", CPU, "-smp", "2"]);
    command.args(["-m", &machine.memory_mib.to_string(), "-nodefaults", "-no-user-config", "-display", "none"]);
    command.args(["-vga", "none", "-no-reboot", "-nic", "none"]);
    if let Some(time) = &machine.clock {
        command.args(["-rtc", &format!("base={time}")]);
    }
    command.arg("-kernel").arg(&machine.kernel.image).arg("-initrd").arg(initrd);
    command.arg("-append").arg(format!("{KERNEL_COMMAND_LINE}{}", machine.words));
    for name in ["console", "verdict"] {
        command.arg("-serial").arg(format!("file:{}", dir.join(name).display()));
    }
    // The guest's two streams are two pipes that qemu inherits: its own standard output, and in the place of its
    // standard input, which it does not use, the write end of another. Its standard error stays its own.
    command.args(["-device", "virtio-serial-pci,max_ports=4"]);
    for (name, fd) in [("out", 1), ("err", 0)] {
        command.args(["-chardev", &format!("file,id={name},path=/proc/self/fd/{fd}")]);
        command.args(["-device", &format!("virtserialport,chardev={name},name={name}")]);
    }
    if let Some(UefiFiles { code, variables }) = &machine.firmware {
        let own = dir.join("variables");
        fs::copy(variables, &own)?;
        let flash = |unit: u32, file: &Path| {
            format!("if=pflash,format=raw,unit={unit},file={}", file.display().to_string().replace(',', ",,"))
        };
        command.arg("-drive").arg(format!("{},readonly=on", flash(0, code))).arg("-drive").arg(flash(1, &own));
    }
    for (n, drive) in drives.iter().enumerate() {
        command.args(["-drive", &format!("{drive},if=none,id=disk{n}")]);
        command.args(["-device", &format!("virtio-blk-pci,drive=disk{n}")]);
    }
    Ok(command)
}

/// A qemu that is killed when its keeper is done with it, in whatever way.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to do.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[derive(Default)]
struct Seen {
    /// Set where this side ended it.
    end: Option<End>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    qemu: Vec<u8>,
}

/// Reads all streams until they end, the time is up or the power must be cut.
fn follow(
    mut child: Running,
    guest_stderr: impl Read + Send + 'static,
    machine: &Machine,
    deadline: Instant,
    on_line: &mut dyn FnMut(Stream, &str),
) -> Result<Seen> {
    let (sender, lines) = mpsc::channel();
    read_lines(Stream::Stdout, child.0.stdout.take().context("no stdout")?, sender.clone());
    read_lines(Stream::Qemu, child.0.stderr.take().context("no stderr")?, sender.clone());
    read_lines(Stream::Stderr, guest_stderr, sender);
    let marker = machine.power_cut.as_ref().map(|cut| cut.marker.as_bytes());
    let mut seen = Seen::default();
    loop {
        let (stream, line) = match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                seen.end = Some(End::TimedOut);
                break;
            }
        };
        if stream == Stream::Stdout && marker == Some(line.trim_ascii()) {
            child.0.kill()?;
            seen.end = Some(End::PowerCut);
            break;
        }
        on_line(stream, String::from_utf8_lossy(&line).trim_end_matches('\n'));
        match stream {
            Stream::Stdout => seen.stdout.extend(line),
            Stream::Stderr => seen.stderr.extend(line),
            Stream::Qemu => seen.qemu.extend(line),
        }
    }
    Ok(seen)
}

fn read_lines(stream: Stream, source: impl Read + Send + 'static, sender: Sender<(Stream, Vec<u8>)>) {
    std::thread::spawn(move || {
        let mut source = BufReader::new(source);
        loop {
            let mut line = Vec::new();
            match source.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) if sender.send((stream, line)).is_err() => break,
                Ok(_) => {}
            }
        }
    });
}
