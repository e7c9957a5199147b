//! `composefs mount`

mod repository_image;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::anyhow;
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_mount::{Allowed, ErofsWay, Error, ImageFile, Mounted, OverlayWay, Plan, UnknownOptions, Verity};
use serde_json::{Value, json};

use super::repository::RepositoryArgs;
use super::verity_warning;
use crate::complete;
use crate::error_text;
use crate::output;

/// Mount a composefs image: a file, or an image of a repository.
///
/// An image of a repository is given by a ref or its digest. The kernel verifies the image and every file in it, unless
/// the repository does not use fs-verity. IMAGE is the path of a file if such a file exists or basedir= is given,
/// unless --repo, --user or --system is used.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MountArgs {
    /// Image: the path of a file, or a ref or digest of an image in a repository
    #[arg(value_name = "IMAGE|REF|DIGEST", add = ArgValueCompleter::new(complete::images))]
    pub(crate) image: PathBuf,

    /// Directory to mount the image at
    #[arg(value_name = "DIR")]
    pub(crate) target: PathBuf,

    /// Mount options, separated by commas; may be given several times
    #[arg(short, long, value_name = "OPTIONS")]
    options: Vec<OsString>,

    /// Print what would be mounted, and mount nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Print plan, outcome and error as JSON; if that cannot be printed, nothing stays mounted
    #[arg(long)]
    pub(crate) json: bool,
}

const EXAMPLES: &str = "\
Options for -o:
  basedir=DIR[:DIR...]   object directories (required for an image file)
  digest=HEX             expected fs-verity digest of the image; implies verity_check=2
  verity_check=0|1|2     verify no files (default), files with a digest, or require a digest for every file
  verity                 same as verity_check=2
  tryverity              same if the kernel supports it, otherwise no verification
  upperdir=DIR,workdir=DIR  store changes in upperdir; without it the mount is read-only
  idmap=FILE             map owners by a user namespace (/proc/PID/ns/user)
  readahead=SIZE|off     number of bytes of the image to read ahead at mount (default 32M)
  ro, rw, nosuid, nodev, noexec, nosymfollow, noatime, strictatime, nodiratime
Write a backslash before a comma or colon in a value.

Examples:
  composefs --repo=/srv/images mount debian/13 /mnt
  composefs --repo=/srv/images mount debian/13 /mnt -o upperdir=changes,workdir=work
  composefs mount rootfs.img /mnt -o basedir=objects
  composefs mount rootfs.img /mnt -o basedir=objects,digest=$(fsverity digest --compact rootfs.img)
  composefs mount rootfs.img /mnt -o basedir=objects,upperdir=changes,workdir=work
  composefs mount rootfs.img /mnt -o basedir=objects,verity --dry-run";

pub(crate) fn run(args: &MountArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let text = args.options.join(OsStr::new(","));
    let is_file = !selected.is_given() && (has_basedir(&text) || args.image.exists());
    if is_file { run_file(args, &text) } else { repository_image::run(args, &text, selected) }
}

/// Whether one of the options is `basedir`.
pub(super) fn has_basedir(text: &OsStr) -> bool {
    text.as_bytes().split(|byte| *byte == b',').any(|word| word.starts_with(b"basedir="))
}

fn run_file(args: &MountArgs, text: &OsStr) -> anyhow::Result<()> {
    let options = libcomposefs_mount::parse(text, UnknownOptions::Refuse)?;
    let nofail = options.nofail;
    let outcome = ImageFile::open(&args.image).and_then(|image| {
        let plan = Plan::new(&args.image, &image.header()?, &args.target, options);
        mount(plan, &image, args.dry_run)
    });
    if outcome.as_ref().is_err_and(|error| nofail && error.is_missing_image()) {
        return Ok(());
    }
    tell(outcome, args.json)
}

/// Mounts as planned, unless it is only to be looked at.
pub(crate) fn mount(plan: Plan, image: &ImageFile, dry_run: bool) -> Result<(Plan, Option<Mounted>), Error> {
    let mounted = if dry_run { None } else { Some(libcomposefs_mount::apply(&plan, image, Allowed::default())?) };
    verity_warning::print("composefs", &plan, mounted.as_ref());
    Ok((plan, mounted))
}

