//! A session: requests are read from the device on several threads, and answered by a file system.

mod lookups;
mod tasks;
mod waiting;

use std::io::IoSlice;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::Scope;

use libcomposefs_sys::fuse::clone_device;
use rustix::io::Errno;

use self::lookups::{WaitingLookup, WaitingLookups};
use self::waiting::{WaitingRead, WaitingReads};
use crate::error::ServeError;
use crate::file_system::{ReadReply, ServedFileSystem};
use crate::protocol::{
    BadRequest, Capabilities, DirectoryBuffer, InitReply, InitRequest, Operation, REPLY_HEADER_LEN, Request,
    put_length, put_opened, reply_header, resend_message,
};

/// The buffer for a request. The kernel demands 8 KiB; a longer one takes more names to forget at once.
const REQUEST_LEN: usize = 64 << 10;

/// The longest reply, apart from contents: the kernel asks for names in at most [`MAX_READ`] bytes.
const MAX_READ: u32 = 1 << 20;

/// A session that has begun.
#[derive(Debug)]
pub struct FuseSession {
    device: Arc<OwnedFd>,
    can_resend: bool,
}

/// The result of [`FuseSession::answer_next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnsweredRequest {
    /// A request was answered.
    Answered,
    /// No request is waiting.
    NoRequest,
    /// The file system was unmounted.
    Unmounted,
}

/// The way in which a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServedMount {
    /// The file system was unmounted.
    Unmounted,
}

/// Buffers that a thread uses again for each request.
#[derive(Debug, Default)]
struct Buffers {
    reply: Vec<u8>,
    content: Vec<u8>,
}

/// The body of a reply.
enum Body<'s> {
    /// The bytes in [`Buffers::reply`].
    Reply,
    Content(ReadReply<'s>),
}

impl FuseSession {
    /// Answers the first request, with which both sides say what they can.
    ///
    /// # Errors
    ///
    /// [`ServeError`] if the device cannot be read, or the kernel speaks another version of the protocol.
    pub fn begin(device: OwnedFd, file_system: &impl ServedFileSystem) -> Result<Self, ServeError> {
        let mut bytes = vec![0; REQUEST_LEN];
        loop {
            let Some(len) = next_request(device.as_fd(), &mut bytes)? else {
                return Err(ServeError::UnmountedBefore);
            };
            let request = Request::parse(bytes.get(..len).unwrap_or_default()).map_err(ServeError::Request)?;
            match request.operation {
                Operation::Init(init) => {
                    init_session(device.as_fd(), request.unique, &init, file_system)?;
                    let can_resend = init.capabilities.contains(Capabilities::RESEND);
                    return Ok(Self { device: Arc::new(device), can_resend });
                }
                operation if operation.has_reply() => send(device.as_fd(), request.unique, Err(Errno::IO))?,
                _ => {}
            }
        }
    }

    /// Takes over the session of a process that has ended, whose device this is. The kernel must be able to send
    /// requests again ([`can_resend`](Self::can_resend) of that session); let it do so by [`resend`](Self::resend).
    #[must_use]
    pub fn resume(device: OwnedFd) -> Self {
        Self { device: Arc::new(device), can_resend: true }
    }

    /// Returns true if the kernel can send requests again, so that a process can go on with the session of another one
    /// that has ended: [`resend`](Self::resend).
    #[must_use]
    pub fn can_resend(&self) -> bool {
        self.can_resend
    }

