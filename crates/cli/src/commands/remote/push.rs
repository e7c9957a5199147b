//! `composefs push`: sends an image to a remote.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_delivery::{DeliveryPushOptions, Pushed, Remote, push};
use libcomposefs_repo::{ImageName, RefName};
use serde_json::json;

use super::open::{open_new, patience};
use super::operand::RemoteOperand;
use super::progress::TransferDisplay;
use super::server_args::ServerArgs;
use super::trace_file::read_trace;
use crate::commands::repository::export::EffortName;
use crate::commands::repository::{NameOperand, RepositoryArgs, counted};
use crate::inspect::size::human;
use crate::interrupt::Interrupt;
use crate::{complete, output, rlimits};

/// Send an image to a remote, with the objects that the remote lacks.
///
/// Objects are sent compressed, in packs of some megabytes, and in addition as differences from the objects of the
/// image that the name leads to in the remote, or of the images given with --base: receivers that have these fetch the
/// differences. The name moves last, if no other push has moved it meanwhile. A push that was cut continues: what has
/// arrived is not sent again.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PushArgs {
    /// Image, by name or digest
    #[arg(value_name = "REF|DIGEST", add = ArgValueCompleter::new(complete::images))]
    image: NameOperand,
    /// Remote: a name, a URL or a directory
    #[arg(value_name = "REMOTE", add = ArgValueCompleter::new(complete::remotes))]
    remote: RemoteOperand,
    /// Name of the image in the remote [default: the name here]
    #[arg(long = "as", value_name = "NAME")]
    as_name: Option<RefName>,
    /// Image that receivers may have, whose objects become bases of differences; may be given several times
    #[arg(long, value_name = "REF|DIGEST", add = ArgValueCompleter::new(complete::images))]
    base: Vec<NameOperand>,
    /// File of `composefs trace`: the objects that it names go into a pack of their own, and lazy mounts fetch them
    /// ahead
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Work to spend on fewer bytes: `best` takes some times as long as `default`
    #[arg(long, value_name = "EFFORT", default_value = "default")]
    effort: EffortName,
    /// Number of threads to use
    #[arg(long, value_parser = rlimits::parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images push debian/13 /mnt/backup/images
  composefs --repo=/srv/images push debian/13.1 backup --as=debian/13 --effort=best
  composefs --repo=/srv/images push debian/14 backup --base=debian/13
  composefs --repo=/srv/images push debian/13 backup --trace=debian.trace

Exit status: 0 if the image is in the remote under the name, 1 if not, 128 plus the signal number if a signal cancelled
the command.";

pub(crate) fn run(args: &PushArgs, selected: &RepositoryArgs) -> ExitCode {
    let interrupt = Interrupt::watch();
    interrupt.end(push_image(args, selected, &interrupt))
}

fn push_image(args: &PushArgs, selected: &RepositoryArgs, interrupt: &Interrupt) -> anyhow::Result<()> {
    let repository = selected.open()?.interrupted_by(interrupt.flag());
    let resolve = |name: &NameOperand| name.resolve(&repository, selected.names()).map(|found| found.image);
    let image = resolve(&args.image)?;
    let bases = args.base.iter().map(resolve).collect::<anyhow::Result<Vec<_>>>()?;
    let name = match (&args.as_name, &image) {
        (Some(name), _) => name.clone(),
        (None, ImageName::Ref(name)) => name.clone(),
        (None, ImageName::Digest(_)) => match args.image.to_string().parse() {
            Ok(name) => name,
            Err(_) => bail!("{} has no name here: give it one in the remote with --as=NAME", args.image),
        },
    };
    let store = open_new(&args.remote, selected, &args.server)?;
    let remote = Remote::new(&*store, patience(interrupt));
    let display = TransferDisplay::start();
    let trace = args.trace.as_deref().map(read_trace).transpose()?;
    let options = DeliveryPushOptions {
        trace: trace.as_ref(),
        effort: args.effort.into(),
        threads: rlimits::threads(args.threads),
        make_file: &super::make_file,
        progress: &display,
    };
    let pushed = push(&repository, &image, &bases, &remote, &name, &options)?;
    drop(display);
    print(args, &name, &pushed);
    Ok(())
}

fn print(args: &PushArgs, name: &RefName, pushed: &Pushed) {
    if args.json {
        output::json(&json!({
            "digest": pushed.digest.to_hex(),
            "name": name.as_str(),
            "replaced": pushed.replaced.map(|digest| digest.to_hex()),
            "same": pushed.is_same,
            "objects": { "all": pushed.objects, "new": pushed.new_objects },
            "sent": { "files": pushed.sent_files, "bytes": pushed.sent_bytes },
        }));
    } else if pushed.is_same {
        out!("{} {name}: up to date", pushed.digest);
    } else {
        let (objects, bytes) = (counted(pushed.new_objects, "new object"), human(pushed.sent_bytes));
        out!("{} {name}: {objects}, {bytes} sent", pushed.digest);
    }
}
