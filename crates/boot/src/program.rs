//! The program from its arguments to its exit status.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::system::RebootCommand;

use crate::arguments::{BootArguments, BootRequest, HELP};
use crate::console::Console;
use crate::early;
use crate::error::BootError;
use crate::setup::{BootOutcome, set_up};
use crate::words::Refused;

/// Runs the program.
#[must_use]
pub fn run_program() -> ExitCode {
    // The first process of a container has that number, too.
    let is_init = std::process::id() == 1 && early::is_in_initramfs();
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    // The kernel gives words of its command line to /init, which are for the system.
    let request = BootRequest::parse(words.take(if is_init { 1 } else { usize::MAX }));
    match request {
        Ok(BootRequest::Help) => print(HELP),
        Ok(BootRequest::Version) => print(concat!("composefs-setup-root ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(BootRequest::SetUp(arguments)) => boot(&arguments, is_init),
        Err(error) => {
            Console::open(false).note(&error.to_string());
            ExitCode::from(2)
        }
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn boot(arguments: &BootArguments, is_init: bool) -> ExitCode {
    let start = Instant::now();
    if is_init {
        early::mount_kernel_file_systems();
    }
    let is_boot = arguments.cmdline.is_none() && arguments.target.is_none() && early::is_in_initramfs();
    let console = Console::open(is_boot);
    let line = arguments.cmdline.clone().map_or_else(early::kernel_command_line, Ok);
    let refused = line.as_deref().ok().and_then(Refused::of).or(arguments.refused);
    let result = line.and_then(|line| whole(arguments, &line, is_init, &console).map(|outcome| (outcome, line)));
    let error = match result {
        Ok((BootOutcome { digest, notes }, line)) => {
            console.notes(&notes);
            if let Some(digest) = digest {
                console.note(&format!("booting {digest} ({} us)", start.elapsed().as_micros()));
            }
            if !is_init {
                return ExitCode::SUCCESS;
            }
            early::switch_root(&line)
        }
        Err(error) => error,
    };
    console.refuse(&error.refusal());
    if is_boot {
        after_refusal(refused, is_init, &console);
    }
    ExitCode::FAILURE
}

fn whole(arguments: &BootArguments, line: &str, is_init: bool, console: &Console) -> Result<BootOutcome, BootError> {
    if is_init {
        console.notes(&early::load_modules());
        early::mount_disk(line)?;
    }
    set_up(arguments, line, is_init)
}

/// Does what `composefs.refused` or the option says. Without both, `/init` boots again, and a unit of systemd leaves
/// the rest to systemd.
fn after_refusal(refused: Option<Refused>, is_init: bool, console: &Console) {
    let action = refused.unwrap_or(if is_init { Refused::Reboot } else { Refused::Emergency });
    let (what, command) = match action {
        Refused::PowerOff => ("power off", RebootCommand::PowerOff),
        Refused::Reboot => ("reboot", RebootCommand::Restart),
        Refused::Emergency if is_init => {
            console.note("nothing more is done: there is no shell in this initramfs");
            // The end of /init would be a panic.
            loop {
                std::thread::sleep(Duration::from_secs(3600));
            }
        }
        Refused::Emergency => return,
    };
    console.note(&format!("{what} in 10 seconds"));
    std::thread::sleep(Duration::from_secs(10));
    rustix::fs::sync();
    if let Err(errno) = rustix::system::reboot(command) {
        console.note(&format!("{what}: {errno}"));
    }
}
