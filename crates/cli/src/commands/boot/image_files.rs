//! Files of an image, read without a mount: their contents are verified.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd as _;

use anyhow::{Context as _, anyhow, bail};
use libcomposefs_disk::EfiHeaders;
use libcomposefs_image::display::shown;
use libcomposefs_image::erofs::read::{LastLink, RawContent, ResolveError, View};
use libcomposefs_image::tree::Kind;
use libcomposefs_repo::Repository;

use crate::inspect::inode_info::InodeInfo;

/// An image with the repository that has its objects.
pub(super) struct ImageFiles<'r, 'a> {
    pub(super) view: View<'r, 'a>,
    pub(super) repository: &'r Repository,
}

impl<'a> ImageFiles<'_, 'a> {
    /// Returns the inode at a path, following symlinks; `None` if the path does not exist.
    fn info(&self, path: &[u8]) -> anyhow::Result<Option<InodeInfo<'a>>> {
        match self.view.resolve(path, LastLink::Follow) {
            Ok(found) => Ok(Some(InodeInfo::of(&self.view, found.node)?)),
            Err(ResolveError::Missing { .. } | ResolveError::NotDirectory { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the length of a regular file; `None` if there is no such file.
    pub(super) fn size(&self, path: &[u8]) -> anyhow::Result<Option<u64>> {
        let info = self.info(path)?;
        Ok(info.filter(|info| info.node.kind() == Kind::Regular).map(|info| info.size))
    }

    /// Returns the names in a directory that are UTF-8; none if there is no such directory.
    pub(super) fn names(&self, path: &[u8]) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        let Some(info) = self.info(path)?.filter(|info| info.node.kind() == Kind::Directory) else { return Ok(names) };
        for child in self.view.children(&info.node)? {
            names.extend(std::str::from_utf8(child?.name).map(str::to_owned));
        }
        Ok(names)
    }

    /// Copies the content of a regular file. No byte is written that was not compared with the digest in the image.
    pub(super) fn copy(&self, path: &[u8], out: &mut dyn Write) -> anyhow::Result<()> {
        self.copy_content(path, out).with_context(|| format!("{} of the image", shown(path)))
    }

    fn copy_content(&self, path: &[u8], out: &mut dyn Write) -> anyhow::Result<()> {
        let info = self.info(path)?.filter(|info| info.node.kind() == Kind::Regular);
        let info = info.context("it is not a regular file")?;
        match (self.view.reader().content(info.node.raw())?, info.payload, info.digest) {
            (RawContent::Flat(flat), ..) => {
                out.write_all(flat.blocks)?;
                Ok(out.write_all(flat.tail)?)
            }
            (_, Some(_), Some(digest)) => {
                let object = self.repository.object(&digest)?;
                object.expect_size(info.size)?;
                object.copy_verified(&digest, |piece| -> anyhow::Result<()> { Ok(out.write_all(piece)?) })?;
                Ok(())
            }
            _ => bail!("the image does not say which object its content is"),
        }
    }

    /// Reads the headers of an EFI program; `None` for another file. They are not verified: nothing is started by them.
    pub(super) fn efi_headers(&self, path: &[u8]) -> anyhow::Result<Option<EfiHeaders>> {
        let Some(info) = self.info(path)?.filter(|info| info.node.kind() == Kind::Regular) else { return Ok(None) };
        match info.digest {
            Some(digest) => {
                let object = self.repository.object(&digest)?;
                Ok(EfiHeaders::of(&File::from(object.as_fd().try_clone_to_owned()?))?)
            }
            None => Ok(None),
        }
    }

    /// Reads a file of at most `max` bytes; `None` if there is no such file.
    pub(super) fn read(&self, path: &[u8], max: u64) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(size) = self.size(path)? else { return Ok(None) };
        if size > max {
            return Err(anyhow!("{} of the image has {size} bytes, more than {max}", shown(path)));
        }
        let mut bytes = Vec::new();
        self.copy(path, &mut bytes)?;
        Ok(Some(bytes))
    }
}
