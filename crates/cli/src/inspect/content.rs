//! The content of a file of an image, from the image or from an object that was checked.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::bail;
use libcomposefs_image::erofs::read::{Found, LastLink, RawContent, View};
use libcomposefs_image::tree::Kind;
use libcomposefs_store::{Basedirs, Vouching};

use crate::error_text::with_remedy;
use crate::inspect::inode_info::{ContentForm, Facts};
use crate::inspect::mode;
use crate::inspect::names::Names;
use crate::inspect::path::{refused, resolve};

/// Where contents come from.
pub(crate) struct Contents<'r, 'a> {
    pub(crate) image: PathBuf,
    pub(crate) view: View<'r, 'a>,
    pub(crate) basedirs: Basedirs,
    /// Give contents also where the image has no digest to check them by.
    pub(crate) unverified: bool,
}

/// What was copied.
#[derive(Debug)]
pub(crate) struct Copied<'a> {
    pub(crate) path: Vec<u8>,
    pub(crate) facts: Facts<'a>,
    /// The file that the object was.
    pub(crate) object: Option<PathBuf>,
    /// Who checked it; the image itself is not checked here.
    pub(crate) checked: &'static str,
}

impl<'a> Contents<'_, 'a> {
    /// Copies the content of the file under a path.
    pub(crate) fn copy(&self, path: &[u8], out: &mut impl Write) -> anyhow::Result<Copied<'a>> {
        let Found { path, node } = resolve(&self.image, &self.view, path, LastLink::Follow)?;
        let facts = Facts::of(&self.view, node).map_err(|error| refused(&self.image, &path, error))?;
        let told = |error: anyhow::Error| {
            if error.is::<io::Error>() { error } else { error.context(self.place(&path)) }
        };
        let (object, checked) = self.copy_facts(&facts, out).map_err(told)?;
        Ok(Copied { path, facts, object, checked })
    }

    fn place(&self, path: &[u8]) -> String {
        format!("{}: {}", self.image.display(), Names::Escaped.text(path))
    }

    fn copy_facts(&self, facts: &Facts<'a>, out: &mut impl Write) -> anyhow::Result<(Option<PathBuf>, &'static str)> {
        let payload = match (facts.content, facts.payload) {
            (None, _) => bail!("a {} has no content", mode::word(facts.node.kind())),
            (Some(ContentForm::Hole), _) => bail!("the image does not say which object its content is"),
            (Some(_), Some(payload)) if facts.node.kind() == Kind::Regular => payload,
            (Some(_), _) => {
                if let RawContent::Flat(flat) = self.view.reader().content(facts.node.raw())? {
                    out.write_all(flat.blocks)?;
                    out.write_all(flat.tail)?;
                }
                return Ok((None, "in the image"));
            }
        };
        if self.basedirs.is_empty() {
            return Err(with_remedy("its content is an object", "--basedir=DIR, the directory of the objects"));
        }
        let object = self.basedirs.open_object(payload)?;
        object.expect_size(facts.size)?;
        let sink = |piece: &[u8]| -> anyhow::Result<()> { Ok(out.write_all(piece)?) };
        let checked = match facts.digest {
            Some(digest) => match object.copy_verified(&digest, sink)? {
                Vouching::Kernel => "by the kernel",
                Vouching::Hashed => "by reading",
            },
            None if self.unverified => {
                object.copy_unverified(sink)?;
                "no"
            }
            None => {
                return Err(with_remedy(
                    format!(
                        "the image has no digest of it, so nobody can tell whether its object {} is right",
                        Names::Escaped.text(payload)
                    ),
                    "--unverified prints what is there",
                ));
            }
        };
        Ok((Some(object.path().to_owned()), checked))
    }
}
