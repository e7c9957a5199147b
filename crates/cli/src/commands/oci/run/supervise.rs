//! Runs the runtime and returns the exit status of the container's command.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context as _, ensure};
use libcomposefs_sys::signal_relay::SignalRelay;
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::args::RunArgs;
use super::bundle::OciBundle;
use super::changes::ContainerChanges;
use super::failure::RuntimeFailure;
use super::host::{CgroupManager, HostFacts};
use super::program::RuntimeProgram;
use super::terminal_size;
use super::watcher::ContainerWatcher;

/// A container that is ready to be started.
pub(super) struct Container<'a> {
    /// Directories of the OCI bundle, which is complete.
    pub(super) bundle: &'a OciBundle,
    /// Directory of the changes, if it is on disk.
    pub(super) changes: Option<&'a ContainerChanges>,
    /// Facts about the host.
    pub(super) host: &'a HostFacts,
    /// Program that starts the container.
    pub(super) program: &'a RuntimeProgram,
}

/// Runs a container to its end. The runtime has standard input, output and error, and the terminal.
pub(super) fn run(relay: &SignalRelay, container: &Container<'_>, args: &RunArgs) -> anyhow::Result<u8> {
    let &Container { bundle, changes, host, program } = container;
    let terminal = if args.tty { Some(terminal()?) } else { None };
    let (log, pid_file) = (bundle.path().join("log.json"), bundle.path().join("pid"));
    let mut command = base_command(program, bundle, host)?;
    command.arg("--log").arg(&log).args(["--log-format", "json"]);
    command.arg("run").arg("--bundle").arg(bundle.path()).arg("--pid-file").arg(&pid_file).arg(bundle.id());
    if !args.interactive && !args.tty {
        command.stdin(Stdio::null());
    }
    let lock = changes.map(ContainerChanges::inheritable_lock).transpose().context("cannot share the lock")?;
    let watcher = ContainerWatcher::start(|| delete(program, bundle, host)).context("cannot start a process")?;
    let mut child = relay.spawn(&mut command).with_context(|| format!("cannot run {}", program.path.display()))?;
    drop(lock);
    let size_changed = |runtime: &Child| {
        if args.tty {
            // Without it, the command keeps the size from before.
            let _ = terminal_size::pass_on(runtime);
        }
    };
    let status = relay.wait(&mut child, size_changed).with_context(|| format!("cannot wait for {}", program.name()))?;
    watcher.end();
    let is_started = pid_file.exists() || status.success();
    if status.signal().is_some() || !is_started {
        // The runtime left the container or its control group behind.
        delete(program, bundle, host);
        if let Some(terminal) = terminal {
            let _ = tcsetattr(stdin(), OptionalActions::Now, &terminal);
        }
    }
    if !is_started && status.signal().is_none() {
        let has_cgroups = host.cgroups != CgroupManager::Disabled;
        return Err(RuntimeFailure { runtime: program.name(), message: last_message(&log), has_cgroups }.into());
    }
    Ok(exit_status(status))
}

fn terminal() -> anyhow::Result<Termios> {
    let terminal = tcgetattr(stdin());
    ensure!(terminal.is_ok(), "-t needs a terminal as standard input: leave -t out");
    terminal.context("cannot read the settings of the terminal")
}

/// Returns a command of the runtime without a subcommand. Its environment is not that of the caller: `NOTIFY_SOCKET`,
/// `LISTEN_FDS` and `XDG_RUNTIME_DIR` would change what it does.
fn base_command(program: &RuntimeProgram, bundle: &OciBundle, host: &HostFacts) -> anyhow::Result<Command> {
    let mut command = Command::new(&program.path);
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    if host.mapped.is_some() {
        // The directory of the runtime's state in /run belongs to root of the host.
        command.arg("--root").arg(bundle.path().join("state"));
    }
    match host.cgroups {
        CgroupManager::Systemd => {
            command.arg("--systemd-cgroup");
        }
        CgroupManager::FileSystem => {}
        CgroupManager::Disabled => {
            let why = if host.mapped.is_some() { "a container without root" } else { "--cgroups=disabled" };
            ensure!(program.is_crun(), "{why} needs crun: {} always uses control groups", program.name());
            command.arg("--cgroup-manager=disabled");
        }
    }
    Ok(command)
}

fn delete(program: &RuntimeProgram, bundle: &OciBundle, host: &HostFacts) {
    if let Ok(mut command) = base_command(program, bundle, host) {
        command.args(["delete", "--force", bundle.id()]);
        // It fails if there is nothing to delete.
        let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// Returns the last message of the runtime's log, each line of which is an object with `msg`.
fn last_message(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let of_line = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        value.get("msg")?.as_str().map(str::to_owned)
    };
    log.lines().rev().find_map(of_line).unwrap_or_default()
}

fn exit_status(status: ExitStatus) -> u8 {
    let status = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    status.and_then(|status| u8::try_from(status).ok()).unwrap_or(u8::MAX)
}