    /// Returns the device, which can be read when a request is waiting, or when the file system is unmounted.
    #[must_use]
    pub fn device(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    /// Has the kernel send all requests again that were read and have no answer. The process that read them must have
    /// ended, with all its threads.
    ///
    /// # Errors
    ///
    /// [`ServeError`] if the kernel cannot do it.
    pub fn resend(&self) -> Result<(), ServeError> {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&self.device, &resend_message()));
        match written {
            Ok(_) | Err(Errno::NODEV) => Ok(()),
            Err(errno) => Err(ServeError::Device { step: "resume", source: errno.into() }),
        }
    }

    /// Lets [`answer_next`](Self::answer_next) return if no request is waiting.
    ///
    /// # Errors
    ///
    /// [`ServeError`] if the descriptor cannot be changed.
    pub fn never_block(&self) -> Result<(), ServeError> {
        let failed = |errno: Errno| ServeError::Device { step: "prepare", source: errno.into() };
        let flags = rustix::fs::fcntl_getfl(&self.device).map_err(failed)?;
        rustix::fs::fcntl_setfl(&self.device, flags | rustix::fs::OFlags::NONBLOCK).map_err(failed)
    }

    /// Answers one request in this thread, for a process that waits for other events too.
    ///
    /// # Errors
    ///
    /// [`ServeError`] if the device cannot be read or written.
    pub fn answer_next(&self, file_system: &impl ServedFileSystem) -> Result<AnsweredRequest, ServeError> {
        let mut bytes = vec![0; REQUEST_LEN];
        match read_once(self.device.as_fd(), &mut bytes)? {
            ReadDevice::Request(len) => {
                let request = Request::parse(bytes.get(..len).unwrap_or_default());
                reply(self.device.as_fd(), file_system, request, &mut Buffers::default())?;
                Ok(AnsweredRequest::Answered)
            }
            ReadDevice::Nothing => Ok(AnsweredRequest::NoRequest),
            ReadDevice::Unmounted => Ok(AnsweredRequest::Unmounted),
        }
    }

    /// Answers requests until the file system is unmounted. With one thread the device is not opened again, so that the
    /// requests of a process that ends stay with the device.
    ///
    /// # Errors
    ///
    /// [`ServeError`] if the device cannot be read or written.
    pub fn serve(&self, file_system: &impl ServedFileSystem, threads: NonZeroUsize) -> Result<ServedMount, ServeError> {
        let (waiting, lookups) = (WaitingReads::default(), WaitingLookups::default());
        std::thread::scope(|scope| {
            let serve = |device: &Arc<OwnedFd>| {
                DeviceLoop { device, file_system, waiting: &waiting, lookups: &lookups, scope }.run()
            };
            let more: Vec<_> = (1..threads.get())
                .filter_map(|_| {
                    let serve = move || {
                        // Without a descriptor of its own, the thread shares the one of the others.
                        let clone = clone_device(self.device.as_fd()).ok().map(Arc::new);
                        serve(clone.as_ref().unwrap_or(&self.device))
                    };
                    std::thread::Builder::new().name("fuse".to_owned()).spawn_scoped(scope, serve).ok()
                })
                .collect();
            let mut served = serve(&self.device);
            for thread in more {
                match thread.join() {
                    Ok(result) => served = served.and(result),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            waiting.end();
            lookups.end();
            file_system.end();
            served.map(|()| ServedMount::Unmounted)
        })
    }
}

fn init_session(
    device: BorrowedFd<'_>,
    unique: u64,
    init: &InitRequest,
    file_system: &impl ServedFileSystem,
) -> Result<(), ServeError> {
    let Some(reply) = InitReply::new(init, file_system.capabilities()) else {
        send(device, unique, Err(Errno::PROTO))?;
        return Err(ServeError::Version { major: init.major, minor: init.minor });
    };
    let mut body = Vec::new();
    reply.put(&mut body);
    send(device, unique, Ok(&body))
}

/// One descriptor of the device, and what its requests are answered with.
struct DeviceLoop<'a, 'scope, 'env, F> {
    device: &'a Arc<OwnedFd>,
    file_system: &'env F,
    waiting: &'env WaitingReads,
    lookups: &'env WaitingLookups,
    scope: &'scope Scope<'scope, 'env>,
}

impl<F: ServedFileSystem> DeviceLoop<'_, '_, '_, F> {
    /// Serves until the file system is unmounted.
    fn run(self) -> Result<(), ServeError> {
        let device = self.device.as_fd();
        let mut bytes = vec![0; REQUEST_LEN];
        let mut buffers = Buffers::default();
        while let Some(len) = next_request(device, &mut bytes)? {
            match Request::parse(bytes.get(..len).unwrap_or_default()) {
                Ok(request) if request.operation == Operation::Destroy => send(device, request.unique, Ok(&[]))?,
                Ok(request) if self.must_wait(&request) => {}
                request => reply(device, self.file_system, request, &mut buffers)?,
            }
        }
        Ok(())
    }

    /// Returns true if a request is one that another thread answers.
    fn must_wait(&self, request: &Request<'_>) -> bool {
        let (unique, node, device) = (request.unique, request.node, Arc::clone(self.device));
        match request.operation {
            Operation::Read { offset, size } if self.file_system.must_wait(node) => {
                let read = WaitingRead { unique, offset, size, device };
                self.waiting.add(self.scope, self.file_system, node, read);
                true
            }
            Operation::Lookup { name } if self.file_system.lookup_must_wait(node, name) => {
                let lookup = WaitingLookup { unique, parent: node, name: name.to_vec(), device };
                self.lookups.add(self.scope, self.file_system, lookup);
                true
            }
            _ => false,
        }
    }
}

/// What the device gave.
enum ReadDevice {
    /// The length of a request.
    Request(usize),
    /// No request.
    Nothing,
    /// The file system was unmounted.
    Unmounted,
}

