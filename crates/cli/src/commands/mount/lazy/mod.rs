//! `composefs mount --lazy`: mounts an image of a remote before its contents are here.
//!
//! Names and metadata come first, as a partial image; each object is fetched when a file is read. As root the kernel's
//! overlayfs asks for objects ([`overlay`]). Otherwise an image server does: the process splits at once, since threads
//! for the network begin in the server.

mod holder;
mod overlay;
mod request_limit;
mod service;
mod setup;
mod whole;
mod worker;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use libcomposefs_delivery::{
    DeliveryError, LazyObjects, LazyOptions, Patience, RefDocument, Remote, RemoteStore, pull_metadata,
};
use libcomposefs_fuse::MountedBy;
use libcomposefs_image::Digest;
use libcomposefs_mount::{ImageFile, Options, Plan, StatfsSource};
use libcomposefs_repo::partial::PartialEntry;
use libcomposefs_repo::{RefName, Repository};
use libcomposefs_sys::background::{self, BackgroundPart, Report};
use serde_json::{Value, json};

use self::request_limit::longest_fetch;
pub(crate) use self::request_limit::request_limit;
use super::report::{any_error_json, plan_json, shown};
use super::repository_image::trusted;
use super::via::ChosenWay;
use super::{MountArgs, MountPart, in_user_space, with_remedy};
use crate::commands::fuse::{Service, find_target_directory, read_image};
use crate::commands::remote::{FetchAhead, FillPace, LazySupply, RemoteOperand, admit, make_file, open_remote};
use crate::commands::repository::RepositoryArgs;
use crate::output;
use crate::trust::NamedImage;
use crate::trust::image_file::expect_no_policy;

/// Largest number of fetches at once: 32 ahead, and 8 more that programs wait for.
const FETCHES: usize = 40;

/// A lazy mount that was asked for.
struct LazyMount<'a> {
    args: &'a MountArgs,
    selected: &'a RepositoryArgs,
    /// The remote, as it is written in the repository: independent of the working directory.
    location: String,
    name: RefName,
    options: Options,
    way: LazyWay,
    /// Longest time until an object is here.
    longest: Duration,
}

/// A way to get objects when files are read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum LazyWay {
    /// Overlayfs of the kernel reads objects, and asks for those that are missing.
    Overlay,
    /// A server in user space reads objects.
    ImageServer,
    /// All objects are fetched before the mount, for this reason.
    Whole(String),
}

pub(super) fn run(args: &MountArgs, remote: &RemoteOperand, selected: &RepositoryArgs) -> anyhow::Result<MountPart> {
    let mount = LazyMount::new(args, remote, selected)?;
    if args.dry_run {
        return mount.describe().map(|()| MountPart::Caller);
    }
    if args.service {
        ensure!(
            mount.way == LazyWay::Overlay,
            "--service is for a lazy mount by overlayfs, which this process cannot make: use --via=overlay to learn \
             why, or leave --service out"
        );
        selected.open()?;
        return service::run(&mount);
    }
    // Errors of the command line are found before the process splits.
    find_target_directory(&args.target)?;
    selected.open()?;
    if let LazyWay::Whole(reason) = &mount.way {
        return whole::run(&mount, reason).inspect_err(|error| print_error(args, error));
    }
    if mount.way == LazyWay::Overlay {
        let part = overlay::run(&mount).inspect_err(|error| print_error(args, error))?;
        return Ok(match part {
            MountPart::Server(result) => MountPart::Server(result.inspect_err(|error| print_error(args, error))),
            MountPart::Caller => MountPart::Caller,
        });
    }
    match background::split().context("cannot start a process for the server")? {
        BackgroundPart::Foreground(waiting) => match waiting.wait()? {
            None => Ok(MountPart::Caller),
            // The server has printed the reason.
            Some(status) => std::process::exit(if status == 0 { 1 } else { status }),
        },
        BackgroundPart::Background(report) => {
            let result = mount.serve(report);
            Ok(MountPart::Server(result.inspect_err(|error| print_error(args, error))))
        }
    }
}

/// Checks the arguments, and prints what would be mounted if that is asked for.
pub(super) fn check(
    args: &MountArgs,
    remote: &RemoteOperand,
    selected: &RepositoryArgs,
    prints: bool,
) -> anyhow::Result<()> {
    let mount = LazyMount::new(args, remote, selected)?;
    selected.open()?;
    if prints { mount.describe() } else { Ok(()) }
}

impl<'a> LazyMount<'a> {
    fn new(args: &'a MountArgs, remote: &RemoteOperand, selected: &'a RepositoryArgs) -> anyhow::Result<Self> {
        let options = args.parse_options(args.unknown)?;
        expect_no_policy(&options)?;
        ensure!(options.basedirs.is_empty(), "basedir= cannot be used with --lazy: objects go to the repository");
        ensure!(
            !options.is_signed(),
            "signed cannot be used with --lazy: an image that has just arrived has no signature of the kernel"
        );
        let name = args.image.to_str().context("the name of an image must be UTF-8")?;
        let name: RefName = name.parse()?;
        let location = remote.to_stored(selected)?;
        let needs_kernel = if options.upper.is_some() {
            Some("upperdir=")
        } else if options.idmap.is_some() {
            Some("idmap=")
        } else {
            options.flags.nosymfollow.then_some("nosymfollow")
        };
        let way = overlay::choose(args.via, needs_kernel)?;
        ensure!(
            way != LazyWay::Overlay || options.statfs == StatfsSource::Image,
            "statfs=objects cannot be used with --lazy by overlayfs: leave it out, or use --via=fuse, which shows the \
             numbers of the objects' file system"
        );
        let longest = match way {
            LazyWay::Whole(_) => Duration::MAX,
            _ => longest_fetch(Duration::from_secs(args.timeout))?,
        };
        Ok(Self { args, selected, location, name, options, way, longest })
    }

