//! Where the commands work: the partition of the boot loader, and the disk with the repository.

use std::path::{Path, PathBuf};

use anyhow::bail;
use libcomposefs_image::Digest;
use libcomposefs_repo::{RefName, Repository};

use super::esp::EspDirectory;
use crate::commands::repository::RepositoryArgs;
use crate::error_text::with_remedy;

/// Name of the directory in which `composefs-setup-root` looks for the repository.
const REPOSITORY: &str = "composefs";

/// Options that select the partition and the disk.
#[derive(clap::Args)]
pub(super) struct PlaceArgs {
    /// Directory at which the EFI system partition, or another partition of the boot loader, is mounted [default: the
    /// first of /efi, /boot/efi and /boot that is FAT]
    #[arg(long, value_name = "DIR")]
    esp: Option<PathBuf>,
    /// Directory at which the disk with the repository `composefs` and the directory `state` is mounted [default: the
    /// directory of the repository, /sysroot]
    #[arg(long, value_name = "DIR")]
    sysroot: Option<PathBuf>,
}

impl PlaceArgs {
    /// Opens the partition.
    pub(super) fn esp(&self) -> anyhow::Result<EspDirectory> {
        EspDirectory::find(self.esp.as_deref())
    }

    /// Returns the selected repository, and the disk that it is on.
    pub(super) fn selected(&self, selected: &RepositoryArgs) -> anyhow::Result<(RepositoryArgs, PathBuf)> {
        if let Some(sysroot) = &self.sysroot {
            if selected.is_given() {
                bail!("--sysroot selects the repository in the directory: leave --repo, --user and --system out");
            }
            return Ok((selected.at(sysroot.join(REPOSITORY)), sysroot.clone()));
        }
        let path = selected.path()?;
        if path.file_name().is_none_or(|name| name != REPOSITORY) {
            let path = path.display();
            return Err(with_remedy(
                format!(
                    "no boot would find {path}: composefs-setup-root looks for the repository in DISK/{REPOSITORY}"
                ),
                "use --sysroot=DISK",
            ));
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok((selected.clone(), parent.to_owned()))
    }

    /// Opens the repository, if it can be opened: the entries are listed without one too.
    pub(super) fn repository_if_any(&self, selected: &RepositoryArgs) -> Option<Repository> {
        let opened = self.selected(selected).and_then(|(selected, _)| selected.open());
        match opened {
            Ok(repository) => Some(repository),
            Err(error) => {
                tell!("composefs: entries are shown without the repository: {error:#}");
                None
            }
        }
    }
}

/// Returns the ref that protects the image of an entry from gc.
pub(super) fn entry_ref(digest: &Digest) -> anyhow::Result<RefName> {
    Ok(RefName::new(format!("boot/{}", digest.to_hex()))?)
}
