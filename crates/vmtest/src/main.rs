//! The tests that run inside a virtual machine, as its root, under the kernels that matter.
//!
//! `cargo xtask test` builds this program static, boots each kernel with it and reads its report, which has the form of
//! any Rust test program's. A test is a function that takes a [`Context`] and names the kernels it is for; each file in
//! `tests/` holds those of one area, listed in [`tests::all`].

mod command;
mod context;
mod disk;
mod kernel;
mod kernel_log;
mod tests;

use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use libtest_mimic::{Completion, Failed, Trial};

use context::{Context, Skip};
use tests::Test;

#[derive(Parser)]
struct Arguments {
    /// The release of the kernel the tests were meant to run under.
    #[arg(long)]
    expect_kernel: String,
    #[command(flatten)]
    harness: libtest_mimic::Arguments,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let context = match ground(&arguments.expect_kernel) {
        Ok(context) => Arc::new(context),
        Err(error) => {
            eprintln!("the guest is not what the tests need: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        tests::all().into_iter().partition(|test| test.kernels.include(context.kernel));
    for test in elsewhere {
        println!("not for this kernel: {} ({})", test.name, test.kernels);
    }
    let skips = Arc::default();
    let trials = here.into_iter().map(|test| trial(test, &context, &skips)).collect();
    // One at a time: they share the kernel's log, its caches and its disk counters.
    let harness = libtest_mimic::Arguments { test_threads: Some(1), ..arguments.harness };
    let conclusion = libtest_mimic::run(&harness, trials);
    for skip in skips.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        eprintln!("SKIPPED {skip}");
    }
    conclusion.exit_code()
}

/// Checks the preconditions of all tests: the right kernel, and a scratch directory where fs-verity works.
fn ground(expected: &str) -> Result<Context> {
    let release = kernel::release();
    ensure!(release == expected, "it runs Linux {release}, not {expected}");
    let context = Context::new(&release)?;
    let file = context.scratch("ground")?.join("file");
    std::fs::write(&file, "ground")?;
    let measured = command::run(Command::new("fsverity").arg("enable").arg(&file))
        .and_then(command::Ran::success)
        .and_then(|_| context.measure(&file))
        .with_context(|| format!("fs-verity does not work on {}", file.display()))?;
    let computed = libcomposefs_image::verity::digest(measured.algorithm(), b"ground");
    ensure!(measured == computed, "the kernel measures {measured}, not {computed}");
    Ok(context)
}

fn trial(test: Test, context: &Arc<Context>, skips: &Arc<Mutex<Vec<String>>>) -> Trial {
    let (context, skips) = (Arc::clone(context), Arc::clone(skips));
    Trial::ignorable_test(test.name, move || match (test.run)(&context) {
        Ok(()) => Ok(Completion::Completed),
        Err(error) => match error.downcast::<Skip>() {
            Ok(Skip(reason)) => {
                // The line of the test itself has no room for it.
                let mut skips = skips.lock().unwrap_or_else(PoisonError::into_inner);
                skips.push(format!("{}: {reason}", test.name));
                Ok(Completion::ignored_with(reason))
            }
            Err(error) => Err(Failed::from(format!("{error:?}"))),
        },
    })
}
