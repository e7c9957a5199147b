//! `composefs diff`: what is different between two trees, the causes first.

mod compare;
mod facts;
mod json_report;
mod options;
mod text_report;
mod time;
pub(super) mod words;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

pub(super) use options::Args;

use compare::{Comparison, Pair};
use options::Request;

/// Nothing differs, something does, or it could not be found out.
const EQUAL: u8 = 0;
const DIFFERENT: u8 = 1;
const TROUBLE: u8 = 2;

/// Runs the command.
pub(super) fn run(args: Args) -> ExitCode {
    let done = Request::check(args).and_then(|request| run_request(&request));
    ExitCode::from(done.unwrap_or_else(|error| {
        // Whoever closed the pipe has seen enough.
        let is_closed = error.downcast_ref().is_some_and(|e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe);
        if !is_closed {
            eprintln!("composefs: {error:#}");
        }
        TROUBLE
    }))
}

fn run_request(request: &Request) -> anyhow::Result<u8> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let Some(pair) = Pair::load(request)? else {
        if request.json {
            json_report::write_identical(&mut out)?;
        }
        out.flush()?;
        return Ok(EQUAL);
    };
    let comparison = Comparison::new(request, &pair)?;
    let status = if comparison.is_equal() { EQUAL } else { DIFFERENT };
    match (request.quiet, request.json) {
        (true, _) => {}
        (false, true) => json_report::write(&comparison, &mut out)?,
        (false, false) if status == EQUAL => {}
        (false, false) => text_report::write(&comparison, &mut out)?,
    }
    out.flush()?;
    Ok(status)
}
