//! `composefs mount --lazy`: mounts an image of a remote before its contents are here.
//!
//! The process splits at once: threads for the network begin in the server, which then fetches the image itself, stores
//! it as a partial image, mounts it, and fetches each object when a file is read.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use libcomposefs_delivery::{
    DeliveryError, LazyObjects, LazyOptions, Patience, RefDocument, Remote, RemoteStore, pull_metadata,
};
use libcomposefs_fuse::MountedBy;
use libcomposefs_mount::{ImageFile, Options, Plan, UnknownOptions};
use libcomposefs_repo::partial::PartialEntry;
use libcomposefs_repo::{RefName, Repository};
use libcomposefs_sys::background::{self, BackgroundPart, Report};
use serde_json::json;

use super::report::{any_error_json, plan_json, shown};
use super::repository_image::trusted;
use super::via::{ChosenWay, Via};
use super::{MountArgs, MountPart, in_user_space, with_remedy};
use crate::commands::fuse::{Service, find_target_directory, read_image};
use crate::commands::remote::{LazySupply, RemoteOperand, admit, make_file, open_remote};
use crate::commands::repository::RepositoryArgs;
use crate::output;
use crate::trust::NamedImage;

/// Largest number of objects that are fetched at once.
const FETCHES: usize = 32;

/// A lazy mount that was asked for.
struct LazyMount<'a> {
    args: &'a MountArgs,
    selected: &'a RepositoryArgs,
    /// The remote, as it is written in the repository: independent of the working directory.
    location: String,
    name: RefName,
    options: Options,
}

pub(super) fn run(args: &MountArgs, remote: &RemoteOperand, selected: &RepositoryArgs) -> anyhow::Result<MountPart> {
    let mount = LazyMount::new(args, remote, selected)?;
    if args.dry_run {
        mount.describe();
        return Ok(MountPart::Caller);
    }
    // Errors of the command line are found before the process splits.
    find_target_directory(&args.target)?;
    selected.open()?;
    match background::split().context("cannot start a process for the server")? {
        BackgroundPart::Foreground(waiting) => match waiting.wait()? {
            None => Ok(MountPart::Caller),
            // The server has printed the reason.
            Some(status) => std::process::exit(if status == 0 { 1 } else { status }),
        },
        BackgroundPart::Background(report) => {
            let result = mount.serve(report).inspect_err(|error| {
                if args.json {
                    output::json(&json!({ "error": any_error_json(error) }));
                }
            });
            Ok(MountPart::Server(result))
        }
    }
}

