//! `composefs plan`: prints what a pull would cost.

use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_delivery::{DeliveryPlan, Remote, WayCost, plan};
use libcomposefs_repo::RefName;
use serde_json::{Value, json};

use super::open::{open, patience};
use super::operand::RemoteOperand;
use super::server_args::ServerArgs;
use crate::commands::repository::RepositoryArgs;
use crate::inspect::size::human;
use crate::interrupt::Interrupt;
use crate::{complete, output};

/// Print what a pull would cost, before any content is fetched.
///
/// There are three ways: `whole` fetches all objects, as if the repository had none; `packs` those that the repository
/// lacks; `deltas` differences from objects of the repository where it can. Bytes, requests and disk space are exact.
/// The time is an estimate: the bytes at the rate, and the requests with the latency, of the up to three requests of
/// the plan itself. The way that pull takes is marked.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PlanArgs {
    /// Remote: a name, a URL or a directory
    #[arg(value_name = "REMOTE", add = ArgValueCompleter::new(complete::remotes))]
    remote: RemoteOperand,
    /// Name of the image in the remote
    #[arg(value_name = "REF")]
    name: RefName,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images plan backup debian/13
  composefs --repo=/srv/images plan /mnt/backup/images debian/13 --json";

pub(crate) fn run(args: &PlanArgs, selected: &RepositoryArgs) -> ExitCode {
    let interrupt = Interrupt::watch();
    interrupt.end(plan_pull(args, selected, &interrupt))
}

fn plan_pull(args: &PlanArgs, selected: &RepositoryArgs, interrupt: &Interrupt) -> anyhow::Result<()> {
    let repository = selected.open()?.interrupted_by(interrupt.flag());
    let store = open(&args.remote, selected, &args.server)?;
    let remote = Remote::new(&*store, patience(interrupt));
    let plan = plan(&repository, &remote, &args.name)?;
    print_plan(&plan, &args.name, args.json);
    Ok(())
}

/// Prints a plan: a line for each way.
pub(super) fn print_plan(plan: &DeliveryPlan, name: &RefName, json: bool) {
    let digest = plan.document.image.digest;
    if json {
        output::json(&json!({
            "name": name.as_str(),
            "digest": digest.to_hex(),
            "here": plan.is_here,
            "latency": plan.latency.as_secs_f64(),
            "rate": plan.rate,
            "ranges": plan.has_ranges,
            "requests": plan.requests,
            "ways": plan.ways.iter().map(|cost| way_json(plan, cost)).collect::<Vec<_>>(),
        }));
        return;
    }
    out!("{digest} {name}{}", if plan.is_here { ": up to date" } else { "" });
    out!("{:8} {:>8} {:>9} {:>9} {:>9} {:>10}", "way", "bytes", "requests", "objects", "disk", "estimate");
    for cost in &plan.ways {
        let WayCost { way, bytes, requests, disk, objects, seconds, .. } = *cost;
        let mark = if way == plan.cheapest && !plan.is_here { " <- pull" } else { "" };
        let (bytes, disk) = (human(bytes), human(disk));
        out!("{:8} {bytes:>8} {requests:>9} {objects:>9} {disk:>9} {:>9.1}s{mark}", way.name(), seconds);
    }
}

fn way_json(plan: &DeliveryPlan, cost: &WayCost) -> Value {
    json!({
        "way": cost.way.name(),
        "bytes": cost.bytes,
        "requests": cost.requests,
        "objects": cost.objects,
        "disk": cost.disk,
        "seconds": cost.seconds,
        "chosen": cost.way == plan.cheapest,
    })
}
