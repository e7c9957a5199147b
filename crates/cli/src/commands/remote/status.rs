//! `composefs status`: how much of a lazy mount is here.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::lazy::ServerStatus;
use crate::commands::repository::{counted, partial::progress_text};
use crate::output;

/// Print how much of a lazy mount is here.
///
/// Asks the server or the worker of the mount, and counts the objects in its repository by their sizes. Reads that wait
/// for an object are counted too. The last failure of a fetch is printed with its age; the file can be read again when
/// the remote is back. Of a mount by overlayfs, it is printed how often the worker was started again.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusArgs {
    /// Mount point of a lazy mount
    #[arg(value_name = "DIR")]
    target: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs status /mnt
  composefs status /mnt --json | jq .missing";

pub(crate) fn run(args: &StatusArgs) -> anyhow::Result<()> {
    let status = ServerStatus::ask(&args.target)?;
    let repository = status.open_repository()?;
    let progress = repository.progress_of_image(&status.digest)?;
    let is_partial = !repository.has_image(&status.digest)?;
    if args.json {
        output::json(&json!({
            "digest": status.digest.to_hex(),
            "repository": status.repository.to_string_lossy(),
            "remote": status.remote,
            "ref": status.name,
            "way": status.way,
            "served": status.is_served,
            "restarts": status.restarts,
            "last_end": status.last_end,
            "partial": is_partial,
            "objects": progress.objects,
            "objects_here": progress.objects_here,
            "missing": progress.missing(),
            "bytes": progress.bytes,
            "bytes_here": progress.bytes_here,
            "waiting": status.waiting,
            "last_error": status.last_error.as_ref()
                .map(|(time, message)| json!({ "time": time.as_secs(), "message": message })),
        }));
        return Ok(());
    }
    let (name, remote) = (output::escaped(&status.name), output::escaped(&status.remote));
    out!("{} {name} of {remote}", status.digest);
    let state = if is_partial { "partial" } else { "complete in the repository" };
    out!("{} here; {state}", progress_text(&progress));
    let way = match (status.way.as_str(), status.is_served) {
        ("overlay", true) => "by overlayfs, a worker fetches",
        ("overlay", false) if progress.missing() == 0 => "by overlayfs, no process is needed any more",
        ("overlay", false) => "by overlayfs; holder and worker have ended: unmount it, and mount it again",
        _ => "by an image server in user space",
    };
    out!("mounted {way}");
    if let Some(end) = &status.last_end {
        out!("worker started again {}, the last one ended by {end}", counted(status.restarts, "time"));
    }
    out!("{} waiting", counted(status.waiting, "read"));
    if let Some((time, message)) = &status.last_error {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        out!("last error, {} s ago: {}", now.saturating_sub(*time).as_secs(), output::escaped(message));
    }
    Ok(())
}
