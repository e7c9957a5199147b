//! Serving an image as the layers of an overlay: names and metadata by one session, objects by another.
//!
//! The process that was called mounts the overlay, in its own namespaces; the server only answers. It is told
//! afterwards what was mounted, so that a signal can unmount it.

use std::io::{Read as _, Write as _};
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use libcomposefs_fuse::{
    FuseLayer, FuseSession, ImageServer, MountedBy, ObjectContents, ObjectLayer, ObjectServer, OverlayRequest,
    ServedFileSystem, ShownAttributes, Trust,
};
use libcomposefs_sys::background::{self, BackgroundPart, Report};

use super::served_place::{self, device_number, leave_namespace, unmount};
use super::service::Service;
use super::serving::{self, ServicePart, harden, service_error};

/// The program that verifies the objects of an overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerVerifier {
    /// The kernel, by the fs-verity of the objects.
    Kernel,
    /// The server.
    Server,
}

/// The servers of the layers.
struct LayerServers<'i> {
    metadata: ImageServer<'i>,
    /// Missing if the kernel verifies the objects, and reads them itself.
    objects: Option<ObjectServer<'i>>,
}

/// The devices of the layers that are served.
struct LayerDevices {
    metadata: OwnedFd,
    objects: Option<OwnedFd>,
}

impl Service {
    /// Mounts an overlay of served layers, and serves them in a process of its own.
    pub(crate) fn run_layers(
        mut self,
        mut request: OverlayRequest,
        verifier: LayerVerifier,
    ) -> anyhow::Result<ServicePart> {
        self.mount.target.clone_from(&request.target);
        self.find_directories()?;
        request.target.clone_from(&self.mount.target);
        let metadata = self.server(ShownAttributes::Layer)?;
        metadata.check_object_paths().map_err(|damage| {
            crate::error_text::with_remedy(
                format_args!("{}: {damage}", self.image_path().display()),
                "overlayfs finds objects by their digests: use --via=fuse",
            )
        })?;
        let objects = match verifier {
            LayerVerifier::Kernel => None,
            LayerVerifier::Server => {
                let contents = ObjectContents::open(&self.basedirs, Trust::Verify)?;
                Some(ObjectServer::new(contents, serving::damage_report(self.program())))
            }
        };
        let servers = LayerServers { metadata, objects };
        let layer = || FuseLayer::new().map_err(|error| service_error(&error));
        let (metadata_device, metadata_layer) = layer()?;
        let (object_device, object_layer) = match verifier {
            LayerVerifier::Kernel => (None, ObjectLayer::Directories(self.basedirs.clone())),
            LayerVerifier::Server => {
                let (device, served) = layer()?;
                (Some(device), ObjectLayer::Served(served))
            }
        };
        let devices = LayerDevices { metadata: metadata_device, objects: object_device };
        let (ours, theirs) = UnixStream::pair().context("cannot create a socket")?;
        match background::split().context("cannot start a process for the server")? {
            BackgroundPart::Background(report) => {
                // The overlay keeps its layers. Without it, the sessions end at once.
                drop((metadata_layer, object_layer, ours));
                let place = LayerPlace { program: self.program(), target: &request.target, mounted: theirs };
                Ok(ServicePart::Server(serve(&servers, devices, place, self.threads, report)))
            }
            BackgroundPart::Foreground(waiting) => {
                // If the server ends, the kernel must not wait for its answers.
                drop((devices, theirs));
                if waiting.wait()?.is_some() {
                    bail!("the server of {} ended before it was ready", request.target.display());
                }
                request.mount(&metadata_layer, &object_layer).map_err(|error| service_error(&error))?;
                tell_device_number(ours, &request.target);
                Ok(ServicePart::Caller(MountedBy::Kernel))
            }
        }
    }
}

/// The place of the overlay, for its server.
struct LayerPlace<'a> {
    program: &'static str,
    target: &'a Path,
    /// Gives the device number of the overlay when it is mounted.
    mounted: UnixStream,
}

/// Tells the server which file system was mounted. A server that has ended needs to know nothing.
fn tell_device_number(mut server: UnixStream, target: &Path) {
    if let Ok((major, minor)) = device_number(target) {
        let _ = server.write_all(&[major.to_le_bytes(), minor.to_le_bytes()].concat());
    }
}

/// Serves until the overlay is unmounted.
fn serve(
    servers: &LayerServers<'_>,
    devices: LayerDevices,
    mut place: LayerPlace<'_>,
    threads: NonZeroUsize,
    report: Report,
) -> anyhow::Result<()> {
    let metadata = begin(devices.metadata, &servers.metadata)?;
    let objects = match (devices.objects, &servers.objects) {
        (Some(device), Some(server)) => Some((begin(device, server)?, server)),
        _ => None,
    };
    harden(MountedBy::Kernel);
    // The threads that serve must not keep the namespace of the overlay, so it is left before they start.
    let home = leave_namespace();
    report.succeed()?;
    std::thread::scope(|scope| {
        let metadata = scope.spawn(|| metadata.serve(&servers.metadata, threads));
        let objects = objects.as_ref().map(|(session, server)| scope.spawn(move || session.serve(*server, threads)));
        let (mut major, mut minor) = ([0; 4], [0; 4]);
        // The end of the socket without a number: the overlay was not mounted, and the sessions end.
        if place.mounted.read_exact(&mut major).and_then(|()| place.mounted.read_exact(&mut minor)).is_ok() {
            let number = (u32::from_le_bytes(major), u32::from_le_bytes(minor));
            if home.is_some() && device_number(place.target).ok() == Some(number) {
                // A mount that came here by propagation.
                let _ = unmount(MountedBy::Kernel, place.target, Some(number));
            }
            let target = place.target.to_owned();
            let at_end = move || unmount(MountedBy::Kernel, &target, Some(number));
            served_place::end_on_signals(place.program, home, at_end)?;
        }
        for session in [Some(metadata), objects].into_iter().flatten() {
            let ended = session.join().map_err(|_| anyhow!("a thread of the server failed"))?;
            ended.map_err(|error| anyhow!("{error}"))?;
        }
        Ok(())
    })
}

fn begin(device: OwnedFd, server: &impl ServedFileSystem) -> anyhow::Result<FuseSession> {
    FuseSession::begin(device, server).map_err(|error| anyhow!("{error}"))
}
