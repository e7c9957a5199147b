//! `composefs diff`: what is different between two trees, the causes first.

mod compare;
mod facts;
mod json_report;
mod options;
mod text_report;
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
    let Some(pair) = Pair::load(request)? else {
        if request.json {
            println!("{}", serde_json::json!({"equal": true, "identical_images": true}));
        }
        return Ok(EQUAL);
    };
    let comparison = Comparison::new(request, &pair)?;
    let status = if comparison.is_equal() { EQUAL } else { DIFFERENT };
    if !request.quiet {
        let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
        if request.json {
            json_report::write(&comparison, &mut out)?;
        } else if status != EQUAL {
            text_report::write(&comparison, &mut out)?;
        }
        out.flush()?;
    }
    Ok(status)
}