    /// Returns what the plan says about the remote.
    fn lazy_json(&self) -> Value {
        let fill = match self.args.fill {
            FillPace::Off => "off",
            FillPace::Idle => "idle",
            FillPace::Now => "now",
        };
        json!({ "remote": self.location, "ref": self.name.as_str(), "timeout": self.args.timeout, "fill": fill })
    }

    /// Returns what is fetched before a program needs it.
    fn ahead(&self, repository: &Path, digest: Digest) -> FetchAhead {
        let (pace, repository, server) = (self.args.fill, repository.to_owned(), self.args.server.clone());
        FetchAhead { pace, repository, digest, server }
    }

    fn fetch_options(&self) -> LazyOptions {
        let timeout = Duration::from_secs(self.args.timeout);
        LazyOptions { timeout, longest: self.longest, fetches: FETCHES, make_file }
    }

    /// Prints what would be done. The remote is not asked.
    fn describe(&self) -> anyhow::Result<()> {
        let (remote, name, target) = (&self.location, self.name.as_str(), &self.args.target);
        let is_by_kernel = self.selected.open()?.demands_verity();
        if self.args.json {
            let (via, verified_by) = match &self.way {
                LazyWay::Overlay => ("overlay", overlay::verified_by(is_by_kernel)),
                LazyWay::ImageServer => ("fuse", "server".into()),
                LazyWay::Whole(_) => ("kernel", overlay::verified_by(is_by_kernel)),
            };
            output::json(&json!({
                "plan": {
                    "via": via,
                    "verified_by": verified_by,
                    "target": target.to_string_lossy(),
                    "lazy": self.lazy_json(),
                },
                "mounted": null,
            }));
            return Ok(());
        }
        out!("image    {name} of {}: fetched first, and compared with its digest", output::escaped(remote));
        let timeout = self.args.timeout;
        match &self.way {
            LazyWay::Overlay => {
                out!(
                    "overlay  the objects of the repository, and a layer that fetches an object when a file is opened"
                );
                out!("         an object is compared with its digest before it is stored");
                if is_by_kernel {
                    out!("         verity=require: the kernel verifies each block when it is read");
                } else {
                    out!("         reading does not verify: the repository does not demand fs-verity");
                }
                out!("         an open that waits longer than {timeout} s gives an error (EIO)");
            }
            LazyWay::ImageServer => {
                out!("fuse     the server has the image in memory");
                out!("         an object is fetched when a file is read, compared with its digest, and stored");
                out!("         a read that waits longer than {timeout} s gives an error (EIO)");
            }
            LazyWay::Whole(reason) => {
                out!("objects  all are fetched before the mount, each compared with its digest: {reason}");
                out!("mount    {}, by the kernel", shown(target));
                return Ok(());
            }
        }
        match self.args.fill {
            FillPace::Off => out!("ahead    the objects of the trace, if the remote has one"),
            FillPace::Idle => out!("ahead    the objects of the trace, if the remote has one, and slowly the rest"),
            FillPace::Now => out!("ahead    the objects of the trace, if the remote has one, and the rest"),
        }
        out!("mount    {}", shown(target));
        Ok(())
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
        let options = self.fetch_options();
        let index = LazyObjects::read_index(&*store, &document)?;
        let sizes = overlay::objects_of(&repository, &digest)?;
        let objects = LazyObjects::open(repository, store, index, &sizes, options)?;
        let facts = json!({
            "version": 1,
            "way": "fuse",
            "repository": path.to_string_lossy(),
            "digest": digest.to_hex(),
            "remote": self.location,
            "ref": self.name.as_str(),
        });
        let supply = Arc::new(LazySupply::new(objects, facts));
        let (ahead, objects) = (self.ahead(&path, digest), supply.objects().clone());
        service.run_lazily(supply, report, |mounted_by| {
            self.print(&plan, mounted_by)?;
            // A thread has the mount namespace in which it begins: the server has left that of its mount by now.
            let ahead = std::thread::Builder::new().name("ahead".to_owned()).spawn(move || ahead.run(&objects));
            ahead.context("cannot start a thread").map(drop)
        })
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
        text["lazy"] = self.lazy_json();
        let program = if mounted_by == MountedBy::Program { "fusermount3" } else { "mount" };
        output::json(&json!({ "plan": text, "mounted": { "fuse": program } }));
        Ok(output::flush()?)
    }
}

/// Prints an error as JSON, if the arguments say so.
fn print_error(args: &MountArgs, error: &anyhow::Error) {
    if args.json {
        output::json(&json!({ "error": any_error_json(error) }));
    }
}