impl<'a> LazyMount<'a> {
    fn new(args: &'a MountArgs, remote: &RemoteOperand, selected: &'a RepositoryArgs) -> anyhow::Result<Self> {
        let options = Options::parse(&args.options.join(OsStr::new(",")), UnknownOptions::Refuse)?;
        ensure!(
            matches!(args.via, Via::Auto | Via::Fuse),
            "--lazy is served in user space: use --via=fuse, or `composefs pull` and then the mount"
        );
        ensure!(options.basedirs.is_empty(), "basedir= cannot be used with --lazy: objects go to the repository");
        ensure!(
            options.upper.is_none() && options.idmap.is_none() && !options.flags.nosymfollow,
            "upperdir=, idmap= and nosymfollow need the kernel's mount, and --lazy is served in user space"
        );
        ensure!(
            !options.is_signed(),
            "signed cannot be used with --lazy: an image that has just arrived has no signature of the kernel"
        );
        let name = args.image.to_str().context("the name of an image must be UTF-8")?;
        let name: RefName = name.parse()?;
        let location = remote.to_stored(selected)?;
        Ok(Self { args, selected, location, name, options })
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.args.timeout)
    }

    /// Prints what would be done. The remote is not asked.
    fn describe(&self) {
        let (remote, name, target) = (&self.location, self.name.as_str(), &self.args.target);
        if self.args.json {
            output::json(&json!({
                "plan": {
                    "via": "fuse",
                    "verified_by": "server",
                    "target": target.to_string_lossy(),
                    "lazy": { "remote": remote, "ref": name, "timeout": self.args.timeout },
                },
                "mounted": null,
            }));
            return;
        }
        out!("image    {name} of {}: fetched first, and compared with its digest", output::escaped(remote));
        out!("fuse     the server has the image in memory");
        out!("         an object is fetched when a file is read, and stored after it was compared with its digest");
        out!("         a read that waits longer than {} s gives an error (EIO)", self.args.timeout);
        out!("mount    {}", shown(target));
    }

    fn serve(self, report: Report) -> anyhow::Result<()> {
        let repository = self.selected.open()?;
        let store: Arc<dyn RemoteStore> =
            Arc::from(open_remote(&RemoteOperand::stored(&self.location), self.selected, &self.args.server)?);
        let document = self.add(&repository, &Remote::new(&*store, Patience::default()))?;
        let digest = document.image.digest;
        let image = ImageFile::from_fd(repository.open_image(&digest)?, &repository.objects().path_of(&digest));
        let header = image.header().map_err(|error| with_remedy(&error))?;
        let mut options = self.options.clone().with_basedir(repository.objects().path());
        options.demand(image.path(), &digest).map_err(|error| with_remedy(&error))?;
        let plan = Plan::new(image.path(), &header, options).named_by(&digest);
        let (bytes, file) = read_image(&image, Some(&digest))?;
        let mut service = Service::new("composefs", image.path(), bytes, file);
        service.basedirs = vec![repository.objects().path().to_owned()];
        service.mount = in_user_space::request(&self.args.target, &plan);
        let path = repository.path().canonicalize().context("cannot find the repository")?;
        let options = LazyOptions { timeout: self.timeout(), fetches: FETCHES, make_file };
        let objects = LazyObjects::open(repository, store, &document, options)?;
        let facts = json!({
            "version": 1,
            "repository": path.to_string_lossy(),
            "digest": digest.to_hex(),
            "remote": self.location,
            "ref": self.name.as_str(),
        });
        let supply = Arc::new(LazySupply::new(objects, facts));
        service.run_lazily(supply, report, |mounted_by| self.print(&plan, mounted_by))
    }

    /// Fetches the image itself, and adds it to the repository under the name. Returns the document of the remote.
    fn add(&self, repository: &Repository, remote: &Remote<'_>) -> anyhow::Result<RefDocument> {
        let (document, bytes) = pull_metadata(remote, &self.name, &libcomposefs_content::NoProgress)?;
        let digest = document.image.digest;
        if digest.algorithm() != repository.algorithm() {
            let (location, expected) = (remote.location(), repository.algorithm());
            bail!(DeliveryError::Algorithm { location, digest: Box::new(digest), expected });
        }
        // digest= is about this image, and another one is not stored.
        self.options.expect(Path::new(&self.location), &digest).map_err(|error| with_remedy(&error))?;
        let names = [self.name.clone()];
        let signatures = document.signatures();
        admit(repository, digest, &names, &signatures)?;
        for signature in &signatures {
            repository.add_signature(&digest, signature)?;
        }
        trusted(repository, NamedImage { name: self.name.as_str(), digest }, false)?;
        let text = document.to_text().context("the document of the remote cannot be written")?;
        let text = String::from_utf8(text).context("the document of the remote is not UTF-8")?;
        let (remote, name) = (self.location.clone(), self.name.clone());
        let entry = PartialEntry { remote, name, document: text, objects: 0, bytes: 0 };
        repository.add_partial(&bytes, &digest, entry, &names)?;
        Ok(document)
    }

    /// Prints the result, before the caller of the program continues.
    fn print(&self, plan: &Plan, mounted_by: MountedBy) -> anyhow::Result<()> {
        if !self.args.json {
            return Ok(());
        }
        let mut text = plan_json(self.args, plan, ChosenWay::Fuse);
        text["lazy"] = json!({ "remote": self.location, "ref": self.name.as_str(), "timeout": self.args.timeout });
        let program = if mounted_by == MountedBy::Program { "fusermount3" } else { "mount" };
        output::json(&json!({ "plan": text, "mounted": { "fuse": program } }));
        Ok(output::flush()?)
    }
}
