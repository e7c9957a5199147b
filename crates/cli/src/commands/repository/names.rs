//! Names of images in a repository: refs, and the tags of OCI images.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use libcomposefs_oci::stored::{StoredImage, image_stream};
use libcomposefs_repo::{ImageName, InvalidRefName, Repository, RepositoryError, StreamTag};

use super::unpack::unpack_if_cold;
use crate::error_text::with_remedy;

/// Options that say what a name of an image in a repository is.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub(crate) struct NameKindArgs {
    /// Take names of images in the repository as names of OCI images (tags) only
    #[arg(long, conflicts_with = "ref_only", help_heading = "Repository")]
    oci: bool,
    /// Take names of images in the repository as refs only
    #[arg(long = "ref", id = "ref_only", help_heading = "Repository")]
    reference: bool,
}

/// The kinds of names that are looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NameKind {
    /// Refs and names of OCI images; a name that is both is an error.
    #[default]
    Any,
    /// Names below `images/refs`.
    Ref,
    /// Names of OCI images, below `streams/refs/oci`.
    Oci,
}

impl NameKindArgs {
    pub(crate) fn kind(self) -> NameKind {
        match self {
            Self { oci: true, .. } => NameKind::Oci,
            Self { reference: true, .. } => NameKind::Ref,
            Self { .. } => NameKind::Any,
        }
    }
}

/// A name or digest of an image on the command line, not looked up yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameOperand(String);

impl FromStr for NameOperand {
    type Err = InvalidRefName;

    fn from_str(text: &str) -> Result<Self, InvalidRefName> {
        match text.parse::<ImageName>() {
            Err(error) if is_path(text) || text.parse::<StreamTag>().is_err() => Err(error),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

/// Returns true if a text is written as a path: no name of an image is.
fn is_path(text: &str) -> bool {
    text.starts_with(['/', '.']) || text.ends_with('/')
}

impl fmt::Display for NameOperand {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// What a name leads to.
pub(crate) struct ResolvedName {
    /// The ref, or the digest of the image.
    pub(crate) image: ImageName,
    /// The OCI image, if the name is that of one.
    pub(crate) oci: Option<Box<StoredImage>>,
}

impl NameOperand {
    /// Looks a name up: as a ref, then as the name of an OCI image.
    pub(crate) fn resolve(&self, repository: &Repository, kind: NameKind) -> anyhow::Result<ResolvedName> {
        let name = self.0.parse::<ImageName>();
        if let Ok(ImageName::Digest(digest)) = name {
            unpack_if_cold(repository, &ImageName::Digest(digest))?;
            return Ok(ResolvedName { image: ImageName::Digest(digest), oci: None });
        }
        let tag = match kind {
            NameKind::Ref => None,
            NameKind::Any | NameKind::Oci => self.tag(repository)?,
        };
        if let (Some(tag), NameKind::Any, Ok(name)) = (&tag, kind, &name)
            && has_ref(repository, name)?
        {
            let path = repository.path().display();
            bail!("{tag} is a ref and an OCI image of {path}: --ref takes the ref, --oci the OCI image");
        }
        match (tag, kind) {
            (Some(tag), _) => {
                let oci = StoredImage::by_name(repository, &tag)?;
                let digest = oci.image();
                let digest = digest.with_context(|| format!("{tag} has no composefs image: pull it again"))?;
                Ok(ResolvedName { image: ImageName::Digest(digest), oci: Some(Box::new(oci)) })
            }
            (None, NameKind::Oci) => {
                let path = repository.path().display();
                bail!("no OCI image is called {:?} in {path}; `composefs oci images` lists them", self.to_string())
            }
            (None, NameKind::Any | NameKind::Ref) => {
                let image = name?;
                unpack_if_cold(repository, &image)?;
                Ok(ResolvedName { image, oci: None })
            }
        }
    }

    /// Looks a name up, and takes the bootable image of an OCI image if that is asked for.
    pub(crate) fn resolve_as(
        &self,
        repository: &Repository,
        kind: NameKind,
        is_bootable: bool,
    ) -> anyhow::Result<ResolvedName> {
        if !is_bootable {
            return self.resolve(repository, kind);
        }
        let resolved = self.resolve_bootable(repository, kind)?;
        if resolved.oci.is_none() {
            return Err(with_remedy(format!("{self} is no OCI image: it has one image only"), "leave out --bootable"));
        }
        Ok(resolved)
    }

    /// Looks a name up to boot it: that of an OCI image leads to its bootable image.
    pub(crate) fn resolve_bootable(&self, repository: &Repository, kind: NameKind) -> anyhow::Result<ResolvedName> {
        let resolved = self.resolve(repository, kind)?;
        let Some(oci) = resolved.oci else { return Ok(resolved) };
        let Some(digest) = oci.boot_image() else {
            let remedy = match oci.image() {
                Some(image) => format!("pull it again with `oci pull --bootable`; {image} is its image for containers"),
                None => "pull it again with `oci pull --bootable`".to_owned(),
            };
            return Err(with_remedy(format!("the OCI image {self} has no bootable image"), remedy));
        };
        Ok(ResolvedName { image: ImageName::Digest(digest), oci: Some(oci) })
    }

    /// Returns the name as that of an OCI image, if the repository has one.
    fn tag(&self, repository: &Repository) -> anyhow::Result<Option<StreamTag>> {
        let Ok(tag) = self.0.parse::<StreamTag>() else { return Ok(None) };
        Ok(image_stream(repository, &tag)?.map(|_| tag))
    }
}

/// Returns true if there is something at the place of a ref.
fn has_ref(repository: &Repository, name: &ImageName) -> anyhow::Result<bool> {
    match repository.resolve(name) {
        Ok(_) => Ok(true),
        Err(RepositoryError::NoSuchRef { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
