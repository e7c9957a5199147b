//! The kernel's own words, from `/dev/kmsg`.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::Result;

/// A point in the kernel's log.
pub(crate) struct KernelLog {
    kmsg: File,
}

impl KernelLog {
    /// The end of the log as it is now.
    pub(crate) fn mark() -> Result<Self> {
        let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let mut kmsg = File::options().read(true).custom_flags(nonblock).open("/dev/kmsg")?;
        kmsg.seek(SeekFrom::End(0))?;
        Ok(Self { kmsg })
    }

    /// The messages since the mark, or since this was last asked.
    pub(crate) fn since(&mut self) -> Result<Vec<String>> {
        let mut messages = Vec::new();
        let mut record = vec![0; 8192];
        loop {
            // Each read gives one record: `priority,number,time,flags;message` and lines with details.
            match self.kmsg.read(&mut record) {
                Ok(len) => {
                    let text = String::from_utf8_lossy(&record[..len]);
                    let message = text.split_once(';').map_or(&*text, |(_, message)| message);
                    messages.extend(message.lines().next().map(str::to_owned));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(messages),
                // Records were overwritten before they were read; the next read continues with the oldest that is left.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
