//! A second process that ends the container if this one is killed, by SIGKILL or for lack of memory.

use std::io;
use std::os::fd::OwnedFd;
use std::process::exit;

use libcomposefs_sys::background::detach;
use libcomposefs_sys::child::{ForkedPart, ForkedProcess, fork};
use rustix::io::{read, retry_on_intr, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::setsid;

/// The process that watches this one.
pub(super) struct ContainerWatcher {
    process: ForkedProcess,
    /// The other process reads to its end, which comes when this process ends.
    pipe: OwnedFd,
}

impl ContainerWatcher {
    /// Starts the process. It calls `end_container` if this process ends without [`ContainerWatcher::end`].
    pub(super) fn start(end_container: impl FnOnce()) -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        match fork()? {
            ForkedPart::Parent(process) => Ok(Self { process, pipe: writer }),
            ForkedPart::Child => {
                drop(writer);
                // Signals of the terminal are for the other process.
                let _ = setsid();
                let _ = detach();
                let mut byte = [0];
                if retry_on_intr(|| read(&reader, &mut byte)) == Ok(0) {
                    end_container();
                }
                exit(0)
            }
        }
    }

    /// Ends the process: the container has ended.
    pub(super) fn end(self) {
        // Without the byte, it ends a container that is gone.
        let _ = retry_on_intr(|| write(&self.pipe, b"+"));
        let _ = self.process.wait();
    }
}
