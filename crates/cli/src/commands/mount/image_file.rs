//! `composefs mount` of an image file.

use libcomposefs_mount::{ImageFile, Options, Plan};

use super::{MountArgs, MountPart, carry_out, report};
use crate::trust::image_file::judge_file;

pub(super) fn run(args: &MountArgs, options: Options) -> anyhow::Result<MountPart> {
    let options = if args.image_only { options } else { options.require_basedir()? };
    let nofail = options.nofail;
    let opened = ImageFile::open(&args.image).and_then(|image| Ok((image.header()?, image)));
    match opened {
        Ok((header, image)) => {
            let mut options = options;
            judge_file(&image, &mut options, args.dry_run || args.print_spec)?;
            carry_out(args, &Plan::new(&args.image, &header, options), &image, None)
        }
        Err(error) if nofail && error.is_missing_image() => Ok(MountPart::Caller),
        Err(error) => Err(report::error(args, &error)),
    }
}
