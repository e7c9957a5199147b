//! Serving an image in user space.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use libcomposefs_fuse::{
    ImageOptions, ImageServer, MountRequest, MountedBy, ObjectContents, ObjectSupply, ShownAttributes, StatisticsOf,
    Trust, may_mount,
};
use libcomposefs_image::erofs::read::ImageReader;
use libcomposefs_store::ImageBytes;
use libcomposefs_sys::background::Report;
use libcomposefs_sys::user_namespace;

use super::recorder::TraceRecorder;
use super::serving::{self, ServicePart, default_threads};
use crate::rlimits;

/// An image with the parameters of its server.
pub(crate) struct Service {
    /// Name of the program, for messages.
    program: &'static str,
    /// Path of the image, for messages.
    image_path: PathBuf,
    image: ImageBytes,
    /// Open as long as the image is served, so that gc finds the image in use.
    _file: File,
    pub(crate) basedirs: Vec<PathBuf>,
    pub(crate) trust: Trust,
    pub(crate) no_acl: bool,
    pub(crate) mount: MountRequest,
    pub(crate) threads: NonZeroUsize,
    /// Receives the objects that are read, in the order of the first reads.
    pub(crate) trace: Option<Arc<File>>,
}

impl Service {
    /// An image that was read from `file`, and verified if that was demanded.
    pub(crate) fn new(program: &'static str, image_path: &Path, image: ImageBytes, file: File) -> Self {
        Self {
            program,
            image_path: image_path.to_owned(),
            image,
            _file: file,
            basedirs: Vec::new(),
            trust: Trust::Verify,
            no_acl: false,
            mount: MountRequest::new("".as_ref()),
            threads: default_threads(),
            trace: None,
        }
    }

    pub(super) fn program(&self) -> &'static str {
        self.program
    }

    pub(super) fn image_path(&self) -> &Path {
        &self.image_path
    }

    /// Mounts, and serves until the image is unmounted.
    pub(crate) fn run_here(mut self) -> anyhow::Result<()> {
        self.find_directories()?;
        serving::run_here(self.program, &self.mount, &self.server(ShownAttributes::Mount)?, self.threads)
    }

    /// Mounts, and serves in a process of its own.
    pub(crate) fn run_in_background(mut self) -> anyhow::Result<ServicePart> {
        self.find_directories()?;
        serving::run_in_background(self.program, &self.mount, &self.server(ShownAttributes::Mount)?, self.threads)
    }

    /// Mounts, and serves in this process, which is that of the server already. Objects that are missing come from
    /// `supply`. `ready` is called before the caller of the program continues.
    pub(crate) fn run_lazily(
        mut self,
        supply: Arc<dyn ObjectSupply>,
        report: Report,
        ready: impl FnOnce(MountedBy) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.find_directories()?;
        let server = self.server(ShownAttributes::Mount)?.with_supply(supply);
        serving::run_as_server(self.program, &self.mount, &server, self.threads, report, ready)
    }

    pub(super) fn find_directories(&mut self) -> anyhow::Result<()> {
        rlimits::allow_open_files();
        serving::find_target(&mut self.mount)?;
        self.basedirs.iter_mut().try_for_each(serving::find_object_directory)
    }

    pub(super) fn server(&self, shown: ShownAttributes) -> anyhow::Result<ImageServer<'_>> {
        let cannot_use = || format!("cannot use {}", self.image_path.display());
        let reader = ImageReader::new(&self.image.bytes).with_context(cannot_use)?;
        let objects = ObjectContents::open(&self.basedirs, self.trust)?;
        let mut options = ImageOptions::default();
        options.no_acl = self.no_acl;
        options.shown = shown;
        options.lists_trusted = may_mount() && user_namespace::is_in_one() == Some(false);
        options.statistics_of = StatisticsOf::Objects;
        let server = ImageServer::new(reader, objects, options);
        let mut server = server.with_context(cannot_use)?;
        if let Some(file) = &self.trace {
            let recorder = TraceRecorder::new(&self.image.bytes, Arc::clone(file)).with_context(cannot_use)?;
            server = server.with_reads(move |digest| recorder.record(digest));
        }
        Ok(server.with_report(serving::damage_report(self.program)))
    }
}
