//! Reads the content of a file in an image, from the image itself or from its object, whose digest is verified.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::bail;
use libcomposefs_image::erofs::read::{LastLink, RawContent, ResolvedPath};
use libcomposefs_image::tree::Kind;
use libcomposefs_store::{Basedirs, VerifiedBy};

use crate::error_text::with_remedy;
use crate::inspect::image::InspectedImage;
use crate::inspect::inode_info::{ContentForm, InodeInfo};
use crate::inspect::mode;
use crate::inspect::names::NameFormat;

/// Source of the contents of an image's files.
pub(crate) struct ContentReader<'i, 'r, 'a> {
    pub(crate) image: &'i InspectedImage<'r, 'a>,
    pub(crate) basedirs: Basedirs,
    /// Also copy contents for which the image has no digest to verify them with.
    pub(crate) unverified: bool,
}

/// Result of copying the content of one file.
#[derive(Debug)]
pub(crate) struct CopiedContent<'a> {
    pub(crate) path: Vec<u8>,
    pub(crate) info: InodeInfo<'a>,
    /// Path of the object that was read, if the content is not in the image.
    pub(crate) object: Option<PathBuf>,
    /// Method by which the content was verified, as printed. The image itself is not verified here.
    pub(crate) checked: &'static str,
}

impl<'a> ContentReader<'_, '_, 'a> {
    /// Copies the content of the file at a path of the image.
    pub(crate) fn copy(&self, path: &[u8], out: &mut impl Write) -> anyhow::Result<CopiedContent<'a>> {
        let ResolvedPath { path, node } = self.image.resolve(path, LastLink::Follow)?;
        let info = self.image.info(node, &path)?;
        let told = |error: anyhow::Error| {
            if error.is::<io::Error>() { error } else { error.context(self.place(&path)) }
        };
        let (object, checked) = self.copy_info(&info, out).map_err(told)?;
        Ok(CopiedContent { path, info, object, checked })
    }

    fn place(&self, path: &[u8]) -> String {
        format!("{}: {}", self.image.name(), NameFormat::Escaped.text(path))
    }

    fn copy_info(&self, info: &InodeInfo<'a>, out: &mut impl Write) -> anyhow::Result<(Option<PathBuf>, &'static str)> {
        let payload = match (info.content, info.payload) {
            (None, _) => bail!("a {} has no content", mode::word(info.node.kind())),
            (Some(ContentForm::Hole), _) => bail!("the image does not say which object its content is"),
            (Some(_), Some(payload)) if info.node.kind() == Kind::Regular => payload,
            (Some(_), _) => {
                if let RawContent::Flat(flat) = self.image.reader.content(info.node.raw())? {
                    out.write_all(flat.blocks)?;
                    out.write_all(flat.tail)?;
                }
                return Ok((None, "in the image"));
            }
        };
        if self.basedirs.is_empty() {
            return Err(with_remedy("its content is in an object", "use --basedir=DIR to name the object directory"));
        }
        let object = self.basedirs.open_object(payload)?;
        object.expect_size(info.size)?;
        let sink = |piece: &[u8]| -> anyhow::Result<()> { Ok(out.write_all(piece)?) };
        let checked = match info.digest {
            Some(digest) => match object.copy_verified(&digest, sink)? {
                VerifiedBy::Kernel => "by the kernel",
                VerifiedBy::Hashed => "by reading",
            },
            None if self.unverified => {
                object.copy_unverified(sink)?;
                "no"
            }
            None => {
                return Err(with_remedy(
                    format!(
                        "cannot verify its object {}: the image has no digest for it",
                        NameFormat::Escaped.text(payload)
                    ),
                    "use --unverified to read it without verification",
                ));
            }
        };
        Ok((Some(object.path().to_owned()), checked))
    }
}
