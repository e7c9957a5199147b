//! `cargo xtask vm`: a command in a machine, by hand.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::volatile_disk::Loss;
use super::{Disk, End, Machine, Stream};
use crate::kernel::Kernel;

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The kernel to boot.
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Kernel,
    /// Give up after this many seconds.
    #[arg(long, default_value_t = 120)]
    timeout: u64,
    /// Memory of the machine, in MiB.
    #[arg(long, default_value_t = 1024)]
    memory: u32,
    /// Keep the scratch disk (/mnt) in this file; it is created if missing.
    #[arg(long)]
    disk: Option<PathBuf>,
    /// The size of a new scratch disk in MiB.
    #[arg(long, default_value_t = 512)]
    disk_size: u64,
    /// Add /dev/vdb, unformatted, of this many MiB.
    #[arg(long)]
    second_disk: Option<u64>,
    /// A directory of this machine to have at /payload; its bin is on the PATH.
    #[arg(long)]
    payload: Option<PathBuf>,
    /// A program of this machine to have there, with its libraries.
    #[arg(long)]
    program: Vec<String>,
    /// Cut the power when the command prints this line; unflushed writes to /mnt are lost.
    #[arg(long)]
    cut_power_at: Option<String>,
    /// Let a part of the unflushed writes survive the cut, chosen by this seed.
    #[arg(long, requires = "cut_power_at")]
    survivors: Option<u64>,
    /// Print how long it took, and the console.
    #[arg(long, short)]
    verbose: bool,
    /// The command; a single word is a line of shell.
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

/// The task. Exits as the command did; 124 if it took too long.
pub(crate) fn run(options: Options) -> Result<()> {
    let kernel = options.kernel.fetch()?;
    let mut machine = Machine::new(kernel, &script(&options.command))?
        .timeout(Duration::from_secs(options.timeout))
        .memory_mib(options.memory)
        .scratch(match options.disk {
            Some(file) => Disk::Kept { file, mib: options.disk_size },
            None => Disk::Fresh { mib: options.disk_size },
        });
    if let Some(mib) = options.second_disk {
        machine = machine.second_disk(Disk::Fresh { mib });
    }
    if let Some(marker) = &options.cut_power_at {
        machine = machine.cut_power_at(marker, options.survivors.map_or(Loss::All, Loss::Some));
    }
    if let Some(payload) = &options.payload {
        let payload = payload.canonicalize().with_context(|| format!("cannot find {}", payload.display()))?;
        machine.payload().tree("payload", payload);
    }
    for program in &options.program {
        machine.payload().program(program)?;
    }
    let exit = machine.run(&mut |stream, line| match stream {
        Stream::Stdout => println!("{line}"),
        Stream::Stderr => eprintln!("{line}"),
        Stream::Qemu => eprintln!("qemu: {line}"),
    })?;
    if options.verbose {
        eprintln!("{}vm: {}, {:?} after {:.1} s", exit.console, exit.release, exit.end, exit.took.as_secs_f32());
    }
    match exit.end {
        End::Exited(status) => std::process::exit(status),
        End::TimedOut => {
            eprintln!("vm: no end after {} s", options.timeout);
            std::process::exit(124)
        }
        End::PowerCut => {
            let disk = exit.disk.unwrap_or_default();
            eprintln!("vm: power cut; {} writes, {} flushes, {} bytes lost", disk.writes, disk.flushes, disk.lost);
            Ok(())
        }
        End::Died => bail!("the machine died\n{}", exit.console),
    }
}

fn script(command: &[String]) -> String {
    let words = match command {
        [line] => line.clone(),
        words => words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect::<Vec<_>>().join(" "),
    };
    format!("PATH=/payload/bin:$PATH\n{words}\n")
}