fn read_once(device: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<ReadDevice, ServeError> {
    match rustix::io::read(device, &mut *bytes) {
        Ok(len) => Ok(ReadDevice::Request(len)),
        // ENOENT: the request was interrupted before it was read.
        Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => Ok(ReadDevice::Nothing),
        Err(Errno::NODEV) => Ok(ReadDevice::Unmounted),
        Err(errno) => Err(ServeError::Device { step: "read", source: errno.into() }),
    }
}

/// Reads the next request; `None` when the file system is unmounted.
fn next_request(device: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<Option<usize>, ServeError> {
    loop {
        match read_once(device, bytes)? {
            ReadDevice::Request(len) => return Ok(Some(len)),
            ReadDevice::Nothing => {}
            ReadDevice::Unmounted => return Ok(None),
        }
    }
}

/// Answers one request in this thread.
fn reply(
    device: BorrowedFd<'_>,
    file_system: &impl ServedFileSystem,
    request: Result<Request<'_>, BadRequest>,
    buffers: &mut Buffers,
) -> Result<(), ServeError> {
    match request {
        Ok(request) if request.operation.has_reply() => {
            let body = answer(file_system, &request, buffers);
            send_body(device, request.unique, body, buffers)
        }
        // Never seen from a kernel; its process gets an error instead of waiting for ever.
        Err(BadRequest { unique: Some(unique), .. }) => send(device, unique, Err(Errno::IO)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Answers one request. The reply is in the buffers, or in what the file system has in memory.
fn answer<'s>(
    file_system: &'s impl ServedFileSystem,
    request: &Request<'_>,
    buffers: &mut Buffers,
) -> Result<Body<'s>, Errno> {
    let (node, out) = (request.node, &mut buffers.reply);
    out.clear();
    match request.operation {
        Operation::Lookup { name } => file_system.lookup(node, name)?.put(out),
        Operation::GetAttr => {
            let (attributes, validity) = file_system.attributes(node)?;
            attributes.put_reply(validity, out);
        }
        Operation::ReadLink => file_system.read_link(node, out)?,
        Operation::Open { .. } => put_opened(file_system.open(node)?.flags, out),
        Operation::OpenDir => put_opened(file_system.open_directory(node)?.flags, out),
        Operation::Read { offset, size } => {
            return file_system.read(node, offset, size.min(MAX_READ), &mut buffers.content).map(Body::Content);
        }
        Operation::StatFs => file_system.statistics()?.put(out),
        Operation::Done | Operation::Destroy => {}
        Operation::GetXattr { name, size } => {
            file_system.xattr(node, name, out)?;
            fit(out, size)?;
        }
        Operation::ListXattr { size } => {
            file_system.xattr_names(node, request.user, out)?;
            fit(out, size)?;
        }
        Operation::ReadDir { position, size, plus } => {
            let mut names = DirectoryBuffer::new(out, size.min(MAX_READ) as usize, plus);
            file_system.read_directory(node, position, &mut names)?;
        }
        Operation::Unsupported | Operation::Init(_) => return Err(Errno::NOSYS),
        // Above all FS_IOC_MEASURE_VERITY.
        Operation::Ioctl => return Err(Errno::NOTTY),
        Operation::Change => return Err(Errno::ROFS),
        Operation::Forget | Operation::Interrupt => {}
    }
    Ok(Body::Reply)
}

/// Replaces a value by its length if that is all the process asked for.
fn fit(out: &mut Vec<u8>, size: u32) -> Result<(), Errno> {
    let len = u32::try_from(out.len()).map_err(|_| Errno::RANGE)?;
    if size == 0 {
        out.clear();
        put_length(len, out);
    } else if len > size {
        return Err(Errno::RANGE);
    }
    Ok(())
}

fn send_body(
    device: BorrowedFd<'_>,
    unique: u64,
    body: Result<Body<'_>, Errno>,
    buffers: &Buffers,
) -> Result<(), ServeError> {
    let body = match &body {
        Ok(Body::Reply) => Ok(buffers.reply.as_slice()),
        Ok(Body::Content(ReadReply::Buffered(range))) => buffers.content.get(range.clone()).ok_or(Errno::IO),
        Ok(Body::Content(ReadReply::Borrowed(bytes))) => Ok(*bytes),
        Ok(Body::Content(ReadReply::Kept(content, range))) => content.get(range.clone()).ok_or(Errno::IO),
        Err(errno) => Err(*errno),
    };
    send(device, unique, body)
}

/// Writes one reply.
fn send(device: BorrowedFd<'_>, unique: u64, body: Result<&[u8], Errno>) -> Result<(), ServeError> {
    let (error, body) = match body {
        Ok(body) => (0, body),
        Err(errno) => (errno.raw_os_error(), &[][..]),
    };
    let header: [u8; REPLY_HEADER_LEN] = reply_header(unique, error, body.len());
    let written =
        rustix::io::retry_on_intr(|| rustix::io::writev(device, &[IoSlice::new(&header), IoSlice::new(body)]));
    match written {
        // ENOENT: the request was interrupted meanwhile. ENODEV: unmounted, which the next read reports.
        Ok(_) | Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        Err(errno) => Err(ServeError::Device { step: "write", source: errno.into() }),
    }
}
