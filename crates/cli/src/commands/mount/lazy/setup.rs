//! The process that fetches the image itself before a lazy mount by the kernel: names and metadata, and the index of
//! what the remote has.
//!
//! The network needs threads, and the holder of a mount must have one only, so this is a process of its own. What it
//! found comes back in a file without a name.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use anyhow::Context as _;
use libcomposefs_delivery::{ImageIndex, LazyObjects, Patience, RefDocument, Remote, RemoteStore};
use libcomposefs_sys::child::{ForkedPart, fork};

use super::LazyMount;
use crate::commands::remote::{RemoteOperand, make_file, open_remote};

/// What is known about an image whose metadata is in the repository.
#[derive(Clone, Debug)]
pub(super) struct FetchedImage {
    pub(super) document: RefDocument,
    pub(super) index: ImageIndex,
}

/// The part of the process that [`fetch`] returned in.
pub(super) enum SetupPart {
    /// The process that called.
    Caller(Box<FetchedImage>),
    /// The process that fetched, and ends now.
    Fetcher(anyhow::Result<()>),
}

/// Fetches the image in a process of its own, and adds it to the repository.
pub(super) fn fetch(mount: &LazyMount<'_>) -> anyhow::Result<SetupPart> {
    let mut file = make_file().context("cannot make a temporary file")?;
    match fork().context("cannot start a process")? {
        ForkedPart::Child => Ok(SetupPart::Fetcher(add(mount, &mut file))),
        ForkedPart::Parent(child) => {
            let status = child.wait().context("cannot wait for a process")?.exit_status().unwrap_or(1);
            if status != 0 {
                // The process has printed the reason.
                std::process::exit(status);
            }
            let fetched = FetchedImage::read(&mut file).context("cannot read what was fetched")?;
            Ok(SetupPart::Caller(Box::new(fetched)))
        }
    }
}

fn add(mount: &LazyMount<'_>, file: &mut File) -> anyhow::Result<()> {
    let repository = mount.selected.open()?;
    let operand = RemoteOperand::stored(&mount.location);
    let store: Arc<dyn RemoteStore> = Arc::from(open_remote(&operand, mount.selected, &mount.args.server)?);
    let document = mount.add(&repository, &Remote::new(&*store, Patience::default()))?;
    let index = LazyObjects::read_index(&*store, &document)?;
    FetchedImage { document, index }.write(file)
}

impl FetchedImage {
    /// Writes what is known to an empty file.
    pub(super) fn write(&self, file: &mut File) -> anyhow::Result<()> {
        let text = self.document.to_text()?;
        file.write_all(&(text.len() as u64).to_le_bytes())?;
        file.write_all(&text)?;
        file.write_all(&self.index.to_bytes()?)?;
        Ok(())
    }

    /// Reads what a process wrote.
    pub(super) fn read(file: &mut File) -> anyhow::Result<Self> {
        file.seek(SeekFrom::Start(0))?;
        let mut length = [0; 8];
        file.read_exact(&mut length)?;
        let mut text = vec![0; usize::try_from(u64::from_le_bytes(length))?];
        file.read_exact(&mut text)?;
        let mut index = Vec::new();
        file.read_to_end(&mut index)?;
        Ok(Self { document: RefDocument::parse(&text)?, index: ImageIndex::parse(&index)? })
    }
}
