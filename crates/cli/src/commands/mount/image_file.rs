//! `composefs mount` of an image file.

use libcomposefs_mount::{ImageFile, Options, Plan};

use super::{ChosenWay, MountArgs, MountPart, carry_out, report, statfs};
use crate::trust::image_file::judge_file;

pub(super) fn run(args: &MountArgs, options: Options) -> anyhow::Result<MountPart> {
    let options = if args.image_only { options } else { options.require_basedir()? };
    let nofail = options.nofail;
    let opened = ImageFile::open(&args.image).and_then(|image| Ok((image.header()?, image)));
    match opened {
        Ok((header, image)) => {
            let mut options = options;
            judge_file(&image, &mut options, args.dry_run || args.print_spec)?;
            let mut plan = Plan::new(&args.image, &header, options);
            if !args.print_spec && ChosenWay::choose(args, &plan)? == ChosenWay::Kernel {
                statfs::prepare_file(&mut plan, args.dry_run)?;
            }
            carry_out(args, &plan, &image, None)
        }
        Err(error) if nofail && error.is_missing_image() => Ok(MountPart::Caller),
        Err(error) => Err(report::error(args, &error)),
    }
}