/// Prints what came of it. A mount whose report cannot be printed does not stay: the status says that there is none.
pub(crate) fn tell(outcome: Result<(Plan, Option<Mounted>), Error>, json: bool) -> anyhow::Result<()> {
    match outcome {
        Ok((plan, mounted)) if json => {
            output::json(&json!({ "plan": plan_json(&plan), "mounted": mounted.as_ref().map(mounted_json) }));
            if let (Err(unwritable), Some(_)) = (output::flush(), &mounted) {
                let target = plan.target.display();
                match libcomposefs_mount::umount(&plan.target, false) {
                    Ok(()) => tell!("composefs: {target} is unmounted again, as the report cannot be printed"),
                    Err(error) => tell!("composefs: the report cannot be printed, and {target} stays mounted: {error}"),
                }
                return Err(unwritable.into());
            }
        }
        Ok((plan, None)) => output::block(&plan_text(&plan)),
        Ok((_, Some(_))) => {}
        Err(error) => {
            if json {
                output::json(&json!({ "error": error_json(&error) }));
            }
            return Err(with_remedy(&error));
        }
    }
    Ok(())
}

/// A plan as text. Its lines are the program's own: a newline in a path begins none.
pub(crate) fn plan_text(plan: &Plan) -> String {
    let path = |path: &PathBuf| PathBuf::from(output::escaped(&path.to_string_lossy()));
    let mut plan = plan.clone();
    plan.image = path(&plan.image);
    plan.target = path(&plan.target);
    plan.idmap = plan.idmap.as_ref().map(path);
    plan.data = plan.data.iter().map(path).collect();
    if let Some(upper) = &mut plan.upper {
        upper.dir = path(&upper.dir);
        upper.work = path(&upper.work);
    }
    format!("{plan}\n")
}

/// The error with what can be done about it on a line of its own.
pub(crate) fn with_remedy(error: &Error) -> anyhow::Error {
    match error.remedy() {
        Some(remedy) => error_text::with_remedy(error, remedy),
        None => anyhow!("{error}"),
    }
}

fn error_json(error: &Error) -> Value {
    json!({ "kind": error.kind(), "message": error.to_string(), "remedy": error.remedy() })
}

/// Bytes of a path that are no UTF-8 are shown as U+FFFD: JSON has no others.
fn plan_json(plan: &Plan) -> Value {
    let path = |path: &PathBuf| path.to_string_lossy().into_owned();
    json!({
        "image": path(&plan.image),
        "target": path(&plan.target),
        "digest": plan.digest().map(|digest| json!({ "algorithm": digest.algorithm().name(), "hex": digest.to_hex() })),
        "acl": plan.acl,
        "readahead": plan.read_ahead.bytes(),
        "idmap": plan.idmap.as_ref().map(path),
        "basedirs": plan.data.iter().map(path).collect::<Vec<_>>(),
        "upperdir": plan.upper.as_ref().map(|upper| path(&upper.dir)),
        "workdir": plan.upper.as_ref().map(|upper| path(&upper.work)),
        "verity": match plan.verity() { Verity::RequireIfSupported => "try", other => verity_word(other) },
        "attributes": plan.attributes.to_string(),
    })
}

fn mounted_json(mounted: &Mounted) -> Value {
    json!({
        "erofs": match &mounted.erofs { ErofsWay::File => "file".into(), ErofsWay::Loop(path) => path.to_string_lossy() },
        "overlay": match mounted.overlay {
            OverlayWay::Detached => "detached",
            OverlayWay::Mountpoint => "mountpoint",
            OverlayWay::OneText => "mount2",
            OverlayWay::OrdinaryLayers => "mount2-ordinary-layers",
        },
        "verity": verity_word(mounted.verity),
    })
}

fn verity_word(verity: Verity) -> &'static str {
    verity.overlay_value().unwrap_or("off")
}
